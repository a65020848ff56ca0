package kafka

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const (
	// maxOpen is how many requests wait for their answers on one connection.
	maxOpen = 64
	// smallPack is up to how many bytes the records of a flight are copied to be
	// written together with what stands around them, which has up to gathered bytes.
	smallPack, gathered = 16 << 10, 64 << 10
	// maxAnswer bounds an answer, in bytes: they are some thirty for each partition.
	maxAnswer = 4 << 20
	// restless is after how long without a request a connection is looked at
	// before the next one: brokers close those that nobody uses.
	restless = 5 * time.Second
)

// link is a connection to a broker for produce requests alone. sarama opens it,
// with all that belongs to that: the dialer, versions, the login. Then requests
// and answers are written and read here, past sarama, which would copy each
// request twice and spend more on a small one than everything else together;
// docs/decisions/0021 has the numbers. It is sarama's again for a moment
// whenever a login is to be renewed, with no request open.
type link struct {
	w       *batchWriter
	broker  *sarama.Broker // of nobody else
	conn    *conn
	out     io.Writer // conn, past what changes the requests of a login
	version int16     // of produce requests

	// Of send, one call at a time.
	correlation int32
	used        time.Time // when the last request was sent
	buf         []byte

	open  chan request  // sent, in order; closed by close
	ended sync.Once     // the connection
	shut  bool          // open is closed; guarded by what guards send
	done  chan struct{} // closed when all that was sent has landed

	mu     sync.Mutex
	landed sync.Cond
	count  int // of requests that are open
}

// request is one that waits for its answer.
type request struct {
	correlation int32
	flights     []*flight
}

// tap is a dialer that remembers the connection that it made.
type tap struct {
	*dialer
	made *conn
}

// Dial implements golang.org/x/net/proxy.Dialer.
func (t *tap) Dial(network, addr string) (net.Conn, error) {
	c, err := t.dialer.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	t.made, _ = c.(*conn)
	return c, nil
}

// openLink connects to the broker at addr, which ends at the latest when the
// cluster is aborted. lost is told of each error that ends the link, by a
// goroutine that must not wait for anything; throttled for how long the broker
// wants to be left alone.
func openLink(w *batchWriter, addr string, lost func(error), throttled func(time.Duration)) (*link, error) {
	dial := &tap{dialer: w.cluster.dial}
	sc := *w.cluster.client.Config()
	sc.Net.Proxy.Dialer = dial
	b := sarama.NewBroker(addr)
	if err := b.Open(&sc); err != nil {
		return nil, err
	}
	if ok, err := b.Connected(); !ok || err != nil {
		_ = b.Close()
		if err == nil {
			err = sarama.ErrNotConnected
		}
		return nil, err
	}
	l := &link{w: w, broker: b, conn: dial.made, out: pastLogins(dial.made), used: time.Now(), open: make(chan request, maxOpen), done: make(chan struct{})}
	l.landed.L = &l.mu
	if err := l.agree(); err != nil {
		_ = b.Close()
		return nil, err
	}
	go l.read(lost, throttled)
	return l, nil
}

// pastLogins is where a connection takes what is no part of a login: nothing that
// stands in a log is to be taken for one.
func pastLogins(c *conn) io.Writer {
	if p, ok := c.Conn.(*plainConn); ok {
		return p.Conn
	}
	return c.Conn
}

// agree finds the version of produce requests that both sides know.
func (l *link) agree() error {
	known, err := l.broker.ApiVersions(&sarama.ApiVersionsRequest{})
	if err != nil {
		return err
	}
	l.version = l.w.version
	for _, k := range known.ApiKeys {
		if k.ApiKey == produceKey {
			l.version = min(l.version, k.MaxVersion)
		}
	}
	if l.version < plainRequest {
		return fmt.Errorf("the broker at %s is too old: it knows no record batches: %w", l.broker.Addr(), sarama.ErrUnsupportedVersion)
	}
	return nil
}

// alive reports whether the broker has not closed the connection in a time
// without requests. While one is open, it is read that notices.
func (l *link) alive() bool {
	return time.Since(l.used) < restless || !l.isIdle() || !hungUp(l.conn.raw)
}

func (l *link) isIdle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count == 0
}

// send writes one request for flights, at most one a partition. taken says that
// they land when its answer has come or never will, which is not so with acks 0,
// nor after an error: then the link is to be closed. One call at a time, and none
// after close.
func (l *link) send(fs []*flight) (taken bool, err error) {
	if err := l.renew(); err != nil {
		return false, err
	}
	l.correlation++
	l.used = time.Now()
	if err := l.put(fs); err != nil {
		return false, err
	}
	if l.w.acks == sarama.NoResponse {
		return false, nil
	}
	l.mu.Lock()
	l.count++
	l.mu.Unlock()
	l.open <- request{l.correlation, fs} // only now: what has landed may be used for others
	return true, nil
}

