package collector

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// clockFS is the kernel's file system on a host whose clock is set while files
// are made: their stamps are what that clock showed.
type clockFS struct {
	tail.Kernel
	t *testing.T
	w *world

	mu    sync.Mutex
	steps []clockStep
}

type clockStep struct {
	at    int64 // by the real clock, Unix nanoseconds
	shift int64
}

// onSetClock puts a world on a host whose clock can be set.
func onSetClock(t *testing.T, w *world) *clockFS {
	f := &clockFS{t: t, w: w}
	w.fs = f
	w.now = func() time.Time { return time.Unix(0, f.stamp(time.Now().UnixNano())) }
	return f
}

// set sets the clock forward, or back if d is negative.
func (f *clockFS) set(d time.Duration) {
	f.t.Helper()
	tickOver(f.t, f.w)
	f.mu.Lock()
	step := clockStep{at: time.Now().UnixNano(), shift: int64(d)}
	if len(f.steps) > 0 {
		step.shift += f.steps[len(f.steps)-1].shift
	}
	f.steps = append(f.steps, step)
	f.mu.Unlock()
	tickOver(f.t, f.w)
}

func (f *clockFS) stamp(real int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if real == 0 {
		return 0
	}
	shift := int64(0)
	for _, s := range f.steps {
		if s.at <= real {
			shift = s.shift
		}
	}
	return real + shift
}

func (f *clockFS) stamped(info tail.Info, err error) (tail.Info, error) {
	info.Birth, info.Modified, info.Changed = f.stamp(info.Birth), f.stamp(info.Modified), f.stamp(info.Changed)
	return info, err
}

func (f *clockFS) Look(path string) (tail.Info, error) { return f.stamped(f.Kernel.Look(path)) }
func (f *clockFS) Inspect(fd int) (tail.Info, error)   { return f.stamped(f.Kernel.Inspect(fd)) }

// clockJumps runs a scenario with each way in which the clock is set.
func clockJumps(t *testing.T, scenario func(t *testing.T, w *world, set func(n int))) {
	for name, steps := range map[string][]time.Duration{
		"back": {-6 * time.Hour}, "forward": {6 * time.Hour},
		"back-later": {0, -6 * time.Hour}, "forward-later": {0, 6 * time.Hour},
		"forward-and-back": {6 * time.Hour, -6 * time.Hour},
		"back-twice":       {-6 * time.Hour, -6 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				f := onSetClock(t, w)
				scenario(t, w, func(n int) {
					if n < len(steps) && steps[n] != 0 {
						f.set(steps[n])
					}
				})
			})
		})
	}
}

// generations makes three generations of a.log, with the clock set before the
// first and the second of them, and says what their lines are.
func generations(t *testing.T, w *world, round int, set func(n int), rotate func(n int)) (want []string) {
	t.Helper()
	for n := range 3 {
		line := fmt.Sprintf("round %d generation %d", round, n)
		w.write("a.log", line+"\n")
		want = append(want, line)
		set(n)
		rotate(n)
		tickOver(t, w)
	}
	line := fmt.Sprintf("round %d, the last", round)
	w.write("a.log", line+"\n")
	return append(want, line)
}

var clockRotations = []struct {
	name   string
	rotate func(t *testing.T, w *world, n int)
}{
	{"rename", func(t *testing.T, w *world, n int) {
		w.shift("a.log", n)
		w.rotateCreate("a.log", "a.log.1")
	}},
	{"copytruncate", func(t *testing.T, w *world, n int) {
		w.shift("a.log", n)
		w.rotateCopyTruncate("a.log", "a.log.1")
	}},
	{"gzip", func(t *testing.T, w *world, n int) {
		w.shift("a.log", n)
		w.rotateCreate("a.log", "a.log.1")
		w.compress("a.log.1", ".gz")
	}},
	{"zstd, delayed", func(t *testing.T, w *world, n int) {
		w.shift("a.log", n)
		w.rotateCreate("a.log", "a.log.1")
		if _, err := os.Stat(w.path("a.log.2")); err == nil {
			w.compress("a.log.2", ".zst")
		}
	}},
}

