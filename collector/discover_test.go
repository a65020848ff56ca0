package collector

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/tail"
)

func TestFilesThatExistAndFilesThatAppearLaterAreCollected(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a1\na2\n")
		w.write("other.txt", "no\n")
		a := w.start()
		a.want("a.log", "a1", "a2")
		w.write("b.log", "b1\n")
		a.want("b.log", "b1")
		w.write("a.log", "a3\n")
		a.want("a.log", "a1", "a2", "a3")
		a.want("other.txt")
	})
}

func TestFilesInDirectoriesThatAppearLaterAreCollected(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		for name, glob := range map[string]string{
			"a base that does not exist yet": "x/y/z/*.log",
			"a directory that matches":       "pod*/c/*.log",
			"any depth":                      "deep/**/*.log",
		} {
			t.Run(name, func(t *testing.T) {
				path := strings.NewReplacer("pod*", "pod1", "**/*", "one/two/f", "*", "f").Replace(glob)
				a := w.start(with(func(c *Config) { c.Paths = []string{w.path(glob)} }))
				defer a.stop()
				a.until("the first look", func() bool { a.c.mu.Lock(); defer a.c.mu.Unlock(); return a.c.noted })
				require.NoError(t, os.MkdirAll(filepath.Dir(w.path(path)), 0o700))
				w.write(path, "first\n")
				a.want(path, "first")
				second := filepath.Join(filepath.Dir(path), "second.log")
				w.write(second, "second\n")
				a.want(second, "second")
			})
		}
	})
}

func TestADirectoryThatIsReplacedIsWatchedAgain(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		require.NoError(t, os.Mkdir(w.path("d"), 0o700))
		w.write("d/a.log", "one\n")
		a := w.start(with(func(c *Config) { c.Paths = []string{w.path("d/*.log")} }))
		a.want("d/a.log", "one")
		a.settled()
		w.rename("d", "old")
		require.NoError(t, os.Mkdir(w.path("d"), 0o700))
		w.write("d/b.log", "two\n")
		a.want("d/b.log", "two")
		w.write("d/c.log", "three\n")
		a.want("d/c.log", "three")
	})
}

func TestExcludedFilesAreLeftAlone(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a\n")
		w.write("debug-a.log", "no\n")
		require.NoError(t, os.Mkdir(w.path("skip"), 0o700))
		w.write("skip/b.log", "no\n")
		a := w.start(with(func(c *Config) {
			c.Paths = []string{w.path("**/*.log")}
			c.Exclude = []string{"debug-*", w.path("skip/**")}
		}))
		a.want("a.log", "a")
		w.write("debug-b.log", "no\n")
		w.write("z.log", "z\n")
		a.want("z.log", "z")
		a.settled()
		require.Equal(t, 2, a.count())
	})
}

func TestAFileMatchedByTwoGlobsIsCollectedOnce(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a\n")
		a := w.start(with(func(c *Config) { c.Paths = append(c.Paths, w.path("a*")) }))
		a.want("a.log", "a")
		a.settled()
		require.Len(t, a.c.Files(), 1)
	})
}

func TestStartEndSkipsWhatTheFirstLookFoundAndNothingElse(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		end := with(func(c *Config) { c.StartEnd = true })
		w.write("a.log", "old\nolder\nbegun")
		a := w.start(end)
		a.until("the file is known", func() bool { return a.states()[w.path("a.log")] == FileQuiet })
		w.write("a.log", " and ended\nnew\n")
		a.want("a.log", "begun and ended", "new")
		w.write("b.log", "a new file counts from its beginning\n")
		a.want("b.log", "a new file counts from its beginning")
		a.stop()

		w.write("a.log", "while down\n")
		w.write("c.log", "new while down\n")
		a = w.start(end)
		a.want("a.log", "while down")
		a.want("c.log", "new while down")
		a.settled()
		require.Equal(t, 2, a.count())
	})
}

func TestStartEndHoldsWhenTheRunEndsBeforeAFileWasOpened(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "old\n")
		full := tweaked(func(c *Collector) { c.turns = newTurns(0) })
		end := with(func(c *Config) { c.StartEnd = true })
		a := w.start(end, full)
		a.until("the first look has found it", func() bool { return len(a.c.Files()) == 1 })
		a.stop()
		a = w.start(end)
		a.until("the file is known", func() bool { return a.states()[w.path("a.log")] == FileQuiet })
		w.write("a.log", "new\n")
		a.want("a.log", "new")
	})
}

