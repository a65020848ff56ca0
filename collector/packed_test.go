package collector

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// packed compresses bytes as the suffix says.
func packed(t testing.TB, suffix string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var z io.WriteCloser = gzip.NewWriter(&out)
	if suffix == ".zst" {
		var err error
		z, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		require.NoError(t, err)
	}
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return out.Bytes()
}

// compress does what gzip and logrotate do: NAME.gz is written beside NAME,
// gets its times, and NAME is removed.
func (w *world) compress(name, suffix string) {
	w.t.Helper()
	w.compressKeeping(name, suffix)
	w.remove(name)
}

func (w *world) compressKeeping(name, suffix string) {
	w.t.Helper()
	data, err := os.ReadFile(w.path(name))
	require.NoError(w.t, err)
	info, err := os.Stat(w.path(name))
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(w.path(name+suffix), packed(w.t, suffix, data), 0o600))
	require.NoError(w.t, os.Chtimes(w.path(name+suffix), info.ModTime(), info.ModTime()))
}

// shift renames a.log.N to a.log.N+1 for all N from last down, compressed or not.
func (w *world) shift(base string, last int) {
	w.t.Helper()
	for i := last; i > 0; i-- {
		for _, suffix := range []string{"", ".gz", ".zst"} {
			from := fmt.Sprintf("%s.%d%s", base, i, suffix)
			if _, err := os.Stat(w.path(from)); err == nil {
				w.rename(from, fmt.Sprintf("%s.%d%s", base, i+1, suffix))
			}
		}
	}
}

// packedRotation is one way in which generations come to be compressed.
type packedRotation struct {
	suffix string
	dated  bool
	delay  bool   // compressed at the next rotation
	late   bool   // written to after the rename
	glob   string // "*.log" if empty
	forget bool   // the compressor does not keep the time of the last change
}

func (r packedRotation) String() string {
	return strings.Trim(fmt.Sprintf("%s dated=%v delay=%v late=%v forget=%v %s", r.suffix, r.dated, r.delay, r.late, r.forget, r.glob), ". ")
}

// rotate makes generation n of a.log, and returns the lines that were
// written late.
func (r packedRotation) rotate(w *world, n int) (late string) {
	w.t.Helper()
	tickOver(w.t, w)
	to := "a.log.1"
	compressed := to
	if r.dated {
		to, compressed = fmt.Sprintf("a.log-202601%02d", n+1), fmt.Sprintf("a.log-202601%02d", n)
	} else if r.delay {
		compressed = "a.log.2"
	}
	if !r.dated {
		w.shift("a.log", n)
	}
	w.rotateCreate("a.log", to)
	if r.late {
		tickOver(w.t, w)
		late = fmt.Sprintf("late line of generation %d", n)
		w.write(to, late+"\n")
	}
	if !r.delay {
		compressed = to
	}
	if _, err := os.Stat(w.path(compressed)); err == nil {
		w.compress(compressed, r.suffix)
		if r.forget {
			tickOver(w.t, w)
			now := time.Now()
			require.NoError(w.t, os.Chtimes(w.path(compressed+r.suffix), now, now))
		}
	}
	return late
}

func TestGenerationsThatWereCompressedWhileDownAreReadInTheirPlace(t *testing.T) {
	for _, r := range []packedRotation{
		{suffix: ".gz"}, {suffix: ".zst"}, {suffix: ".gz", dated: true}, {suffix: ".gz", glob: "a.log*"}, {suffix: ".zst", dated: true, glob: "*"},
		{suffix: ".gz", delay: true}, {suffix: ".gz", delay: true, late: true}, {suffix: ".gz", delay: true, late: true, dated: true},
		{suffix: ".gz", late: true}, {suffix: ".gz", forget: true}, {suffix: ".gz", forget: true, delay: true, late: true},
	} {
		t.Run(r.String(), func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				if r.glob != "" {
					w.cfg.Paths = []string{w.path(r.glob)}
				}
				text, want := lines("first", 0, 3000)
				w.write("a.log", text)
				a := w.start()
				a.want("a.log", want...)
				a.settled()
				a.stop()
				want = nil
				n := 0
				for range 2 {
					for range 4 {
						text, more := lines(fmt.Sprint("generation ", n), 0, 50)
						w.write("a.log", text)
						want = append(want, more...)
						if late := r.rotate(w, n); late != "" {
							want = append(want, late)
						}
						n++
					}
					w.write("a.log", fmt.Sprint("new ", n, "\n"))
					want = append(want, fmt.Sprint("new ", n))
					a = w.start()
					a.want("a.log", want...)
					a.settled()
					require.Equal(t, len(want), a.count(), "nothing is read as a file of its own: %q", a.all)
					a.stop()
					nothingNew(t, w)
					want = nil
				}
			})
		})
	}
}

