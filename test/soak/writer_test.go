package soak

import (
	"sync"
	"sync/atomic"
	"time"

	"logferry/test/agenttest"
)

// every is how often a writer writes.
const every = 10 * time.Millisecond

// writer is a program that writes one log at a rate, and does what it is told.
type writer struct {
	log   *agenttest.LogWriter
	rate  atomic.Int64 // lines a second
	tasks chan func()
	quit  chan struct{}
	done  sync.WaitGroup
}

func startWriter(l *agenttest.LogWriter) *writer {
	w := &writer{log: l, tasks: make(chan func(), 1024), quit: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

func (w *writer) run() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	due := 0.0
	for {
		select {
		case <-w.quit:
			return
		case do := <-w.tasks:
			do()
		case <-tick.C:
			due += float64(w.rate.Load()) * every.Seconds()
			w.log.Write(uint64(due))
			due -= float64(uint64(due))
		}
	}
}

func (w *writer) burst(n int) { w.tasks <- func() { w.log.Write(uint64(n)) } }

// rename rotates the log. Two rotations are further apart than the clock that
// stamps files is coarse.
func (w *writer) rename() {
	w.tasks <- func() {
		<-time.After(every)
		w.log.Rename()
	}
}

// stop ends the writer once it has done what it was told.
func (w *writer) stop() {
	ended := make(chan struct{})
	w.tasks <- func() { close(ended) }
	<-ended
	close(w.quit)
	w.done.Wait()
}
