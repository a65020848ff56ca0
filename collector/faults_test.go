package collector

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// script is a life with each kind of operation in it: first look, appends,
// rename rotation, copytruncate, a deletion, a quiet file that is closed and opened
// again, and rotations while nobody looks. It demands each line, once, in order.
func script(t *testing.T, ffs *faultFS) {
	w := newWorld(t, false)
	w.fs = ffs
	w.cfg.RotateWait, w.cfg.CloseInactive = 10*time.Millisecond, 20*time.Millisecond
	var want []string
	line := 0
	write := func(n int) {
		text, more := lines("l", line, line+n)
		line += n
		want = append(want, more...)
		w.write("a.log", text)
	}
	write(20)
	a := w.start(quick)
	a.want("a.log", want...)
	write(20)
	tickOver(t, w)
	w.rotateCreate("a.log", "a.log.1")
	write(20)
	a.want("a.log", want...)
	w.rotateCopyTruncate("a.log", "a.log.2")
	write(20)
	a.want("a.log", want...)
	a.until("it is closed", func() bool { return a.states()[w.path("a.log")] == FileClosed })
	write(20)
	a.want("a.log", want...)
	a.settled()
	a.stop()

	first := len(want)
	for g := range 2 {
		write(20)
		tickOver(t, w)
		w.rotateCreate("a.log", fmt.Sprintf("a.log.%d", 3+g))
	}
	write(20)
	a = w.start(quick)
	a.want("a.log", want[first:]...)
	w.remove("a.log")
	a.until("the deleted file is released", func() bool { return len(a.c.Files()) == 0 })
	require.Len(t, a.lines(w.path("a.log")), len(want)-first)
	a.stop()
	held, _, _ := a.budget.now()
	require.Zero(t, held)
	require.Empty(t, ffs.leaked())
}

// packedScript is a life with compressed generations in it, in a directory of
// their own: made under the agent, and while nobody looks.
func packedScript(t *testing.T, ffs *faultFS) {
	ffs.strict = true // an original that is not there makes its archive count
	w := newWorld(t, false)
	w.fs = ffs
	w.cfg.RotateWait, w.cfg.CloseInactive = 10*time.Millisecond, 20*time.Millisecond
	require.NoError(t, os.Mkdir(w.path("old"), 0o700))
	var want []string
	rotations := 0
	write := func() {
		text, more := lines("l", 20*len(want), 20*len(want)+20)
		want = append(want, more...)
		w.write("a.log", text)
	}
	rotate := func(suffix string) {
		tickOver(t, w)
		w.shift("old/a.log", rotations)
		rotations++
		w.rotateCreate("a.log", "old/a.log.1")
		if suffix != "" {
			w.compress("old/a.log.1", suffix)
		}
	}
	write()
	a := w.start(quick)
	a.want("a.log", want...)
	rotate("")
	write()
	a.want("a.log", want...)
	rotate(".gz")
	write()
	a.want("a.log", want...)
	a.settled()
	a.stop()

	first := len(want)
	for _, suffix := range []string{".gz", ".zst", ""} {
		write()
		rotate(suffix)
	}
	write()
	a = w.start(quick)
	a.want("a.log", want[first:]...)
	a.until("the rotated files are released", func() bool { return len(a.c.Files()) == 1 })
	a.settled()
	require.Len(t, a.lines(w.path("a.log")), len(want)-first)
	a.stop()
	nothingNew(t, w, quick)
	require.Empty(t, ffs.leaked())
}

var failures = []error{unix.EIO, unix.ESTALE, unix.EMFILE, unix.EACCES, unix.ENOENT, errShort}

// everyPlace runs the script once for each of its operations, which fail as
// the fault says; the kinds of failure take turns. FAULTS=all tries each kind at each place.
func everyPlace(t *testing.T, script func(*testing.T, *faultFS), fault func(n int, err error) func(operation) error) {
	clean := newFaultFS(nil)
	script(t, clean)
	step := 5
	switch {
	case os.Getenv("FAULTS") == "all":
		step = 1
	case testing.Short():
		step = 11
	}
	for n := 0; n < clean.count; n += step {
		kinds := failures[n%len(failures):][:1]
		if os.Getenv("FAULTS") == "all" {
			kinds = failures
		}
		for _, err := range kinds {
			t.Run(fmt.Sprintf("%d %v", n, err), func(t *testing.T) {
				ffs := newFaultFS(fault(n, err))
				t.Cleanup(func() {
					if t.Failed() {
						for _, op := range ffs.done[max(0, min(n, len(ffs.done))-12):min(n+12, len(ffs.done))] {
							t.Log(op)
						}
					}
				})
				script(t, ffs)
			})
		}
	}
}

func TestAnOperationThatFailsOnceLosesAndDoublesNothing(t *testing.T) { everyPlace(t, script, once) }

