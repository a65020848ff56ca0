package collector

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"logferry/collector/tail"
)

func TestARenamedFileIsReadToItsEndBeforeTheNewOneBegins(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		gate := make(chan struct{})
		text, want := lines("old", 0, 20000) // more than the channel and its first blocks hold
		w.write("a.log", text)
		w.bytes = 64 << 10
		a := w.start(gated(gate))
		a.until("the reader is held up", func() bool { _, waits, _ := a.budget.now(); return waits > 0 })
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", "new 1\n")
		w.write("a.log.1", "late 1\n")
		close(gate)
		a.want("a.log", append(want, "late 1", "new 1")...)
		a.until("the old file is let go", func() bool { return len(a.c.Files()) == 1 })
		require.Equal(t, 1.0, a.rotations("rename"))
	})
}

func TestLateWritesToARenamedFileAreCollectedUntilItIsQuiet(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start(with(func(c *Config) { c.RotateWait = 3 * time.Second }))
		a.want("a.log", "1")
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", "new\n")
		a.want("a.log", "1", "new")
		w.write("a.log.1", "late\n")
		a.want("a.log", "1", "new", "late")
		a.until("the old file is let go", func() bool { return len(a.c.Files()) == 1 })
	})
}

func TestLateWritesArriveWhileTheNewFileNeverRests(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		before := descriptors(t)
		w.write("a.log", "1\n")
		a := w.start(with(func(c *Config) { c.RotateWait = 3 * time.Second })) // the late line comes within it, however slow the host
		a.want("a.log", "1")
		a.settled()
		old, err := os.OpenFile(w.path("a.log"), os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		w.rotateCreate("a.log", "a.log.1")
		rest := w.keepWriting("a.log")
		a.until("the new file is being read", func() bool { return a.count() > 5 })
		_, err = old.WriteString("late\n")
		require.NoError(t, err)
		require.NoError(t, old.Close())
		a.until("the late line", func() bool {
			for _, l := range a.lines(w.path("a.log")) {
				if l == "late" {
					return true
				}
			}
			return false
		})
		w.remove("a.log.1")
		a.until("the old file is let go", func() bool { return len(a.c.Files()) == 1 })
		rest()
		a.stop()
		require.LessOrEqual(t, descriptors(t), before)
	})
}

func TestANewFileIsReadAlthoughTheOldOneNeverRests(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		rest := w.keepWriting("a.log")
		a.until("it is being read", func() bool { return a.count() > 5 })
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", "new\n")
		a.until("the new line", func() bool {
			for _, l := range a.lines(w.path("a.log")) {
				if l == "new" {
					return true
				}
			}
			return false
		})
		rest()
	})
}

func TestTenFastRenamesWhileTheWriterGoesOnLoseAndDoubleNothing(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "")
		a := w.start(acking(ackShuffled))
		a.until("the file is known", func() bool { return a.states()[w.path("a.log")] == FileQuiet })
		var want []string
		for g := range 10 {
			f, err := os.OpenFile(w.path("a.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			require.NoError(t, err)
			first, list := lines("x", g*2000, g*2000+1900)
			want = append(want, list...)
			_, err = f.WriteString(first)
			require.NoError(t, err)
			w.rename("a.log", fmt.Sprintf("a.log.%d", g))
			last, list := lines("x", g*2000+1900, (g+1)*2000)
			want = append(want, list...)
			_, err = f.WriteString(last)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		w.write("a.log", "end\n")
		a.want("a.log", append(want, "end")...)
	})
}

func TestSeveralRenamesBetweenTwoLooksAreReadInOrder(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		gate := make(chan struct{})
		text, want := lines("first", 0, 20000)
		w.write("a.log", text)
		w.bytes = 64 << 10
		a := w.start(gated(gate))
		a.until("the reader is held up", func() bool { _, waits, _ := a.budget.now(); return waits > 0 })
		for g := range 4 {
			w.rename("a.log", fmt.Sprintf("a.log.2025-01-0%d", g+1))
			line := fmt.Sprintf("generation %d", g)
			tickOver(t, w)
			w.write("a.log", line+"\n")
			want = append(want, line)
		}
		close(gate)
		a.want("a.log", want...)
		require.Equal(t, 3.0, a.rotations("missed"))
	})
}

// tickOver waits until the file system's clock has moved on: files that are
// created within one tick of it cannot be told apart by their age.
func tickOver(t *testing.T, w *world) {
	t.Helper()
	passes(t, w, 0)
}

