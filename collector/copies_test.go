package collector

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heldUp starts an agent whose reader stops in the middle of a.log, which holds
// 20,000 lines; opening the gate lets it go on.
func heldUp(t *testing.T, w *world, opts ...option) (a *agent, gate chan struct{}, want []string) {
	t.Helper()
	gate = make(chan struct{})
	text, want := lines("x", 0, 20000)
	w.write("a.log", text)
	w.bytes = 64 << 10
	a = w.start(append(opts, gated(gate))...)
	a.until("the reader is held up", func() bool { _, waits, _ := a.budget.now(); return waits > 0 })
	return a, gate, want
}

// nothingNew starts an agent once more and demands that it reads a fresh
// line alone.
func nothingNew(t *testing.T, w *world, opts ...option) {
	t.Helper()
	a := w.start(opts...)
	w.write("a.log", "mark\n")
	a.want("a.log", "mark")
	a.settled()
	require.Equal(t, 1, a.count(), "nothing is read twice: %q", a.all[:min(len(a.all), 5)])
	a.stop()
}

func TestWhatWasUnreadOfATruncatedFileIsTakenFromItsCopy(t *testing.T) {
	for _, glob := range []string{"*.log", "a.log*"} {
		t.Run(glob, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.Paths = []string{w.path(glob)}
				a, gate, want := heldUp(t, w)
				w.rotateCopyTruncate("a.log", "a.log.1")
				w.write("a.log", "new\n")
				close(gate)
				a.want("a.log", append(want, "new")...)
				a.until("the copy is let go", func() bool {
					for _, f := range a.c.Files() {
						if f.State == FileRotated {
							return false
						}
					}
					return true
				})
				a.settled()
				require.Equal(t, 20001, a.count())
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestEachOfSeveralTruncationsBetweenTwoLooksLeavesACopyThatIsRead(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		a, gate, want := heldUp(t, w)
		w.rotateCopyTruncate("a.log", "a.log.1")
		for g := range 3 {
			text, more := lines(fmt.Sprintf("g%d", g), 0, 50)
			w.write("a.log", text)
			for i := g + 1; i > 0; i-- {
				w.rename(fmt.Sprintf("a.log.%d", i), fmt.Sprintf("a.log.%d", i+1))
			}
			tickOver(t, w)
			w.rotateCopyTruncate("a.log", "a.log.1")
			want = append(want, more...)
		}
		w.write("a.log", "new\n")
		close(gate)
		a.want("a.log", append(want, "new")...)
		a.settled()
		a.stop()
		nothingNew(t, w)
	})
}

func TestATruncationWhileDownLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		times int
		grown bool // beyond what it was
		glob  string
	}{
		{"once", 1, false, "*.log"},
		{"once, and grown again", 1, true, "*.log"},
		{"three times", 3, false, "*.log"},
		{"three times, the copies match", 3, true, "a.log*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.Paths = []string{w.path(c.glob)}
				w.write("a.log", "a first line\n")
				a := w.start()
				a.want("a.log", "a first line")
				a.settled()
				a.stop()
				var want []string
				for g := range c.times {
					line := fmt.Sprintf("generation %d", g)
					w.write("a.log", line+"\n")
					want = append(want, line)
					for i := g; i > 0; i-- {
						w.rename(fmt.Sprintf("a.log.%d", i), fmt.Sprintf("a.log.%d", i+1))
					}
					tickOver(t, w)
					w.rotateCopyTruncate("a.log", "a.log.1")
				}
				line := "new"
				if c.grown {
					line += " and longer than what stood here before"
				}
				w.write("a.log", line+"\n")
				a = w.start()
				a.want("a.log", append(want, line)...)
				a.settled()
				require.Equal(t, len(want)+1, a.count())
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

// What was read before the truncation and not acknowledged is read again
// from the copy.
func TestUnacknowledgedLinesOfATruncatedFileAreProvenByItsCopy(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n2\n")
		a := w.start(acking(ackNever))
		a.want("a.log", "1", "2")
		w.rotateCopyTruncate("a.log", "a.log.1")
		w.write("a.log", "3\n")
		a.want("a.log", "1", "2", "3")
		require.NoError(t, a.store.Sync())
		states, err := a.store.Load("web") // as a kill would leave it
		require.NoError(t, err)
		a.stop()
		require.Len(t, states, 2)
		for _, st := range states {
			require.Zero(t, st.Offset)
		}
		a = w.start()
		a.want("a.log", "1", "2", "3")
	})
}

