package collector

import "sync"

// turns lets a bounded number of tailers run at a time, in the order in which
// they asked. Who waits to begin costs a place in a queue and no goroutine, so
// that ten thousand files that are woken at once are no ten thousand stacks.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []func() (taken bool)
}

func newTurns(n int) *turns { return &turns{free: n} }

// begin calls start, which must not block, as soon as there is a turn for it. A
// turn that start takes lasts until end.
func (t *turns) begin(start func() (taken bool)) {
	t.mu.Lock()
	if t.free == 0 {
		t.waiting = append(t.waiting, start)
		t.mu.Unlock()
		return
	}
	t.free--
	t.mu.Unlock()
	if !start() {
		t.end()
	}
}

// end gives a turn to the first who waits.
func (t *turns) end() {
	for {
		t.mu.Lock()
		if len(t.waiting) == 0 {
			t.free++
			t.waiting = nil
			t.mu.Unlock()
			return
		}
		start := t.waiting[0]
		t.waiting[0] = nil
		t.waiting = t.waiting[1:]
		t.mu.Unlock()
		if start() {
			return
		}
	}
}

// resume waits for a turn, for somebody who runs already and gave his back.
func (t *turns) resume() {
	mine := make(chan struct{})
	t.begin(func() bool { close(mine); return true })
	<-mine
}

// yield lets those run that wait. They are served in turn, so more busy files
// than turns share them.
func (t *turns) yield() {
	t.mu.Lock()
	wanted := len(t.waiting) > 0
	t.mu.Unlock()
	if wanted {
		t.end()
		t.resume()
	}
}
