package faults

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay stands between the agent and a server and forwards TCP connections
// until it is told otherwise.
type relay struct {
	net.Listener
	to string
	wg sync.WaitGroup

	mu      sync.Mutex
	refuses bool // new connections are closed at once
	pairs   []*pair
}

// pair is one connection and its continuation.
type pair struct {
	in, out net.Conn
	stalled chan struct{} // closed: nothing is forwarded any more
	once    sync.Once
}

func newRelay(t *testing.T, endpoint string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{Listener: ln, to: strings.TrimPrefix(endpoint, "http://")}
	r.wg.Go(r.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		r.cut()
		r.wg.Wait()
	})
	return r
}

func (r *relay) address() string { return r.Addr().String() }

func (r *relay) serve() {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p := &pair{in: in, out: out, stalled: make(chan struct{})}
		r.mu.Lock()
		if r.refuses {
			p.close()
		} else {
			r.pairs = append(r.pairs, p)
		}
		r.mu.Unlock()
		r.wg.Go(func() { p.pump(in, out) })
		r.wg.Go(func() { p.pump(out, in) })
	}
}

// pump reads on when the pair is stalled, so that neither side notices.
func (p *pair) pump(to, from net.Conn) {
	defer p.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-p.stalled:
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *pair) close() {
	_ = p.in.Close()
	_ = p.out.Close()
}

// stall keeps all connections open and forwards nothing on them; new ones
// work.
func (r *relay) stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pairs {
		p.once.Do(func() { close(p.stalled) })
	}
}

// cut breaks all connections and refuses new ones until mend.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses = true
	for _, p := range r.pairs {
		p.close()
	}
	r.pairs = nil
}

func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses = false
}
