package etcdsource

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"logferry/agent/task"
	"logferry/test/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdtest.Settle(m)) }

const patience = time.Minute

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testConfig is that of an agent on one host, with short timeouts.
func testConfig(t *testing.T, endpoints ...string) Config {
	t.Helper()
	allow, err := task.NewAllowList([]string{"/var/log/**"})
	require.NoError(t, err)
	return Config{
		Endpoints: endpoints, DialTimeout: 10 * time.Second, RequestTimeout: 10 * time.Second, AllowPaths: allow,
		CachePath: filepath.Join(t.TempDir(), "tasks.json"),
	}
}

// running is a source at work.
type running struct {
	*Source
	t         *testing.T
	snapshots chan task.Snapshot
	stop      func()
}

func run(t *testing.T, cfg Config) *running {
	t.Helper()
	s, err := New(cfg, quiet())
	require.NoError(t, err)
	r := &running{Source: s, t: t, snapshots: make(chan task.Snapshot, 10000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(snap task.Snapshot) { r.snapshots <- snap }) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) next() task.Snapshot {
	r.t.Helper()
	select {
	case s := <-r.snapshots:
		return s
	case <-time.After(patience):
		require.FailNow(r.t, "no snapshot came", "%+v", r.Status())
		return task.Snapshot{}
	}
}

// until returns the first snapshot whose tasks have these topics.
func (r *running) until(want map[string]string) task.Snapshot {
	r.t.Helper()
	var last task.Snapshot
	timeout := time.After(patience)
	for {
		select {
		case last = <-r.snapshots:
			if fmt.Sprint(topics(last)) == fmt.Sprint(want) {
				return last
			}
		case <-timeout:
			require.FailNow(r.t, "the set never came", "want %v, last %+v, status %+v", want, last, r.Status())
		}
	}
}

// knows waits until the source has seen a revision.
func (r *running) knows(revision int64) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.Status().Revision >= revision }, patience, 5*time.Millisecond, "%+v", r.Status())
}

func (r *running) connected(want bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.Connected() == want }, patience, 5*time.Millisecond, "%+v", r.Status())
}

// failing waits until the last error holds a text.
func (r *running) failing(text string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return strings.Contains(r.Status().LastError, text) }, patience, 5*time.Millisecond,
		"want %s, have %+v", text, r.Status())
}

func topics(s task.Snapshot) map[string]string {
	m := map[string]string{}
	for _, t := range s.Tasks {
		m[t.Name] = t.Topic
	}
	return m
}

func text(topic string) string { return "paths: [/var/log/*.log]\ntopic: " + topic + "\n" }

// proxy forwards TCP connections to one address until it is told otherwise.
type proxy struct {
	net.Listener
	to string
	wg sync.WaitGroup

	mu     sync.Mutex
	closed bool // new connections are cut at once
	conns  map[net.Conn]*gate
}

// gate lets the bytes of one connection through, or holds them for ever.
type gate struct {
	mu   sync.Mutex
	hold chan struct{} // nil: open
}

func (g *gate) pass() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hold
}

func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, to: strings.TrimPrefix(endpoint, "http://"), conns: map[net.Conn]*gate{}}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		in, err := p.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		p.mu.Lock()
		if err != nil || p.closed {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			p.mu.Unlock()
			continue
		}
		g := &gate{}
		p.conns[in], p.conns[out] = g, g
		p.mu.Unlock()
		p.wg.Go(func() { p.pump(out, in, g) })
		p.wg.Go(func() { p.pump(in, out, g) })
	}
}

func (p *proxy) pump(to, from net.Conn, g *gate) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if hold := g.pass(); hold != nil {
			<-hold
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// freeze stops forwarding on the connections that exist; they stay open.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.conns {
		g.mu.Lock()
		if g.hold == nil {
			g.hold = make(chan struct{})
		}
		g.mu.Unlock()
	}
}

// cut breaks all connections, and new ones until open is called.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	released := map[*gate]bool{}
	for c, g := range p.conns {
		_ = c.Close()
		g.mu.Lock()
		if g.hold != nil && !released[g] {
			close(g.hold)
		}
		released[g] = true
		g.mu.Unlock()
	}
	p.conns = map[net.Conn]*gate{}
}

func (p *proxy) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
}

func (p *proxy) address() string { return p.Addr().String() }

// newSilentServer accepts connections and never says a word.
func newSilentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}