// passes waits until the clock that stamps files has moved on by more than d.
func passes(t *testing.T, w *world, d time.Duration) {
	t.Helper()
	born := func() int64 {
		w.write("tick", "")
		defer w.remove("tick")
		info, err := tail.Look(w.path("tick"))
		require.NoError(t, err)
		return newGeneration(w.path("tick"), info).born
	}
	first := born()
	require.Eventually(t, func() bool { return born() > first+int64(d) }, patience, time.Millisecond)
}

// A line was written to the oldest file after the next one was made and rotated.
func TestTheOrderOfGenerationsFollowsTheirCreationNotTheirLastChange(t *testing.T) {
	list := []generation{
		{path: "/a.log.2.gz", packed: true, mtime: 20},
		{path: "/a.log.1", born: 30, mtime: 30},
		{path: "/a.log.3.gz", packed: true, known: true, since: 10, mtime: 25},
	}
	sortGenerations("a.log", list, false)
	var order []string
	for _, g := range list {
		order = append(order, g.path)
	}
	require.Equal(t, []string{"/a.log.3.gz", "/a.log.2.gz", "/a.log.1"}, order)
}

func TestADeletedFileIsReadToItsEndAndReleased(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		before := descriptors(t)
		gate := make(chan struct{})
		text, want := lines("x", 0, 20000)
		w.write("a.log", text+"no newline")
		w.bytes = 64 << 10
		a := w.start(gated(gate))
		a.until("the reader is held up", func() bool { _, waits, _ := a.budget.now(); return waits > 0 })
		w.remove("a.log")
		close(gate)
		a.want("a.log", append(want, "no newline")...)
		a.until("the file is forgotten", func() bool { return len(a.c.Files()) == 0 })
		states, err := a.store.Load("web")
		require.NoError(t, err)
		require.Empty(t, states, "a file that does not exist any more leaves no checkpoint")
		a.stop()
		require.LessOrEqual(t, descriptors(t), before)
	})
}

func TestAnUnacknowledgedDeletedFileIsKeptUntilItIsDelivered(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start(acking(ackNever))
		a.want("a.log", "1")
		w.remove("a.log")
		a.until("it is seen", func() bool { return a.states()[w.path("a.log")] == FileRotated })
		a.release()
		a.until("the file is let go", func() bool { return len(a.c.Files()) == 0 })
	})
}

func TestALastLineWithoutItsNewlineIsSentWhenItsFileIsRotatedAway(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\npart")
		a := w.start()
		a.want("a.log", "1")
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", "new\n")
		a.want("a.log", "1", "new", "part")
	})
}

func TestCopyTruncateStartsAgainAtTheBeginning(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		text, want := lines("old", 0, 100)
		w.write("a.log", text)
		a := w.start()
		a.want("a.log", want...)
		a.settled()
		w.rotateCopyTruncate("a.log", "a.log.1")
		w.write("a.log", "new\n")
		a.want("a.log", append(want, "new")...)
		a.settled()
		require.Equal(t, 1.0, testutil.ToFloat64(a.c.metrics.truncations))
		a.stop()

		w.write("a.log", "later\n")
		a = w.start()
		a.want("a.log", "later")
		a.settled()
		require.Equal(t, 1, a.count(), "the copy is not collected")
	})
}

func TestNoCreateLeavesThePathEmptyUntilTheNextFile(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		w.rename("a.log", "a.log.1")
		a.until("the path is forgotten", func() bool { return len(a.c.Files()) == 0 })
		w.write("a.log", "2\n")
		a.want("a.log", "1", "2")
	})
}

func TestAFileThatIsRenamedBackGoesOnWhereItWas(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		w.rename("a.log", "away")
		a.until("the rename is seen", func() bool { return a.states()[w.path("a.log")] != FileQuiet })
		w.rename("away", "a.log")
		w.write("a.log", "2\n")
		a.want("a.log", "1", "2")
		a.until("it is a current file again", func() bool { return a.states()[w.path("a.log")] == FileQuiet })
		w.write("a.log", "3\n")
		a.want("a.log", "1", "2", "3")
	})
}

