package agent

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxConns bounds the connections to the agent: each takes a descriptor that
// files and Kafka need.
const maxConns = 128

// conns keeps the number of connections bounded: a new one takes the place of
// the one that has asked nothing for longest, so that whoever holds many open
// keeps no probe from being answered.
type conns struct {
	mu    sync.Mutex
	open  int
	quiet []net.Conn // that have no request under way, the longest first
}

// state is the server's ConnState.
func (c *conns) state(conn net.Conn, now http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = slices.DeleteFunc(c.quiet, func(q net.Conn) bool { return q == conn })
	switch now {
	case http.StateNew, http.StateIdle:
		if now == http.StateNew {
			c.open++
		}
		c.quiet = append(c.quiet, conn)
		if c.open > maxConns {
			_ = c.quiet[0].Close() // it is counted until the server has noticed
			c.quiet = c.quiet[1:]
		}
	case http.StateClosed, http.StateHijacked:
		c.open--
	}
}