func TestFilesOlderThanTheLimitStartAtTheirEnd(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("old.log", "old\n")
		w.write("young.log", "young\n")
		past := time.Now().Add(-48 * time.Hour)
		require.NoError(t, os.Chtimes(w.path("old.log"), past, past))
		a := w.start(with(func(c *Config) { c.IgnoreOlder = 24 * time.Hour }))
		a.want("young.log", "young")
		a.until("the old one is known", func() bool {
			return a.states()[w.path("old.log")] == FileQuiet || a.states()[w.path("old.log")] == FileClosed
		})
		w.write("old.log", "awake\n")
		a.want("old.log", "awake")
	})
}

func TestHardLinksAreCollectedOnce(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a\n")
		require.NoError(t, os.Link(w.path("a.log"), w.path("b.log")))
		a := w.start()
		a.until("one of them is read", func() bool { return a.count() == 1 })
		w.write("b.log", "b\n")
		a.until("the second line", func() bool { return a.count() == 2 })
		a.settled()
		require.Equal(t, 2, a.count())
	})
}

func TestASymbolicLinkIsFollowedAlsoWhenItIsSetAnew(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("target1", "one\n")
		w.write("target2", "two\n")
		require.NoError(t, os.Symlink("target1", w.path("a.log")))
		a := w.start()
		a.want("a.log", "one")
		require.NoError(t, os.Symlink("target2", w.path("new")))
		w.rename("new", "a.log")
		a.want("a.log", "one", "two")
		w.write("target2", "more\n")
		a.want("a.log", "one", "two", "more")
	})
}

// Container runtimes rotate the file behind a link whose directory is not the
// one that is watched.
func TestTheFileBehindASymbolicLinkMayRotate(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		require.NoError(t, os.Mkdir(w.path("pods"), 0o700))
		w.write("pods/0", "one\n")
		require.NoError(t, os.Symlink("pods/0", w.path("a.log")))
		a := w.start(with(func(c *Config) { c.RotateWait = time.Hour }))
		a.want("a.log", "one")
		a.settled()
		w.rename("pods/0", "pods/0.1")
		a.until("the rename is seen", func() bool { return a.states()[w.path("a.log")] == FileRotated })
		w.write("pods/0", "two\n")
		a.want("a.log", "one", "two")
	})
}

func TestFilesOutsideOfTheAllowedPathsAreRefusedAndListed(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		secret := filepath.Join(t.TempDir(), "shadow")
		require.NoError(t, os.WriteFile(secret, []byte("secret\n"), 0o600))
		require.NoError(t, os.Symlink(secret, w.path("evil.log")))
		w.write("good.log", "good\n")
		a := w.start(with(func(c *Config) {
			c.Allow = func(_, resolved string) error {
				if !strings.HasPrefix(resolved, w.dir+"/") {
					return errors.New("outside of allow_paths")
				}
				return nil
			}
		}))
		a.want("good.log", "good")
		a.until("the link is refused", func() bool { return strings.Contains(a.c.Refused()[w.path("evil.log")], "outside of allow_paths") })
		a.want("evil.log")
		w.remove("evil.log")
		a.until("the refusal is forgotten", func() bool { a.c.lookSoon(); return len(a.c.Refused()) == 0 })
	})
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		require.NoError(t, unix.Mkfifo(w.path("pipe.log"), 0o600))
		require.NoError(t, os.Mkdir(w.path("dir.log"), 0o700))
		require.NoError(t, os.Symlink("/dev/zero", w.path("zero.log")))
		require.NoError(t, os.Symlink("nowhere", w.path("dangling.log")))
		w.write("a.log", "a\n")
		a := w.start()
		a.want("a.log", "a")
		a.until("they are refused", func() bool { return len(a.c.Refused()) == 2 })
		require.Equal(t, map[string]string{w.path("pipe.log"): tail.ErrPipe.Error(), w.path("zero.log"): "not a regular file"}, a.c.Refused())
		require.Equal(t, 1, a.count())
		w.remove("pipe.log")
		w.write("pipe.log", "now it is one\n")
		a.want("pipe.log", "now it is one")
	})
}

func TestAFileThatMayNotBeReadIsCollectedOnceItMay(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "secret\n")
		require.NoError(t, os.Chmod(w.path("a.log"), 0))
		asNobody(t, w.state, w.dir, w.path("a.log"))
		a := w.start()
		a.until("it is refused", func() bool { return strings.Contains(a.c.Refused()[w.path("a.log")], "permission denied") })
		require.Equal(t, FileFailed, a.states()[w.path("a.log")])
		e := a.c.Explain(w.path("a.log"))
		require.False(t, e.Collected)
		require.Contains(t, e.Why, "permission denied")
		require.NoError(t, os.Chmod(w.path("a.log"), 0o600))
		a.want("a.log", "secret")
		require.Empty(t, a.c.Refused())
		a.stop()
	})
}