func TestAGlobThatMatchesTheRotatedNamesCollectsEachLineOnce(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.Paths = []string{w.path("a.log*")}
		a := w.start(acking(ackShuffled))
		total := 0
		for g := range 4 {
			text, list := lines(fmt.Sprintf("g%d", g), 0, 500)
			total += len(list)
			w.write("a.log", text)
			for i := g; i > 0; i-- {
				w.rename(fmt.Sprintf("a.log.%d", i), fmt.Sprintf("a.log.%d", i+1))
			}
			w.rename("a.log", "a.log.1")
		}
		w.write("a.log", "end\n")
		a.until("all lines", func() bool { return a.count() >= total+1 })
		a.release()
		a.until("every file has its own name", func() bool {
			states := a.states()
			return len(states) == 5 && states[w.path("a.log.4")] == FileQuiet
		})
		a.settled()
		w.write("a.log.4", "late\n")
		a.until("the late line", func() bool { return a.count() >= total+2 })
		a.settled()
		require.Equal(t, total+2, a.count())
		a.stop()
		a = w.start()
		w.write("a.log", "again\n")
		a.want("a.log", "again")
		a.settled()
		require.Equal(t, 1, a.count())
	})
}

// The new file of a rotation is not readable for a while: the old one is
// served all the same, and nothing spins.
func TestAnUnreadableNewFileHoldsNothingElseUp(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		asNobody(t, w.state, w.dir, w.path("a.log"))
		a := w.start()
		a.want("a.log", "1")
		a.settled()
		f, err := os.OpenFile(w.path("hidden"), os.O_CREATE|os.O_WRONLY, 0o000)
		require.NoError(t, err)
		defer f.Close()
		w.rename("a.log", "a.log.1")
		w.rename("hidden", "a.log")
		a.until("the new file is tried", func() bool { return testutil.ToFloat64(a.c.metrics.errors) > 0 })
		w.write("a.log.1", "late\n")
		a.want("a.log", "1", "late")
		_, err = f.WriteString("new\n")
		require.NoError(t, err)
		require.Less(t, testutil.ToFloat64(a.c.metrics.errors), 20.0)
		require.NoError(t, os.Chmod(w.path("a.log"), 0o600))
		a.want("a.log", "1", "late", "new")
		a.stop()
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// Lines that are written to the old file and then to the new one, between the
// look at the first and the read of the second.
func TestTheNextFileIsNotReadBeforeTheLateLinesOfTheLast(t *testing.T) {
	w := newWorld(t, true)
	w.cfg.RotateWait, w.cfg.PollInterval = time.Hour, time.Hour
	w.write("a.log", "1\n")
	a := w.start()
	a.want("a.log", "1")
	a.settled()
	w.rotateCreate("a.log", "a.log.1")
	s := a.c.all()[0]
	s.wake()
	a.until("the file was rotated", func() bool { return len(s.files()) == 2 && a.quiet() })
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.queue[0]
	ready, err := s.lateFirst(t.Context(), next)
	require.NoError(t, err)
	require.False(t, ready, "its first line may be there a moment later")
	w.write("a.log.1", "late\n")
	w.write("a.log", "2\n")
	ready, err = s.lateFirst(t.Context(), next)
	require.NoError(t, err)
	require.True(t, ready)
	a.want("a.log", "1", "late")
}

// The path is made and rotated away before anybody could look at it.
func TestAPathThatIsMadeAndRotatedBeforeItsEventIsHandledIsReadFromItsFirstFile(t *testing.T) {
	for _, suffix := range []string{"", ".gz"} {
		for _, before := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s known=%v", suffix, before), func(t *testing.T) {
				inBothModes(t, func(t *testing.T, w *world) {
					w.cfg.RotateWait = 5 * time.Millisecond
					w.write("other.log", "1\n")
					a := w.start()
					a.want("other.log", "1")
					a.settled()
					var want []string
					if before { // it was collected, and is gone
						w.write("a.log", "0\n")
						a.want("a.log", "0")
						w.rename("a.log", "a.log.3")
						a.until("the path is forgotten", func() bool { return len(a.c.Files()) == 1 })
						want = []string{"0"}
					}
					tickOver(t, w)
					a.c.mu.Lock() // hold the collector's answer to directory events back
					for i := range 3 {
						w.write("a.log", fmt.Sprint("new ", i, "\n"))
						want = append(want, fmt.Sprint("new ", i))
						if i == 2 {
							break
						}
						w.rename("a.log", fmt.Sprint("a.log.", 2-i))
						if suffix != "" {
							w.compress(fmt.Sprint("a.log.", 2-i), suffix)
						}
						tickOver(t, w)
					}
					a.c.mu.Unlock()
					a.want("a.log", want...)
					a.settled()
					require.Equal(t, 1+len(want), a.count())
					a.stop()
					nothingNew(t, w)
				})
			})
		}
	}
}