func TestTroubleThatLastsForAWhileLosesAndDoublesNothing(t *testing.T) {
	everyPlace(t, script, forAWhile)
}

func TestAnOperationThatFailsOnceLosesAndDoublesNothingOfWhatIsCompressed(t *testing.T) {
	everyPlace(t, packedScript, once)
}

func TestTroubleThatLastsForAWhileLosesAndDoublesNothingOfWhatIsCompressed(t *testing.T) {
	everyPlace(t, packedScript, forAWhile)
}

// forAWhile fails the n-th operation and those that follow it.
func forAWhile(n int, err error) func(operation) error {
	return func(op operation) error {
		if n <= op.n && op.n < n+6 {
			return err
		}
		return nil
	}
}

// quick tries again at once what failed.
var quick = tweaked(func(c *Collector) { c.retry = time.Millisecond })

// failing fails each operation of a kind on a path.
func failing(name, path string, err error) func(operation) error {
	return func(op operation) error {
		if op.name == name && op.path == path {
			return err
		}
		return nil
	}
}

func TestAFileThatCannotBeReadIsToldOnceHoldsNoOtherAndGoesOnWhenItCan(t *testing.T) {
	for name, err := range map[string]error{"open": unix.EACCES, "pread": unix.EIO, "size": unix.EIO, "look": unix.EIO} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, false)
			ffs := newFaultFS(failing(name, w.path("a.log"), err))
			w.fs = ffs
			w.write("a.log", "1\n")
			w.write("b.log", "other\n")
			a := w.start(quick)
			a.want("b.log", "other")
			a.until("it was tried several times", func() bool { return testutil.ToFloat64(a.c.metrics.errors) > 3 })
			shown := a.c.Refused()[w.path("a.log")]
			for _, f := range a.c.Files() {
				if f.Path == w.path("a.log") && f.State == FileFailed {
					shown += f.Error
				}
			}
			require.Contains(t, shown, err.Error())
			require.Equal(t, 1, w.log.count(err.Error()), "logged once:\n%s", w.log.text.String())
			w.write("a.log", "2\n")
			ffs.heal()
			a.want("a.log", "1", "2")
			a.stop()
			require.Empty(t, ffs.leaked())
		})
	}
}

// stale makes every descriptor that is open now one that nobody knows.
func (f *faultFS) stale(call string) {
	f.mu.Lock()
	forgotten := map[int]bool{}
	for fd := range f.open {
		forgotten[fd] = true
	}
	f.mu.Unlock()
	f.set(func(op operation) error {
		if op.fd >= 0 && forgotten[op.fd] && (op.name == call || call == "any") {
			return unix.ESTALE
		}
		if op.name == "open" {
			f.mu.Lock()
			defer f.mu.Unlock()
			for fd := range forgotten {
				if _, open := f.open[fd]; !open {
					delete(forgotten, fd) // its number may be given again
				}
			}
		}
		return nil
	})
}

func TestAStaleHandleIsOpenedAgainAndReadOnWhereItStopped(t *testing.T) {
	for _, call := range []string{"pread", "size", "any"} {
		t.Run(call, func(t *testing.T) {
			w := newWorld(t, false)
			ffs := newFaultFS(nil)
			w.fs = ffs
			text, want := lines("x", 0, 100)
			w.write("a.log", text)
			a := w.start(quick, acking(ackNever)) // what is on its way must not come again
			a.want("a.log", want...)
			ffs.stale(call)
			text, more := lines("x", 100, 200)
			w.write("a.log", text)
			want = append(want, more...)
			a.want("a.log", want...)
			require.InDelta(t, 1, testutil.ToFloat64(a.c.metrics.stale), 0)
			require.Equal(t, 1, w.log.count("a file handle went stale"))
			require.Zero(t, a.rotations("rename"))

			w.rotateCreate("a.log", "a.log.1") // its other name is found too
			ffs.stale(call)
			text, more = lines("y", 0, 100)
			w.write("a.log.1", text)
			want = append(want, more...)
			a.want("a.log", want...)
			w.write("a.log", "new\n")
			a.want("a.log", append(want, "new")...)
			a.release()
			a.stop()
			require.Empty(t, ffs.leaked())
			require.Zero(t, testutil.ToFloat64(a.c.metrics.abandoned.WithLabelValues(abandonedStale)))
		})
	}
}

func TestWhatIsGoneFromItsServerIsCountedAndTheNextFileIsRead(t *testing.T) {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	w.write("a.log", "1\n")
	a := w.start(quick)
	a.want("a.log", "1")
	a.settled()
	ffs.set(failing("pread", w.path("a.log"), unix.EIO)) // keeps the reader away for now
	w.write("a.log", "lost\n")
	a.until("the reader has failed", func() bool { return testutil.ToFloat64(a.c.metrics.errors) > 0 })
	w.remove("a.log")
	w.write("a.log", "new\n")
	ffs.stale("any")
	a.want("a.log", "1", "new")
	require.InDelta(t, len("lost\n"), testutil.ToFloat64(a.c.metrics.abandoned.WithLabelValues(abandonedStale)), 0)
	require.Equal(t, 1, w.log.count("gone from its file server"))
	a.stop()
	require.Empty(t, ffs.leaked())
}

