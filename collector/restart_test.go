package collector

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

func TestARestartGoesOnExactlyAtTheCommittedOffset(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		all := 0
		for run := range 5 {
			text, want := lines("x", run*1000, (run+1)*1000)
			w.write("a.log", text+"partial ")
			if run > 0 {
				want[0] = "partial " + want[0]
			}
			a := w.start(acking(ackMode(run % 2)))
			a.want("a.log", want...)
			all += a.count()
			a.stop()
		}
		require.Equal(t, 5000, all)
	})
}

func TestUnacknowledgedBatchesAreReadAgainAfterARestart(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n2\n")
		a := w.start()
		a.want("a.log", "1", "2")
		a.stop()
		w.write("a.log", "3\n4\n")
		a = w.start(acking(ackNever))
		a.want("a.log", "3", "4")
		w.write("a.log", "5\n")
		a.want("a.log", "3", "4", "5")
		a.stop()
		a = w.start()
		a.want("a.log", "3", "4", "5")
	})
}

func TestAFileThatWasRotatedWhileDownIsReadToItsEndFirst(t *testing.T) {
	for _, c := range []struct {
		name   string
		rotate func(t *testing.T, w *world) []string
	}{
		{"once, to the usual name", func(_ *testing.T, w *world) []string {
			w.rotateCreate("a.log", "a.log.1")
			w.write("a.log", "new\n")
			return []string{"new"}
		}},
		{"once, to an unusual name", func(_ *testing.T, w *world) []string {
			w.rotateCreate("a.log", "backup")
			w.write("a.log", "new\n")
			return []string{"new"}
		}},
		{"three times, into a directory below", func(t *testing.T, w *world) []string {
			require.NoError(t, os.Mkdir(w.path("old"), 0o700))
			var want []string
			for g := range 3 {
				w.rename("a.log", fmt.Sprintf("old/a.log.%d", g))
				tickOver(t, w)
				line := fmt.Sprintf("generation %d", g)
				w.write("a.log", line+"\n")
				want = append(want, line)
			}
			return want
		}},
		{"once, without a new file", func(_ *testing.T, w *world) []string {
			w.rename("a.log", "a.log.1")
			return nil
		}},
		{"three times", func(t *testing.T, w *world) []string {
			var want []string
			for g := range 3 {
				for i := g; i > 0; i-- {
					w.rename(fmt.Sprintf("a.log.%d", i), fmt.Sprintf("a.log.%d", i+1))
				}
				w.rename("a.log", "a.log.1")
				tickOver(t, w)
				line := fmt.Sprintf("generation %d", g)
				w.write("a.log", line+"\n")
				want = append(want, line)
			}
			return want
		}},
		{"twice, by date before the extension", func(t *testing.T, w *world) []string {
			w.rename("a.log", "a-20250101.txt")
			w.rename("a-20250101.txt", "a-20250101.log.old")
			tickOver(t, w)
			w.write("a.log", "second\n")
			w.rename("a.log", "a.log-20250102")
			tickOver(t, w)
			w.write("a.log", "third\n")
			return []string{"second", "third"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.write("a.log", "1\n")
				a := w.start()
				a.want("a.log", "1")
				a.stop()
				w.write("a.log", "unread\n")
				w.write("unrelated", "no\n")
				want := append([]string{"unread"}, c.rotate(t, w)...)
				a = w.start()
				a.want("a.log", want...)
				a.settled()
				a.stop()

				a = w.start()
				w.write("b.log", "mark\n")
				a.want("b.log", "mark")
				a.settled()
				require.Equal(t, 1, a.count(), "nothing is read twice")
			})
		})
	}
}

func TestARotatedFileThatWasReadToItsEndIsNotReadAgain(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", "2\n")
		a.want("a.log", "1", "2")
		a.until("the old file is let go", func() bool { return len(a.c.Files()) == 1 })
		a.stop()
		w.rotateCreate("a.log", "a.log.2")
		w.write("a.log", "3\n")
		a = w.start()
		a.want("a.log", "3")
		a.settled()
		require.Equal(t, 1, a.count())
	})
}

