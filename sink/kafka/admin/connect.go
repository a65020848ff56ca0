package admin

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"logferry/sink/kafka"
)

// Connection pacing for work by hand: a person waits, so a missing broker is
// reported after a few tries instead of being retried for ever.
const (
	metadataRetries = 2
	metadataBackoff = 250 * time.Millisecond
)

// Client is a sarama client whose connections can be cut from outside, so
// that a request which waits for a silent broker ends with its context. It
// may be used from several goroutines.
type Client struct {
	sarama.Client
	brokers []string
	dialer  *dialer
}

// Connect reaches the cluster of cfg and returns once its metadata is known.
// Defaults of cfg are filled in. The adjust functions may change the client's configuration before it is
// used. Connect tries for at most cfg.RequestTimeout; its error names each
// broker that did not answer, and is an ErrUnreachable when none did,
// or an ErrAccess, which ends with a remedy, when TLS or the login failed.
//
// The caller closes the client.
func Connect(ctx context.Context, cfg kafka.Config, adjust ...func(*sarama.Config)) (*Client, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	conf, err := cfg.Sarama()
	if err != nil {
		return nil, err
	}
	conf.Metadata.Retry.Max = metadataRetries
	for _, f := range adjust {
		f(conf)
	}
	d := newDialer(cfg)
	conf.Metadata.Retry.BackoffFunc = d.backoff
	conf.Net.Proxy.Enable, conf.Net.Proxy.Dialer = true, d

	began := time.Now()
	tryCtx, cancel := context.WithTimeout(ctx, conf.Net.DialTimeout)
	defer cancel()
	stop := context.AfterFunc(tryCtx, d.cut)
	client, err := sarama.NewClient(cfg.Brokers, conf)
	if !stop() && err == nil {
		// The connections were cut while the answer was being read.
		_ = client.Close()
		err = context.Cause(tryCtx)
	}
	if err != nil {
		defer d.cut()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to kafka: %w", context.Cause(ctx))
		}
		if trouble := cfg.AccessTrouble(conf, append(slices.Collect(maps.Values(d.failed())), err)...); trouble != nil {
			return nil, saidf(ErrAccess, "%v", trouble)
		}
		return nil, unreachable(cfg.Brokers, d.failed(), time.Since(began), err)
	}
	return &Client{Client: client, brokers: cfg.Brokers, dialer: d}, nil
}

// Guard cuts the client's connections when ctx ends before the returned
// function is called. A client that was cut is of no more use.
func (c *Client) Guard(ctx context.Context) (release func()) {
	stop := context.AfterFunc(ctx, c.dialer.cut)
	return func() { stop() }
}

// Cut closes the client's connections at once; what waits for an answer fails.
func (c *Client) Cut() { c.dialer.cut() }

// Close ends the client and its connections.
func (c *Client) Close() error {
	err := c.Client.Close()
	c.dialer.cut()
	return err
}

// dialer opens the connections of one client, remembers why an address could
// not be reached, and can cut everything at once.
type dialer struct {
	dial   func(network, addr string) (net.Conn, error)
	cancel context.CancelFunc

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	failures map[string]error
	closed   bool
}

func newDialer(cfg kafka.Config) *dialer {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dialer{cancel: cancel, conns: map[net.Conn]struct{}{}, failures: map[string]error{}}
	d.dial = func(network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, cfg.RequestTimeout)
		defer cancel()
		var nd net.Dialer
		conn, err := nd.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return cfg.Secure(ctx, conn, addr)
	}
	return d
}

// Dial implements the dialer that sarama asks for connections.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	if d.isCut() {
		return nil, net.ErrClosed
	}
	conn, err := d.dial(network, addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failures[addr] = err
		return nil, err
	}
	delete(d.failures, addr)
	if d.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	tracked := &trackedConn{Conn: conn, dialer: d}
	d.conns[tracked] = struct{}{}
	return tracked, nil
}

// cut closes every connection and refuses new ones.
func (d *dialer) cut() {
	d.mu.Lock()
	d.closed = true
	conns := d.conns
	d.conns = map[net.Conn]struct{}{}
	d.mu.Unlock()
	d.cancel()
	for c := range conns {
		_ = c.(*trackedConn).Conn.Close()
	}
}

func (d *dialer) isCut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// backoff is the pause before the metadata is asked for again; none once the
// connections are cut, because nothing can come any more.
func (d *dialer) backoff(int, int) time.Duration {
	if d.isCut() {
		return 0
	}
	return metadataBackoff
}

func (d *dialer) failed() map[string]error {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]error, len(d.failures))
	for addr, err := range d.failures {
		out[addr] = err
	}
	return out
}

// trackedConn takes itself off its dialer's list when it is closed.
type trackedConn struct {
	net.Conn
	dialer *dialer
}

func (c *trackedConn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