func TestAGenerationThatIsCompressedUnderTheAgentIsReadOnce(t *testing.T) {
	for _, r := range []packedRotation{{suffix: ".gz"}, {suffix: ".gz", late: true}, {suffix: ".gz", glob: "a.log*"}, {suffix: ".zst", delay: true, late: true}, {suffix: ".gz", forget: true}} {
		t.Run(r.String(), func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				if r.glob != "" {
					w.cfg.Paths = []string{w.path(r.glob)}
				}
				if r.late {
					w.cfg.RotateWait = 2 * time.Second // a late line is one within it
				}
				a := w.start()
				var want []string
				for n := range 5 {
					text, more := lines(fmt.Sprint("generation ", n), 0, 50)
					w.write("a.log", text)
					want = append(want, more...)
					a.until("its first lines are there", func() bool { return a.count() >= len(want) })
					if late := r.rotate(w, n); late != "" {
						want = append(want, late)
					}
					a.until("its last lines are there", func() bool { return a.count() >= len(want) })
				}
				a.settled()
				require.ElementsMatch(t, want, a.all)
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestAFileThatWasReleasedAndCompressedIsReadOn(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.CloseInactive = time.Millisecond
		w.write("a.log", "one\n")
		a := w.start()
		a.until("it is closed", func() bool { return a.states()[w.path("a.log")] == FileClosed })
		a.until("and parked", a.quiet)
		a.c.mu.Lock() // hold the collector's answer to directory events back
		w.write("a.log", "two\n")
		w.rename("a.log", "a.log.1")
		w.compress("a.log.1", ".gz")
		w.write("a.log", "three\n")
		a.c.mu.Unlock()
		a.want("a.log", "one", "two", "three")
		a.settled()
		a.stop()
		nothingNew(t, w)
	})
}

func TestAnUnfinishedArchiveIsLeftToItsTwin(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "one\n")
		a := w.start()
		a.want("a.log", "one")
		a.settled()
		a.stop()
		w.write("a.log", "two\n")
		tickOver(t, w)
		w.rotateCreate("a.log", "a.log.1")
		data := packed(t, ".gz", []byte("one\ntwo\n"))
		require.NoError(t, os.WriteFile(w.path("a.log.1.gz"), data[:len(data)/2], 0o600))
		w.write("a.log", "three\n")
		a = w.start()
		a.want("a.log", "two", "three")
		a.settled()
		require.NoError(t, os.WriteFile(w.path("a.log.1.gz"), data, 0o600))
		w.remove("a.log.1")
		a.stop()
		nothingNew(t, w)
	})
}

func TestAnArchiveIsResumedWhereItWasDeliveredTo(t *testing.T) {
	for _, suffix := range []string{".gz", ".zst"} {
		t.Run(suffix, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				text, list := lines("x", 0, 60000)
				w.write("a.log", text[:len(list[0])+1])
				a := w.start()
				a.want("a.log", list[0])
				a.settled()
				a.stop()
				w.write("a.log", text[len(list[0])+1:])
				tickOver(t, w)
				w.rotateCreate("a.log", "a.log.1")
				w.compress("a.log.1", suffix)
				w.write("a.log", "new\n")

				gate := make(chan struct{})
				w.bytes = 64 << 10
				a = w.start(gated(gate))
				a.until("the reader is held up", func() bool { _, waits, _ := a.budget.now(); return waits > 0 })
				a.cancel()
				close(gate)
				a.stop()
				got := a.lines(w.path("a.log"))
				require.NotEmpty(t, got)
				require.Less(t, len(got), len(list)-1)
				w.rename("a.log.1"+suffix, "a.log.2"+suffix)

				w.bytes = 4 << 20
				a = w.start()
				a.want("a.log", append(list[1+len(got):], "new")...)
				a.settled()
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestACopyThatWasCompressedHoldsWhatWasUnread(t *testing.T) {
	for _, glob := range []string{"*.log", "a.log*"} {
		t.Run(glob, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.Paths = []string{w.path(glob)}
				w.write("a.log", "a first line\n")
				a := w.start()
				a.want("a.log", "a first line")
				a.settled()
				a.stop()
				for round := range 2 {
					var want []string
					for g := range 3 {
						line := fmt.Sprintf("round %d generation %d", round, g)
						w.write("a.log", line+"\n")
						want = append(want, line)
						w.shift("a.log", 3*round+g)
						tickOver(t, w)
						info, err := os.Stat(w.path("a.log"))
						require.NoError(t, err)
						w.rotateCopyTruncate("a.log", "a.log.1")
						require.NoError(t, os.Chtimes(w.path("a.log.1"), info.ModTime(), info.ModTime()))
						w.compress("a.log.1", ".gz")
					}
					w.write("a.log", "new\n")
					a = w.start()
					a.want("a.log", append(want, "new")...)
					a.settled()
					a.stop()
					nothingNew(t, w)
				}
			})
		})
	}
}