func TestAStopInTheMiddleOfARotationLosesNothing(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start(with(func(c *Config) { c.RotateWait = time.Hour }))
		a.want("a.log", "1")
		w.rotateCreate("a.log", "a.log.1")
		a.until("the rotation is seen", func() bool { return a.rotations("rename") == 1 })
		a.stop()
		w.write("a.log.1", "late\n")
		w.write("a.log", "2\n")
		a = w.start()
		a.want("a.log", "late", "2")
	})
}

// ext4 gives the inode of a deleted file to the next one.
func TestANewFileUnderTheSameNameIsReadFromItsBeginningWhateverItsInode(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		for i := range 5 {
			w.write("a.log", "a first line of some length\nand another\n")
			a := w.start()
			a.until("two lines", func() bool { return a.count() >= 2 })
			a.stop()
			w.remove("a.log")
			tickOver(t, w)
			w.write("a.log", fmt.Sprintf("another file, which is longer than the one before %d\nyes\n", i))
			a = w.start()
			a.want("a.log", fmt.Sprintf("another file, which is longer than the one before %d", i), "yes")
			a.stop()
			w.remove("a.log")
		}
	})
}

func TestAClosedFileThatIsReplacedIsReadFromItsBeginning(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.CloseInactive = 20 * time.Millisecond
		w.write("a.log", "one\n")
		a := w.start()
		want := []string{"one"}
		for i := range 5 {
			a.want("a.log", want...)
			a.until("it is closed", func() bool { return a.states()[w.path("a.log")] == FileClosed })
			w.remove("a.log")
			line := fmt.Sprintf("%d%0*d", i, i, 0) // as long, and then longer
			w.write("a.log", line+"\n")
			want = append(want, line)
		}
		a.want("a.log", want...)
	})
}

func TestAFileThatWasTruncatedWhileDownIsReadFromItsBeginning(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a first line of some length\nand another\n")
		a := w.start()
		a.until("two lines", func() bool { return a.count() == 2 })
		a.stop()
		require.NoError(t, os.Truncate(w.path("a.log"), 0))
		w.write("a.log", "this one has grown longer than what stood here before it was truncated\n")
		a = w.start()
		a.want("a.log", "this one has grown longer than what stood here before it was truncated")
	})
}

func TestAFileThatMovedToAnotherPathOfTheTaskGoesOn(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		a.settled()
		w.rename("a.log", "b.log")
		w.write("b.log", "2\n")
		a.until("the second line", func() bool { return a.count() >= 2 })
		a.until("it is read under its new name", func() bool { return a.states()[w.path("b.log")] == FileQuiet })
		w.write("b.log", "3\n")
		a.until("the third line", func() bool { return a.count() >= 3 })
		a.settled()
		a.stop()
		w.rename("b.log", "c.log")
		w.write("c.log", "4\n")
		a = w.start()
		a.until("the fourth line", func() bool { return a.count() >= 1 })
		a.settled()
		require.Equal(t, []string{"4"}, a.all)
	})
}

func TestFilesThatAreGoneForLongAreForgotten(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "1\n")
		a := w.start()
		a.want("a.log", "1")
		a.settled()
		long := time.Now().Add(-2 * forgetAfter)
		gone, done := checkpoint.FileID{Ino: 1 << 50}, checkpoint.FileID{Ino: 1<<50 + 1}
		young := checkpoint.FileID{Ino: 1<<50 + 2}
		a.store.Mark("web", gone, stored{Path: w.path("gone.log"), Updated: long})
		a.store.Mark("web", done, stored{Path: w.path("a.log"), Updated: long, Done: true})
		a.store.Mark("web", young, stored{Path: w.path("gone.log"), Updated: time.Now()})
		a.c.prune()
		for id := range a.c.old {
			a.c.old[id] = time.Now().Add(-2 * oldFor)
		}
		a.c.prune()
		left, err := a.store.Load("web")
		require.NoError(t, err)
		require.Len(t, left, 2)
		require.Contains(t, left, young)
	})
}

type stored checkpoint.State

func (s stored) Checkpoint() checkpoint.State { return checkpoint.State(s) }