// A line is written between the copy and the truncation, and read.
func TestACopyThatEndsBeforeWhatWasReadAddsNothing(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		text, want := lines("x", 0, 200)
		w.write("a.log", text)
		a := w.start()
		a.want("a.log", want...)
		data, err := os.ReadFile(w.path("a.log"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(w.path("a.log.1"), data, 0o600))
		w.write("a.log", "between\n")
		want = append(want, "between")
		a.want("a.log", want...)
		require.NoError(t, os.Truncate(w.path("a.log"), 0))
		w.write("a.log", "new\n")
		a.want("a.log", append(want, "new")...)
		a.settled()
		a.stop()
		nothingNew(t, w)
	})
}

func TestACopyThatNoTruncationFollowsIsAFileLikeAnyOther(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.Paths = []string{w.path("a.log*")}
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		w.write("a.log.1", "1\n")
		a.want("a.log.1", "1")
		w.write("a.log.1", "2\n")
		a.want("a.log.1", "1", "2")
	})
}

func TestGenerationsThatBeginWithTheSameBytesAreAllRead(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		banner := fmt.Sprintf("%01023d", 0)
		w.write("a.log", banner+"\n1\n")
		a := w.start()
		a.want("a.log", banner, "1")
		a.stop()
		var want []string
		for g := range 3 {
			tickOver(t, w)
			w.rename("a.log", fmt.Sprintf("a.log.%d", g))
			w.write("a.log", fmt.Sprintf("%s\ngeneration %d\n", banner, g))
			want = append(want, banner, fmt.Sprintf("generation %d", g))
		}
		a = w.start()
		a.want("a.log", want...)
	})
}

// A file that was cut before anything of it was read.
func TestAFileThatIsTruncatedBeforeItsFirstReadIsReadFromItsCopy(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		gate := make(chan struct{})
		text, _ := lines("x", 0, 20000)
		w.write("a.log", text)
		w.bytes = 64 << 10
		w.cfg.RotateWait = 10 * time.Millisecond
		w.write("b.log", "b 1\nb 2\n")
		a := w.start(gated(gate))
		a.until("both are open", func() bool {
			files := a.c.Files()
			return len(files) == 2 && files[0].File != "" && files[1].File != ""
		})
		w.rotateCopyTruncate("b.log", "b.log.1")
		w.write("b.log", "b 3\n")
		close(gate)
		a.want("b.log", "b 1", "b 2", "b 3")
	})
}

// The copies of what nobody has read a byte of are found by their age.
func TestWhatIsWrittenAndCutAwayUnseenIsReadFromItsCopies(t *testing.T) {
	for _, glob := range []string{"*.log", "a.log*"} {
		t.Run(glob, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.Paths = []string{w.path(glob)}
				w.write("a.log", "")
				a := w.start()
				a.until("it is known", func() bool { return a.states()[w.path("a.log")] == FileQuiet })
				a.stop()
				var want []string
				for g := range 3 {
					line := fmt.Sprintf("generation %d", g)
					w.write("a.log", line+"\n")
					want = append(want, line)
					tickOver(t, w)
					w.rotateCopyTruncate("a.log", fmt.Sprintf("a.log.%d", g))
				}
				w.write("a.log", "new\n")
				a = w.start()
				a.want("a.log", append(want, "new")...)
				a.settled()
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestATruncationThatFollowsAnotherBeforeTheNextReadIsNoticed(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		a, gate, want := heldUp(t, w)
		for g := range 3 {
			tickOver(t, w)
			w.rotateCopyTruncate("a.log", fmt.Sprintf("a.log.%d", g))
			text, more := lines(fmt.Sprintf("g%d", g), 0, 20000)
			w.write("a.log", text)
			want = append(want, more...)
			if g == 1 {
				close(gate)
			}
		}
		a.want("a.log", want...)
	})
}

// What stands in archives is then what was read of the file itself, or of the next ones.
func TestAFileThatIsTruncatedAndRotatedAtOnceLeavesNoCopiesToLookFor(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		text, want := lines("x", 0, 100)
		w.write("a.log", text)
		a := w.start()
		a.want("a.log", want...)
		a.settled()
		for n := range 3 {
			a.c.mu.Lock() // nothing is looked at in between
			if n == 0 {
				require.NoError(t, os.Truncate(w.path("a.log"), 0))
			}
			text, more := lines("y", n*1000, n*1000+100)
			want = append(want, more...)
			w.write("a.log", text)
			tickOver(t, w)
			w.shift("a.log", n)
			w.rotateCreate("a.log", "a.log.1")
			w.compress("a.log.1", ".gz")
			a.c.mu.Unlock()
			text, more = lines("z", n*1000, n*1000+100)
			want = append(want, more...)
			w.write("a.log", text)
			a.want("a.log", want...)
			a.settled()
		}
		require.Equal(t, len(want), a.count())
		a.stop()
		nothingNew(t, w)
	})
}