func TestADamagedArchiveYieldsWhatDecodesAndTheNextGenerationFollows(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "first\n")
		a := w.start()
		a.want("a.log", "first")
		a.settled()
		a.stop()
		text, list := lines("x", 0, 30000)
		w.write("a.log", text)
		tickOver(t, w)
		w.rotateCreate("a.log", "a.log.1")
		w.compress("a.log.1", ".gz")
		info, err := os.Stat(w.path("a.log.1.gz"))
		require.NoError(t, err)
		require.NoError(t, os.Truncate(w.path("a.log.1.gz"), info.Size()/2))
		require.NoError(t, os.WriteFile(w.path("a.log.2.gz"), []byte("this is no archive"), 0o600))
		w.write("a.log", "new\n")
		a = w.start()
		a.until("the new file is read", func() bool { got := a.lines(w.path("a.log")); return len(got) > 0 && got[len(got)-1] == "new" })
		got := a.lines(w.path("a.log"))
		n := len(got) - 2
		require.Greater(t, n, len(list)/4)
		require.Equal(t, list[:n], got[:n])
		a.until("the archive is let go", func() bool { return len(a.c.Files()) == 1 }) // its last bytes are no line
		a.settled()
		a.stop()
		nothingNew(t, w)
	})
}

func TestCompressedFilesOfTheirOwnStayWhatTheyWere(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.Paths = []string{w.path("*.log"), w.path("*.gz")}
		require.NoError(t, os.WriteFile(w.path("a.log.1.gz"), packed(t, ".gz", []byte("history\n")), 0o600))
		w.write("dump.gz", "collected as it stands\n")
		w.write("a.log", "one\n")
		a := w.start()
		a.want("a.log", "one")
		a.want("dump.gz", "collected as it stands")
		a.settled()
		require.Equal(t, 2, a.count())
		require.Equal(t, map[string]string{w.path("a.log.1.gz"): whyPacked}, a.c.Refused())
		a.stop()
	})
}

func TestADirectoryThatGenerationsMoveToIsRemembered(t *testing.T) {
	for _, suffix := range []string{"", ".gz"} {
		t.Run("compressed"+suffix, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				away := t.TempDir()
				rel, err := filepath.Rel(w.dir, filepath.Join(away, "a.log"))
				require.NoError(t, err)
				w.write("a.log", "one\n")
				a := w.start()
				a.want("a.log", "one")
				a.settled()
				rotate := func(n int) {
					tickOver(t, w)
					w.shift(rel, n)
					w.rotateCreate("a.log", rel+".1")
					if suffix != "" {
						w.compress(rel+".1", suffix)
					}
				}
				rotate(0)
				w.write("a.log", "two\n")
				a.want("a.log", "one", "two")
				a.settled()
				a.stop()
				var want []string
				for n := range 4 {
					line := fmt.Sprint("generation ", n)
					w.write("a.log", line+"\n")
					want = append(want, line)
					rotate(n + 1)
				}
				w.write("a.log", "new\n")
				a = w.start()
				a.want("a.log", append(want, "new")...)
				a.settled()
				a.stop()
				nothingNew(t, w)
				w.rename("a.log", rel+".last") // the stored state was taken over by the new file
				w.write("a.log", "newest\n")
				a = w.start()
				a.want("a.log", "newest")
				a.settled()
				a.stop()
			})
		})
	}
}

