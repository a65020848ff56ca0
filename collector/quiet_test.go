package collector

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnInactiveFileIsClosedAndLaterWritesStillArrive(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.CloseInactive = 20 * time.Millisecond
		w.write("a.log", "1\n")
		a := w.start()
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprint(i+1))
			a.want("a.log", want...)
			a.until("it is closed", func() bool { return a.states()[w.path("a.log")] == FileClosed })
			require.Zero(t, openFiles(t, w.path("a.log")))
			w.write("a.log", fmt.Sprint(i+2)+"\n")
		}
	})
}

func TestAClosedFileThatRotatesLosesNothing(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.CloseInactive = 20 * time.Millisecond
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		a.until("it is closed", func() bool { return a.states()[w.path("a.log")] == FileClosed })
		w.write("a.log", "2\n")
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", "3\n")
		a.want("a.log", "1", "2", "3")
		a.settled()
		require.Equal(t, 3, a.count())
	})
}

func TestAnInactiveFileStaysOpenWhileItIsNotDelivered(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.CloseInactive = 20 * time.Millisecond
		w.write("a.log", "1\n")
		a := w.start(acking(ackNever))
		a.want("a.log", "1")
		w.remove("a.log")
		w.write("b.log", "2\n")
		a.want("b.log", "2")
		a.until("b is seen twice", func() bool { return a.quiet() })
		require.NotZero(t, openFiles(t, w.path("b.log")))
		a.release()
		a.until("b is closed", func() bool { return a.states()[w.path("b.log")] == FileClosed })
	})
}

func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range list {
		if p, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && p == path {
			n++
		}
	}
	return n
}

func TestTwoThousandFilesAreCollectedAndHoldNoGoroutineWhenQuiet(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		const files = 2000
		w.cfg.PollInterval = 50 * time.Millisecond
		for i := range files {
			w.write(fmt.Sprintf("%04d.log", i), "1\n")
		}
		before := runtime.NumGoroutine()
		a := w.start(acking(ackShuffled))
		a.until("every first line", func() bool { return a.count() == files })
		for i := range files {
			w.write(fmt.Sprintf("%04d.log", i), "2\n")
		}
		a.until("every second line", func() bool { return a.count() >= 2*files })
		a.release()
		a.settled()
		require.Equal(t, 2*files, a.count())
		require.LessOrEqual(t, runtime.NumGoroutine(), before+20)
		require.Len(t, a.c.Files(), files)
	})
}

func TestMoreBusyFilesThanTurnsTakeThem(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		a := w.start(tweaked(func(c *Collector) { c.turns = newTurns(2) }))
		var rests []func()
		for i := range 3 {
			rests = append(rests, w.keepWriting(fmt.Sprintf("busy%d.log", i)))
		}
		a.until("all busy files are read", func() bool {
			return min(len(a.lines(w.path("busy0.log"))), len(a.lines(w.path("busy1.log"))), len(a.lines(w.path("busy2.log")))) > 0
		})
		w.write("small.log", "small\n")
		a.want("small.log", "small")
		for _, rest := range rests {
			rest()
		}
	})
}

func TestATaskStopsPromptlyWhileNothingIsDelivered(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		text, _ := lines("x", 0, 50000)
		for i := range 20 {
			w.write(fmt.Sprintf("%d.log", i), text)
		}
		w.bytes = 64 << 10
		a := w.start(acking(ackNever))
		a.until("the readers are held up", func() bool { _, waits, _ := a.budget.now(); return waits > 0 })
		began := time.Now()
		a.cancel()
		require.NoError(t, <-a.ended)
		require.Less(t, time.Since(began), patience)
		a.ended <- nil
	})
}

func TestMemoryStaysWithinATinyBudget(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		text, _ := lines("x", 0, 20000)
		for i := range 5 {
			w.write(fmt.Sprintf("%d.log", i), text)
		}
		w.bytes = 1
		a := w.start(acking(ackShuffled))
		a.release()
		a.until("everything", func() bool { return a.count() == 100000 })
		a.settled()
		a.until("the budget is given back", func() bool { held, _, _ := a.budget.now(); return held == 0 })
		_, _, peak := a.budget.now()
		require.Less(t, peak, 1<<20, "one block and its records at a time")
	})
}

func TestALineOfFiveMiBPassesABoundOfOneKiB(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.MaxLineBytes = 1 << 10
		a := w.start()
		w.write("a.log", "before\n")
		a.want("a.log", "before")
		long := strings.Repeat("y", 5<<20)
		w.write("a.log", long)
		w.write("a.log", "\nafter\n")
		a.want("a.log", "before", long[:1<<10], "after")
		_, _, peak := a.budget.now()
		require.Less(t, peak, 2<<20)
	})
}

func TestFilesThatWaitForTheirTurnHaveNoGoroutine(t *testing.T) {
	w := newWorld(t, true)
	const files = 500
	for i := range files {
		w.write(fmt.Sprintf("%04d.log", i), "1\n")
	}
	before := runtime.NumGoroutine()
	a := w.start(tweaked(func(c *Collector) { c.turns = newTurns(0) }))
	a.until("all are found", func() bool { return len(a.c.Files()) == files })
	require.LessOrEqual(t, runtime.NumGoroutine(), before+10)
	a.c.turns.end()
	a.until("every line", func() bool { return a.count() == files })
	a.stop()
}