// limited lets so many descriptors be open at one time.
func (f *faultFS) limited(n int) {
	f.set(func(op operation) error {
		if op.name != "open" {
			return nil
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.open) >= n {
			return unix.EMFILE
		}
		return nil
	})
}

func TestALimitOfOpenFilesIsToldOnceAndEveryFileGetsItsTurn(t *testing.T) {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	ffs.limited(10)
	w.fs = ffs
	const files = 400
	for i := range files {
		w.write(fmt.Sprintf("%d.log", i), "1\n")
	}
	a := w.start(quick)
	a.until("each file is read", func() bool { return a.count() == files })
	for i := range files {
		w.write(fmt.Sprintf("%d.log", i), "2\n")
	}
	a.until("each file is read again", func() bool { return a.count() == 2*files })
	require.Empty(t, a.c.Refused())
	require.Equal(t, 1, w.log.count("level=WARN"), w.log.text.String())
	require.Equal(t, 1, w.log.count("raise it (LimitNOFILE"))
	a.stop()
	require.Empty(t, ffs.leaked())
}

// A file that is not read to its end was moved to a directory that may not be
// listed for a while.
func TestADirectoryOfUnreadGenerationsThatMayNotBeListedIsWaitedFor(t *testing.T) {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	require.NoError(t, os.Mkdir(w.path("old"), 0o700))
	w.write("a.log", "1\n")
	a := w.start(quick)
	a.want("a.log", "1")
	w.rotateCreate("a.log", "old/a.log.1")
	w.write("a.log", "2\n")
	a.want("a.log", "1", "2")
	a.settled()
	a.stop()
	w.write("a.log", "3\n")
	tickOver(t, w)
	w.rename("old/a.log.1", "old/a.log.2")
	w.rotateCreate("a.log", "old/a.log.1")
	w.write("a.log", "4\n")
	ffs.set(failing("readdir", w.path("old")+"/", unix.EACCES))
	a = w.start() // tries again after a second
	tried := func() { a.until("it was tried", func() bool { return testutil.ToFloat64(a.c.metrics.errors) > 0 }) }
	tried()
	w.write("b.log", "other\n") // neither another path nor the end waits for it
	a.want("b.log", "other")
	began := time.Now()
	a.stop()
	require.Less(t, time.Since(began), patience/2)
	a = w.start()
	tried()
	ffs.heal()
	a.want("a.log", "3", "4")
	a.stop()
	nothingNew(t, w)
}

// Whether a generation has something to read is asked before it is read, as the
// one before it may still be written to. That it cannot be told is no reason to pass it over.
func TestAGenerationWhoseSizeCannotBeToldKeepsItsPlace(t *testing.T) {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	w.hasRead(quick)
	for i, line := range []string{"2\n", "3\n", "4\n"} {
		tickOver(t, w)
		w.shift("a.log", i)
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", line)
	}
	ffs.set(failing("size", w.path("a.log.1"), unix.EIO))
	a := w.start(quick)
	a.until("it was tried several times", func() bool { return testutil.ToFloat64(a.c.metrics.errors) > 3 })
	ffs.heal()
	a.want("a.log", "2", "3", "4")
	a.stop()
}

// The next tailer of a stream may begin as soon as one has parked.
func TestATailerThatEndsLeavesTheNextOneItsPlaceToUnpack(t *testing.T) {
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	w.hasRead(quick)
	tickOver(t, w)
	var noise strings.Builder // cannot be made smaller, so that it takes many reads
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		fmt.Fprintf(&noise, "%016x\n", rng.Uint64())
	}
	w.write("a.log", noise.String())
	w.rotateCreate("a.log", "a.log.1")
	w.compress("a.log.1", ".gz")
	w.write("a.log", "3\n")
	var reads atomic.Int64
	ffs.set(func(op operation) error {
		if op.name == "pread" && op.path == w.path("a.log.1.gz") && reads.Add(1) > 8 {
			return unix.EIO
		}
		return nil
	})
	a := w.start(quick)
	ctx, cancel := context.WithCancel(t.Context())
	var waking sync.WaitGroup
	waking.Go(func() {
		for ctx.Err() == nil {
			for _, s := range a.c.all() {
				s.wake()
			}
			runtime.Gosched()
		}
	})
	a.until("it was tried often", func() bool { return testutil.ToFloat64(a.c.metrics.errors) > 300 })
	cancel()
	waking.Wait()
	ffs.heal()
	a.want("a.log", append(strings.Fields(noise.String()), "3")...)
	a.stop()
	require.Empty(t, a.c.unpack)
}