// The file is compressed and deleted while its lines are on their way: the
// archive is not done before they are delivered.
func TestAnArchiveOfAFileThatWasNotDeliveredIsReadAfterARestart(t *testing.T) {
	for _, suffix := range []string{".gz", ".zst"} {
		t.Run(suffix, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.write("a.log", "1\n2\n")
				a := w.start(acking(ackNever))
				a.want("a.log", "1", "2")
				tickOver(t, w)
				a.c.mu.Lock() // hold the collector's answer to directory events back
				w.rename("a.log", "a.log.1")
				w.compress("a.log.1", suffix)
				w.write("a.log", "3\n")
				a.c.mu.Unlock()
				a.want("a.log", "1", "2", "3")
				a.stop()
				a = w.start()
				a.want("a.log", "1", "2", "3")
				a.settled()
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestAnArchiveOfAFileThatIsStillReadIsNotReadBesideIt(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.RotateWait = 30 * time.Millisecond
		w.write("a.log", "1\n2\n")
		a := w.start(acking(ackNever))
		a.want("a.log", "1", "2")
		for i := range 3 { // each rotation searches, and finds the archives of files that are not delivered
			tickOver(t, w)
			w.shift("a.log", i)
			w.rename("a.log", "a.log.1")
			w.compress("a.log.1", ".gz")
			w.write("a.log", fmt.Sprint("new ", i, "\n"))
			a.want("a.log", []string{"1", "2", "new 0", "new 1", "new 2"}[:3+i]...)
		}
		a.release()
		a.settled()
		require.Equal(t, 5, a.count())
		a.stop()
		nothingNew(t, w)
	})
}

// What a compressor deleted is found in its archive at the next start.
func TestADeletedFileThatWasCompressedIsNotCountedAsLost(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", "1\n2\n")
	a := w.start(acking(ackNever))
	a.want("a.log", "1", "2")
	w.rename("a.log", "a.log.1")
	w.compress("a.log.1", ".gz")
	a.until("it is deleted", func() bool { f := a.c.Files(); return len(f) == 1 && f[0].Deleted })
	a.stop()
	require.Zero(t, a.c.Abandoned())
	a = w.start()
	a.want("a.log", "1", "2")
}

// The original is seen under its name, and gone when its archive is looked at.
func TestAGenerationThatIsCompressedWhileItsDirectoryIsSearchedIsReadOnce(t *testing.T) {
	for _, dir := range []string{"", "old/"} {
		t.Run("in "+dir, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.RotateWait = time.Hour
				require.NoError(t, os.Mkdir(w.path("old"), 0o700))
				w.write("a.log", "1\n")
				ffs := newFaultFS(nil)
				w.fs = ffs
				a := w.start()
				a.want("a.log", "1")
				w.rotateCreate("a.log", "old/a.log.1")
				w.write("a.log", "2\n")
				a.want("a.log", "1", "2")
				tickOver(t, w)
				a.c.mu.Lock() // hold the collector's answer to directory events back
				w.rename("old/a.log.1", "old/a.log.2")
				w.rename("a.log", "a.log.1")
				looks := 0
				ffs.set(func(op operation) error {
					switch {
					case op.path == w.path("a.log.1"):
						if looks++; dir == "" && looks == 2 {
							w.remove("a.log.1")
						}
					case op.path == w.path("old")+"/" && op.name == "readdir" && dir != "" && looks == 1:
						looks++
						w.rename("a.log.1", "old/a.log.1")
						w.compress("old/a.log.1", ".gz")
					}
					return nil
				})
				if dir == "" {
					w.compressKeeping("a.log.1", ".gz")
				}
				w.write("a.log", "3\n")
				a.c.mu.Unlock()
				a.want("a.log", "1", "2", "3")
				a.settled()
				ffs.heal()
				require.Equal(t, 2, min(looks, 2), "it came to that")
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

func TestACopyThatIsCompressedWhileItsDirectoryIsSearchedIsReadOnce(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		a.settled()
		a.stop()
		for g := range 2 {
			tickOver(t, w)
			w.shift("a.log", g)
			w.rotateCopyTruncate("a.log", "a.log.1")
			w.write("a.log", fmt.Sprint("new ", g, "\n"))
		}
		w.compressKeeping("a.log.1", ".gz")
		looks := 0
		w.fs = newFaultFS(func(op operation) error {
			if op.path == w.path("a.log.1") && op.name == "look" {
				if looks++; looks == 3 { // after it was opened
					w.remove("a.log.1")
				}
			}
			return nil
		})
		a = w.start()
		a.want("a.log", "new 0", "new 1")
		a.settled()
		require.Equal(t, 3, min(looks, 3), "it came to that")
		a.stop()
		nothingNew(t, w)
	})
}

// A path that was collected and gone for a while is known when it returns.
func TestWhatAPathLeftBehindIsNotReadAgainWhenThePathReturns(t *testing.T) {
	for _, suffix := range []string{"", ".gz"} {
		t.Run(suffix, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.RotateWait = 5 * time.Millisecond
				a := w.start(acking(ackNever))
				w.write("a.log", "1\n")
				a.want("a.log", "1")
				w.rename("a.log", "a.log.1")
				if suffix != "" {
					w.compress("a.log.1", suffix)
				}
				a.until("it is delivered late", func() bool { f := a.c.Files(); return len(f) == 1 && f[0].State == FileRotated })
				a.release()
				a.until("the path is forgotten", func() bool { return len(a.c.Files()) == 0 })
				w.write("a.log", "2\n")
				a.want("a.log", "1", "2")
				a.settled()
				require.Equal(t, 2, a.count())
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}
