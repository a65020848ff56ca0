package faults

import (
	"sync/atomic"
	"time"

	"logferry/test/agenttest"
)

const (
	everyWrite    = 5 * time.Millisecond
	linesPerWrite = 100 // 20,000 lines/s

	everyTrickle = 15 * time.Millisecond // so seldom that lines are read without a tailer
)

// trickle writes n lines, now and then one.
func trickle(l *agenttest.LogWriter, n int) {
	tick := time.NewTicker(everyTrickle)
	defer tick.Stop()
	for range n {
		<-tick.C
		l.Write(1)
	}
}

// steady writes a log in the background, at a rate, whatever the agent does.
type steady struct {
	n    atomic.Uint64
	done chan struct{}
}

func writeSteadily(l *agenttest.LogWriter, total uint64) *steady {
	s := &steady{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(everyWrite)
		defer tick.Stop()
		for n := uint64(0); n < total; n += linesPerWrite {
			<-tick.C
			l.Write(linesPerWrite)
			s.n.Store(n + linesPerWrite)
		}
	}()
	return s
}

// flow starts the agent on one log to which total lines are written steadily.
func (w *world) flow(total uint64) *steady {
	w.Helper()
	l := w.log("app.log")
	w.start()
	return writeSteadily(l, total)
}

// outage lets lines flow, breaks something in the middle of them, and mends it
// when many more are waiting.
func (w *world) outage(breaks, mends func()) {
	w.Helper()
	written := w.flow(60_000)
	written.reach(w, 20_000)
	breaks()
	written.reach(w, 50_000)
	mends()
	w.heal()
	<-written.done
}

// reach waits until n lines are written.
func (s *steady) reach(w *world, n uint64) {
	w.Helper()
	agenttest.Eventually(w.T, "the writer comes so far", agenttest.Patience, func() bool { return s.n.Load() >= n })
}
