// Package idle keeps the Go runtime and the program cheap while there is little to do.
//
// A line in a quiet file wakes half a dozen goroutines one after the other. On
// several processors the runtime wakes a thread for nearly each of them, and its
// monitor polls meanwhile: more work than the line itself. Both are settings of
// the whole process, so only a command may use this package.
package idle

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

const (
	window    = time.Second
	restAfter = 10 * window
	busyBytes = 4 << 20 // read within a window: far less than one processor can ship, far more than a quiet host writes

	trickleBytes = 256 << 10 // so little in a window leaves nothing that is worth a collection
)

// Processors has the runtime use one processor while little is read, and all
// that there are otherwise. Some time after much was read it gives free memory
// back to the system: the first look at thousands of files leaves much of it.
// Its methods may be called from several goroutines.
type Processors struct {
	limit func(n int) // 0: all
	free  func()

	mu    sync.Mutex
	ended bool
	busy  bool
	since time.Time // when the window began
	bytes int       // read in the window
	full  time.Time // when a window last had busyBytes
	calm  *time.Timer
	asked int // read since memory was given back
	tidy  *time.Timer
}

// NewProcessors starts at rest. End it with Close. Where GOMAXPROCS is set or
// there is one processor only, it does nothing.
func NewProcessors() *Processors {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return newProcessors(func(int) {}, debug.FreeOSMemory)
	}
	return newProcessors(func(n int) {
		if n == 0 {
			runtime.SetDefaultGOMAXPROCS() // follows a container's limit again
			return
		}
		runtime.GOMAXPROCS(n)
	}, debug.FreeOSMemory)
}

func newProcessors(limit func(n int), free func()) *Processors {
	limit(1)
	return &Processors{limit: limit, free: free, since: time.Now()}
}

// Read notes that n bytes are about to be read.
func (p *Processors) Read(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.since) >= window {
		if p.bytes < trickleBytes {
			p.asked = 0
		}
		p.since, p.bytes = now, 0
	}
	if p.asked += n; p.asked >= busyBytes && p.tidy == nil && !p.ended {
		p.tidy = time.AfterFunc(restAfter, p.giveBack)
	}
	if p.bytes += n; p.bytes < busyBytes || p.ended {
		return
	}
	if p.full = now; p.busy {
		return
	}
	p.busy = true
	p.limit(0)
	p.calm = time.AfterFunc(2*window, p.rest)
}

// rest goes back to one processor when no window was full lately.
func (p *Processors) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if left := 2*window - time.Since(p.full); left > 0 {
		p.calm.Reset(left)
		return
	}
	p.busy = false
	p.limit(1)
}

// giveBack returns free memory to the system, unless there was a full window
// lately: it would be taken again.
func (p *Processors) giveBack() {
	if p.settled() {
		p.free() // takes a whole collection, and Read is not to wait for it
	}
}

func (p *Processors) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	if time.Since(p.full) < restAfter {
		p.tidy.Reset(restAfter)
		return false
	}
	p.tidy, p.asked = nil, 0
	return true
}

// Close gives all processors back, for good.
func (p *Processors) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, t := range []*time.Timer{p.calm, p.tidy} {
		if t != nil {
			t.Stop()
		}
	}
	p.limit(0)
}