// put writes a request.
func (l *link) put(fs []*flight) error {
	if err := l.conn.SetWriteDeadline(l.used.Add(l.w.cluster.cfg.RequestTimeout)); err != nil {
		return err
	}
	p := newProduceRequest(l.w, l.version, l.correlation, fs)
	b := p.appendHead(l.buf[:0])
	for i, f := range p.flights {
		b = p.appendPartition(b, i)
		rest := f.pack
		if len(rest) <= smallPack {
			b, rest = append(b, rest...), nil
		}
		if rest == nil && len(b) < gathered {
			continue
		}
		if err := l.write(b); err != nil {
			return err
		}
		if err := l.write(rest); err != nil {
			return err
		}
		b = b[:0]
	}
	l.buf = b[:0]
	return l.write(b)
}

func (l *link) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := l.out.Write(b)
	return err
}

// renew lets sarama log in again when that is due. Brokers take no other
// requests meanwhile, so the open ones are waited for.
func (l *link) renew() error {
	if !l.w.loginEnds || !loginIsDue(l.broker, l.used) {
		return nil
	}
	l.mu.Lock()
	for l.count > 0 {
		l.landed.Wait()
	}
	l.mu.Unlock()
	_, err := l.broker.ApiVersions(&sarama.ApiVersionsRequest{}) // before it sends anything, it logs in
	return err
}

// renewalField is where a sarama.Broker keeps when its login is to be renewed, in
// Unix milliseconds, 0 for never. It has no method for it. Where it is missing, it is
// asked to do so every blindRenewal.
const (
	renewalField = "clientSessionReauthenticationTimeMs"
	blindRenewal = 100 * time.Millisecond
)

func loginIsDue(b *sarama.Broker, used time.Time) bool {
	f := reflect.ValueOf(b).Elem().FieldByName(renewalField)
	if !f.CanInt() {
		return time.Since(used) > blindRenewal
	}
	return f.Int() > 0 && time.Now().UnixMilli() > f.Int()
}

// read lands what was sent, in order, until close. It is the only goroutine that
// reads from the connection while a request is open.
func (l *link) read(lost func(error), throttled func(time.Duration)) {
	defer close(l.done)
	in := bufio.NewReader(l.conn)
	var a answer
	var dead error
	for r := range l.open {
		if dead == nil {
			if dead = l.receive(in, &a, r); dead != nil {
				lost(dead)
				_ = l.conn.raw.Close() // nobody is to wait until a write times out
			}
		}
		if dead != nil {
			landAll(r.flights, dead)
		} else {
			if a.throttle > 0 {
				throttled(a.throttle) // first: landing makes lanes send
			}
			for i, f := range r.flights {
				f.lane.land(f, a.outcomes[i])
			}
		}
		l.mu.Lock()
		l.count--
		l.mu.Unlock()
		l.landed.Signal()
	}
}

// receive reads the answer to r into a.
func (l *link) receive(in *bufio.Reader, a *answer, r request) error {
	if err := l.conn.SetReadDeadline(time.Now().Add(l.w.cluster.cfg.RequestTimeout)); err != nil {
		return err
	}
	head, err := in.Peek(8)
	if err != nil {
		return err
	}
	n, correlation := int(binary.BigEndian.Uint32(head)), int32(binary.BigEndian.Uint32(head[4:]))
	if correlation != r.correlation || n < 4 || n > maxAnswer {
		return sarama.PacketDecodingError{Info: fmt.Sprintf("an answer of %d bytes to request %d, where one to %d is awaited", n, correlation, r.correlation)}
	}
	if cap(a.body) < 4+n {
		a.body = make([]byte, 4+n)
	}
	a.body = a.body[:4+n]
	if _, err := io.ReadFull(in, a.body); err != nil {
		return err
	}
	return a.decode(a.body[8:], l.version, r.flights)
}

// hangUp ends the connection: who waits for the broker fails now.
func (l *link) hangUp() {
	l.ended.Do(func() {
		_ = l.conn.Close()
		_ = l.broker.Close()
	})
}

// close ends the connection, and waits until all that was sent has landed. It may
// be called again. No send is under way.
func (l *link) close() {
	l.hangUp()
	if !l.shut {
		l.shut = true
		close(l.open)
	}
	<-l.done
}