// The path was gone and delivered when the agent stopped. It came, was rotated
// away, and is gone again when the agent starts.
func TestAPathThatCameAndWentWhileTheAgentWasStoppedIsRead(t *testing.T) {
	for _, suffix := range []string{"", ".gz"} {
		t.Run(suffix, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, w *world) {
				w.cfg.RotateWait = 5 * time.Millisecond
				w.write("a.log", "1\n")
				a := w.start()
				a.want("a.log", "1")
				w.rename("a.log", "a.log.1")
				a.until("the path is forgotten", func() bool { return len(a.c.Files()) == 0 })
				a.stop()
				tickOver(t, w)
				w.rename("a.log.1", "a.log.2")
				w.write("a.log", "2\n")
				w.rename("a.log", "a.log.1")
				if suffix != "" {
					w.compress("a.log.2", suffix)
					w.compress("a.log.1", suffix)
				}
				a = w.start()
				a.want("a.log", "2")
				a.until("the path is forgotten", func() bool { return len(a.c.Files()) == 0 })
				a.stop()
				nothingNew(t, w)
			})
		})
	}
}

// reusedFS gives a file the identity that another one had before it.
type reusedFS struct {
	*faultFS
	w *world

	mu  sync.Mutex
	now map[checkpoint.FileID]checkpoint.FileID
}

func newReusedFS(w *world) *reusedFS {
	return &reusedFS{faultFS: newFaultFS(nil), w: w, now: map[checkpoint.FileID]checkpoint.FileID{}}
}

// use gives one file the inode, and takes it from the one that had it.
func (f *reusedFS) use(name string) {
	info, err := tail.Look(f.w.path(name))
	require.NoError(f.w.t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.now)
	f.now[info.ID] = checkpoint.FileID{Dev: 1, Ino: 7}
}

func (f *reusedFS) Look(path string) (tail.Info, error) { return f.reused(f.faultFS.Look(path)) }
func (f *reusedFS) Inspect(fd int) (tail.Info, error)   { return f.reused(f.faultFS.Inspect(fd)) }

func (f *reusedFS) reused(info tail.Info, err error) (tail.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id, ok := f.now[info.ID]; ok {
		info.ID = id
	}
	return info, err
}

func TestAnInodeThatAnotherPathUsesAgainHidesNothingThatIsUnread(t *testing.T) {
	for _, what := range []string{"a file", "an archive"} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, true)
			require.NoError(t, os.Mkdir(w.path("b"), 0o700))
			w.cfg.Paths = append(w.cfg.Paths, w.path("b/*.log"))
			fs := newReusedFS(w)
			w.fs = fs
			w.write("a.log", "1\n")
			w.write("b/b.log", "other 1\n")
			fs.use("a.log")
			a := w.start(quick)
			a.want("a.log", "1")
			a.want("b/b.log", "other 1")
			a.settled()
			a.stop()

			w.write("a.log", "2\n")
			w.write("b/b.log", "other 2\n")
			tickOver(t, w)
			w.rename("b/b.log", "b/b.log.1")
			w.write("b/b.log", "other 3\n")
			fs.use("b/b.log")
			if what == "an archive" {
				w.compress("b/b.log.1", ".gz")
				fs.use("b/b.log.1.gz")
			}
			w.rename("a.log", "a.log.1")
			w.compress("a.log.1", ".gz")
			w.write("a.log", "3\n")
			fs.set(failing("readdir", w.dir+"/", unix.EIO)) // nobody finds what is missing of a.log
			a = w.start(quick)
			a.want("b/b.log", "other 2", "other 3")
			a.settled()
			a.stop()
			fs.heal()
			a = w.start(quick)
			a.want("a.log", "2", "3")
			a.settled()
			a.stop()
			nothingNew(t, w, quick)
		})
	}
}

func TestAFileThatIsRotatedWhileItIsOpenedIsNotTakenForTheNextOneOnItsInode(t *testing.T) {
	w := newWorld(t, true)
	fs := newReusedFS(w)
	w.fs = fs
	w.hasRead(quick)
	tickOver(t, w)
	w.rotateCreate("a.log", "a.log.1")
	w.write("a.log", "2\n")
	fs.use("a.log")
	fs.set(func(op operation) error {
		if op.name == "open" && op.path == w.path("a.log") {
			fs.heal()
			tickOver(t, w)
			w.rename("a.log.1", "a.log.2")
			w.rotateCreate("a.log", "a.log.1")
			w.write("a.log", "3\n")
			fs.use("a.log")
		}
		return nil
	})
	a := w.start(quick)
	a.want("a.log", "2", "3")
	a.settled()
	a.stop()
	nothingNew(t, w, quick)
}