func TestAClockThatIsSetWhileTheAgentIsStoppedLosesAndDoublesNothing(t *testing.T) {
	for _, r := range clockRotations {
		t.Run(r.name, func(t *testing.T) {
			clockJumps(t, func(t *testing.T, w *world, set func(int)) {
				w.write("a.log.1", "history\n")
				passes(t, w, clockTick) // what is younger may be a copy that is just being made
				w.write("a.log", "first\n")
				a := w.start()
				a.want("a.log", "first")
				a.settled()
				a.stop()
				tickOver(t, w)
				want := generations(t, w, 0, set, func(n int) { r.rotate(t, w, n+1) })
				a = w.start()
				a.want("a.log", want...)
				a.settled()
				require.Equal(t, len(want), a.count(), "%q", a.all)
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestAClockThatIsSetUnderTheAgentLosesAndDoublesNothing(t *testing.T) {
	for _, r := range clockRotations {
		t.Run(r.name, func(t *testing.T) {
			clockJumps(t, func(t *testing.T, w *world, set func(int)) {
				w.write("a.log", "first\n")
				a := w.start()
				a.want("a.log", "first")
				a.settled()
				want := []string{"first"}
				for round := range 2 {
					a.c.mu.Lock() // nothing is looked at in between
					want = append(want, generations(t, w, round, set, func(n int) { r.rotate(t, w, 3*round+n) })...)
					set = func(int) {}
					a.c.mu.Unlock()
					a.want("a.log", want...)
					a.settled()
				}
				require.Equal(t, len(want), a.count())
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestAPathThatAppearsAndIsRotatedAfterTheClockWasSetIsRead(t *testing.T) {
	for _, d := range []time.Duration{-6 * time.Hour, 6 * time.Hour} {
		t.Run(d.String(), func(t *testing.T) {
			w := newWorld(t, true)
			f := onSetClock(t, w)
			w.write("other.log", "1\n")
			a := w.start()
			a.want("other.log", "1")
			a.settled()
			f.set(d)
			a.c.mu.Lock()
			w.write("b.log", "b 1\n")
			tickOver(t, w)
			w.rotateCreate("b.log", "b.log.1")
			w.write("b.log", "b 2\n")
			a.c.mu.Unlock()
			a.want("b.log", "b 1", "b 2")
		})
	}
}

func TestStampsOfNowhereDisturbNothing(t *testing.T) {
	for name, at := range map[string]time.Time{"1970": time.Unix(1, 0), "next year": time.Now().AddDate(1, 0, 0)} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.CloseInactive = 20 * time.Millisecond
				stamp := func() { require.NoError(t, os.Chtimes(w.path("a.log"), at, at)) }
				w.write("a.log", "1\n")
				stamp()
				a := w.start()
				a.want("a.log", "1")
				a.until("it is closed", func() bool { return a.states()[w.path("a.log")] == FileClosed })
				w.write("a.log", "2\n")
				stamp()
				a.want("a.log", "1", "2")
				a.settled()
				a.stop()
				w.write("a.log", "3\n")
				stamp()
				tickOver(t, w)
				w.rotateCreate("a.log", "a.log.1")
				w.write("a.log", "4\n")
				stamp()
				a = w.start()
				a.want("a.log", "3", "4")
				a.settled()
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestASiblingOfTheFutureIsCollectedAsSoonAsAnyOther(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.Paths = []string{w.path("a.log*")}
		f := onSetClock(t, w)
		w.write("a.log", "")
		a := w.start()
		a.settled()
		a.c.mu.Lock()
		w.write("a.log.1", "another file\n")
		f.set(-6 * time.Hour)
		a.c.mu.Unlock()
		a.want("a.log.1", "another file")
	})
}

func TestAClockThatIsWrongForAnHourForgetsNoFile(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", "1\n")
	a := w.start()
	a.want("a.log", "1")
	a.settled()
	id := checkpoint.FileID{Ino: 1}
	a.store.Mark("web", id, fixedState{Path: w.path("a.log"), Done: true, Updated: time.Now()})
	stored := func() bool { _, ok := a.store.Get("web", id); return ok }
	ahead := time.Now().AddDate(3, 0, 0)
	a.c.deps.Now = func() time.Time { return ahead }
	a.c.prune()
	a.c.prune()
	require.True(t, stored())
	for id := range a.c.old {
		a.c.old[id] = time.Now().Add(-2 * oldFor)
	}
	a.c.deps.Now = nil
	a.c.prune()
	require.True(t, stored())
	require.Empty(t, a.c.old)
}
