package kafka

import (
	"errors"
	"net"
	"sync"
	"time"
)

// errAborted is what every connection attempt returns after abort.
var errAborted = errors.New("the sink is closing")

// dialer opens the connections of one sink, and can end them all at once:
// sarama has no call that gives up on a broker which does not answer. Safe for
// use from several goroutines.
type dialer struct {
	cfg     Config        // says how connections are secured
	aborted chan struct{} // closed by abort

	mu    sync.Mutex
	conns map[*conn]struct{}
	last  error // of the newest attempt; nil when it succeeded
}

func newDialer(cfg Config) *dialer {
	return &dialer{cfg: cfg, aborted: make(chan struct{}), conns: make(map[*conn]struct{})}
}

// Dial implements golang.org/x/net/proxy.Dialer.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := within(d.cfg.RequestTimeout, d.aborted)
	defer cancel()
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, network, addr)
	nc := raw
	if err == nil {
		raw = quicken(raw)
		nc, err = d.cfg.Secure(ctx, raw, addr)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isAborted() {
		if err == nil {
			_ = nc.Close()
		}
		return nil, errAborted
	}
	if d.last = err; err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, raw: raw, d: d}
	d.conns[c] = struct{}{}
	return c, nil
}

func (d *dialer) isAborted() bool {
	select {
	case <-d.aborted:
		return true
	default:
		return false
	}
}

// lastError is the error of the newest attempt, nil when it succeeded.
func (d *dialer) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// abort closes every connection and refuses new ones. It may be called again.
func (d *dialer) abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isAborted() {
		return
	}
	close(d.aborted)
	for c := range d.conns {
		_ = c.raw.Close() // TLS would first take leave of a broker that may not listen
	}
	d.conns = nil
}

// conn is one connection. Only one goroutine at a time reads, and only one writes.
type conn struct {
	net.Conn
	raw net.Conn // below TLS
	d   *dialer

	readBy, writeBy time.Time // deadlines
}

// SetReadDeadline implements net.Conn. sarama sets a deadline for each part of
// an answer, each a little later than the one before, which then serves as well.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.serves(c.readBy, t) {
		return nil
	}
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn, as SetReadDeadline.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.serves(c.writeBy, t) {
		return nil
	}
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}

// serves says whether a deadline that is set is as good as t: not later, and not
// much sooner.
func (c *conn) serves(set, t time.Time) bool {
	sooner := t.Sub(set)
	return sooner >= 0 && sooner < c.d.cfg.RequestTimeout/64
}

func (c *conn) Close() error {
	c.d.mu.Lock()
	delete(c.d.conns, c)
	c.d.mu.Unlock()
	return c.Conn.Close()
}
