package faults

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/kafkatest"
)

// proxy is a network between the agent and one broker.
type proxy struct {
	listener net.Listener
	target   string

	accepted atomic.Int64 // connections so far
	carried  atomic.Int64 // bytes from the agent to the broker
	swallow  atomic.Bool  // bytes vanish, both ways, for as long as a connection lasts
	mute     atomic.Bool  // the same for the broker's answers alone
	lost     atomic.Int64 // bytes of answers that vanished
	cutAfter atomic.Int64 // bytes from the agent after which a connection is reset; 0: none
	resets   atomic.Int64 // connections that cutAfter has reset
	rate     atomic.Int64 // bytes a second, either way, of a connection; 0: no limit

	mu     sync.Mutex
	conns  map[*net.TCPConn]struct{}
	closed bool
	wg     sync.WaitGroup
}

// brokerBehindProxy starts a broker of one node that the agent can reach
// through a proxy alone.
func (w *world) brokerBehindProxy(opts ...kafkatest.Option) *proxy {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w, err)
	p := &proxy{listener: l, conns: map[*net.TCPConn]struct{}{}}
	w.Cleanup(p.close)
	w.broker(append(opts, kafkatest.WithFronts(l.Addr().String()))...)
	p.target = w.kafka.Behind(w.T, 0)
	w.brokers = []string{l.Addr().String()}
	p.wg.Go(p.accept)
	return p
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.wg.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// serve joins a connection to one of its own to the broker until either ends.
func (p *proxy) serve(near *net.TCPConn) {
	if !p.hold(near) {
		return
	}
	defer p.release(near)
	c, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		return
	}
	far := c.(*net.TCPConn)
	if !p.hold(far) {
		return
	}
	defer p.release(far)
	var back sync.WaitGroup
	back.Go(func() {
		p.carry(near, far, nil)
		_ = near.Close()
	})
	sent := int64(0)
	p.carry(far, near, &sent)
	_ = far.Close()
	back.Wait()
}

// carry copies until a connection ends. sent counts what came from the agent,
// nil on the way back.
func (p *proxy) carry(to, from *net.TCPConn, sent *int64) {
	buf := make([]byte, 16<<10)
	for dead := false; ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if dead = dead || p.swallow.Load() || sent == nil && p.mute.Load(); dead {
			if sent == nil {
				p.lost.Add(int64(n))
			}
			continue
		}
		if sent != nil {
			limit := p.cutAfter.Load()
			if limit > 0 && *sent+int64(n) >= limit {
				_, _ = to.Write(buf[:max(0, limit-*sent)]) // the broker gets half a request
				p.resets.Add(1)
				_ = from.SetLinger(0)
				return
			}
			*sent += int64(n)
			p.carried.Add(int64(n))
		}
		if rate := p.rate.Load(); rate > 0 {
			time.Sleep(time.Duration(int64(n) * int64(time.Second) / rate))
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) hold(c *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) release(c *net.TCPConn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// reset ends every connection.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.reset()
	p.wg.Wait()
}
