package watch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const patience = time.Minute

func start(t *testing.T) *Watcher {
	t.Helper()
	w, err := New(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
	return w
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// settle waits until everything that happened before was handed out: events
// come in order, so a name created in a directory of its own comes last.
func settle(t *testing.T, w *Watcher) {
	t.Helper()
	dir := t.TempDir()
	got := make(chan Event, 8)
	h, err := w.Dir(dir, func(e Event) { got <- e })
	require.NoError(t, err)
	defer h.Close()
	write(t, filepath.Join(dir, "mark"), "")
	next(t, got)
}

func next(t *testing.T, ch <-chan Event) Event {
	t.Helper()
	select {
	case e := <-ch:
		return e
	case <-time.After(patience):
		require.FailNow(t, "no event came")
		return Event{}
	}
}

func TestADirectoryTellsOfNamesThatComeAndGo(t *testing.T) {
	w := start(t)
	dir, other := t.TempDir(), t.TempDir()
	got := make(chan Event, 100)
	_, err := w.Dir(dir, func(e Event) { got <- e })
	require.NoError(t, err)

	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "x")
	require.Equal(t, Event{Name: "a"}, next(t, got))
	write(t, a, "more")
	require.NoError(t, os.Rename(a, b))
	require.Equal(t, Event{Name: "a", Gone: true}, next(t, got), "writes are not told, the next event is the rename's")
	require.Equal(t, Event{Name: "b"}, next(t, got))
	require.NoError(t, os.Rename(b, filepath.Join(other, "b")))
	require.Equal(t, Event{Name: "b", Gone: true}, next(t, got))
	require.NoError(t, os.Rename(filepath.Join(other, "b"), b))
	require.Equal(t, Event{Name: "b"}, next(t, got))
	require.NoError(t, os.Remove(b))
	require.Equal(t, Event{Name: "b", Gone: true}, next(t, got))
	sub := filepath.Join(dir, "sub")
	require.NoError(t, os.Mkdir(sub, 0o700))
	require.Equal(t, Event{Name: "sub", IsDir: true}, next(t, got))
	require.NoError(t, os.Remove(sub))
	require.Equal(t, Event{Name: "sub", IsDir: true, Gone: true}, next(t, got))
}

func TestADirectoryThatGoesAwayAsksForANewLook(t *testing.T) {
	w := start(t)
	for name, act := range map[string]func(dir string) error{
		"removed": os.Remove,
		"renamed": func(dir string) error { return os.Rename(dir, dir+"2") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			require.NoError(t, os.Mkdir(dir, 0o700))
			got := make(chan Event, 10)
			h, err := w.Dir(dir, func(e Event) { got <- e })
			require.NoError(t, err)
			require.NoError(t, act(dir))
			require.True(t, next(t, got).Overflow)
			h.Close()
			h.Close()
		})
	}
}

func TestAFileWatchFiresOnceAtTheFirstChange(t *testing.T) {
	w := start(t)
	for name, act := range map[string]func(t *testing.T, path string){
		"write":    func(t *testing.T, p string) { write(t, p, "x"); write(t, p, "y"); write(t, p, "z") },
		"truncate": func(t *testing.T, p string) { require.NoError(t, os.Truncate(p, 0)); write(t, p, "y") },
		"rename":   func(t *testing.T, p string) { require.NoError(t, os.Rename(p, p+".1")); write(t, p+".1", "y") },
		"remove":   func(t *testing.T, p string) { require.NoError(t, os.Remove(p)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "f")
			write(t, p, "first")
			var n atomic.Int32
			h, err := w.File(p, func() { n.Add(1) })
			require.NoError(t, err)
			settle(t, w)
			require.Zero(t, n.Load())
			act(t, p)
			settle(t, w)
			require.Equal(t, int32(1), n.Load())
			h.Close()
		})
	}
}

func TestAFileIsWatchedThroughItsDescriptorAfterARename(t *testing.T) {
	w := start(t)
	p := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(p)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.NoError(t, os.Remove(p))
	var n atomic.Int32
	_, err = w.File("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), func() { n.Add(1) })
	require.NoError(t, err)
	_, err = f.WriteString("late")
	require.NoError(t, err)
	settle(t, w)
	require.Equal(t, int32(1), n.Load())
}

func TestAFiredWatchIsArmedAgainByANewOne(t *testing.T) {
	w := start(t)
	p := filepath.Join(t.TempDir(), "f")
	write(t, p, "x")
	var n atomic.Int32
	for i := range int32(20) {
		h, err := w.File(p, func() { n.Add(1) })
		require.NoError(t, err)
		write(t, p, "x")
		settle(t, w)
		require.Equal(t, i+1, n.Load())
		h.Close()
	}
	require.Empty(t, w.files)
}

func TestAnEventOfAFiredWatchDoesNotFireItsSuccessor(t *testing.T) {
	w, err := New(slog.New(slog.DiscardHandler)) // not run yet: events stay in the queue
	require.NoError(t, err)
	p := filepath.Join(t.TempDir(), "f")
	write(t, p, "x")
	var old, young atomic.Int32
	h, err := w.File(p, func() { old.Add(1) })
	require.NoError(t, err)
	write(t, p, "y")
	h.Close()
	_, err = w.File(p, func() { young.Add(1) })
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	settle(t, w)
	require.Zero(t, old.Load())
	require.Zero(t, young.Load(), "nothing was written since it was armed")
	write(t, p, "z")
	settle(t, w)
	require.Equal(t, int32(1), young.Load())
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestTwoSubscribersOfOneFileAreBothTold(t *testing.T) {
	w := start(t)
	p := filepath.Join(t.TempDir(), "f")
	write(t, p, "x")
	link := p + ".link"
	require.NoError(t, os.Link(p, link))
	var a, b, c atomic.Int32
	_, err := w.File(p, func() { a.Add(1) })
	require.NoError(t, err)
	_, err = w.File(link, func() { b.Add(1) })
	require.NoError(t, err)
	closed, err := w.File(p, func() { c.Add(1) })
	require.NoError(t, err)
	closed.Close()
	write(t, p, "y")
	settle(t, w)
	require.Equal(t, []int32{1, 1, 0}, []int32{a.Load(), b.Load(), c.Load()})
}

func TestAKeptWatchTellsOfEveryWriteUntilSomethingElseHappens(t *testing.T) {
	w := start(t)
	p := filepath.Join(t.TempDir(), "f")
	write(t, p, "x")
	var writes, ends atomic.Int32
	count := func(plain bool) {
		if plain {
			writes.Add(1)
		} else {
			ends.Add(1)
		}
	}
	h, err := w.Keep(p, count)
	require.NoError(t, err)
	for i := range int32(5) {
		write(t, p, "y")
		settle(t, w)
		require.Equal(t, i+1, writes.Load())
	}
	require.NoError(t, os.Truncate(p, 0))
	settle(t, w)
	require.Equal(t, int32(6), writes.Load())
	require.Zero(t, ends.Load())
	require.NoError(t, os.Rename(p, p+".1"))
	write(t, p+".1", "z")
	settle(t, w)
	require.Equal(t, []int32{6, 1}, []int32{writes.Load(), ends.Load()})
	h.Close()
	require.Empty(t, w.files)
}

func TestAKeptWatchAndAOneShotOneOfTheSameFileAreIndependent(t *testing.T) {
	w := start(t)
	p := filepath.Join(t.TempDir(), "f")
	write(t, p, "x")
	var kept, once, lost atomic.Int32
	keep := func(plain bool) {
		if plain {
			kept.Add(1)
		} else {
			lost.Add(1)
		}
	}
	for _, keptFirst := range []bool{true, false} {
		kept.Store(0)
		once.Store(0)
		var h *Watch
		var err error
		if keptFirst {
			h, err = w.Keep(p, keep)
			require.NoError(t, err)
		}
		_, err = w.File(p, func() { once.Add(1) })
		require.NoError(t, err)
		if !keptFirst {
			h, err = w.Keep(p, keep)
			require.NoError(t, err)
		}
		for i := range int32(3) {
			write(t, p, "y")
			settle(t, w)
			require.Equal(t, []int32{i + 1, 1, 0}, []int32{kept.Load(), once.Load(), lost.Load()})
		}
		_, err = w.File(p, func() { once.Add(1) })
		require.NoError(t, err)
		h.Close() // the other stays, and fires once
		write(t, p, "y")
		write(t, p, "y")
		settle(t, w)
		require.Equal(t, []int32{3, 2, 0}, []int32{kept.Load(), once.Load(), lost.Load()})
		require.Empty(t, w.files)
	}
}

func TestTwoSubscribersOfOneDirectoryAreBothTold(t *testing.T) {
	w := start(t)
	dir := t.TempDir()
	a, b := make(chan Event, 10), make(chan Event, 10)
	ha, err := w.Dir(dir, func(e Event) { a <- e })
	require.NoError(t, err)
	_, err = w.Dir(dir, func(e Event) { b <- e })
	require.NoError(t, err)
	write(t, filepath.Join(dir, "1"), "")
	require.Equal(t, "1", next(t, a).Name)
	require.Equal(t, "1", next(t, b).Name)
	ha.Close()
	ha.Close()
	write(t, filepath.Join(dir, "2"), "")
	require.Equal(t, "2", next(t, b).Name)
	require.Empty(t, a)
}

func TestAClosedWatchIsSilentAndLeavesNothingBehind(t *testing.T) {
	w := start(t)
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	write(t, p, "x")
	var n atomic.Int32
	h1, err := w.File(p, func() { n.Add(1) })
	require.NoError(t, err)
	h2, err := w.Dir(dir, func(Event) { n.Add(1) })
	require.NoError(t, err)
	h1.Close()
	h2.Close()
	write(t, p, "y")
	write(t, filepath.Join(dir, "g"), "y")
	settle(t, w)
	require.Zero(t, n.Load())
	require.Empty(t, w.files)
	require.Empty(t, w.dirs)
}

func TestOnlyWhatExistsCanBeWatched(t *testing.T) {
	w := start(t)
	dir := t.TempDir()
	_, err := w.File(filepath.Join(dir, "none"), func() {})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = w.Dir(filepath.Join(dir, "none"), func(Event) {})
	require.ErrorIs(t, err, os.ErrNotExist)
	write(t, filepath.Join(dir, "f"), "")
	_, err = w.Dir(filepath.Join(dir, "f"), func(Event) {})
	require.ErrorIs(t, err, unix.ENOTDIR)
}

func TestLostEventsWakeEverybody(t *testing.T) {
	w := start(t)
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	write(t, p, "x")
	var n atomic.Int32
	_, err := w.File(p, func() { n.Add(1) })
	require.NoError(t, err)
	got := make(chan Event, 10)
	_, err = w.Dir(dir, func(e Event) { got <- e })
	require.NoError(t, err)
	w.dispatch(-1, unix.IN_Q_OVERFLOW, "")
	require.Equal(t, int32(1), n.Load())
	require.Equal(t, Event{Overflow: true}, next(t, got))
	write(t, p, "y")
	settle(t, w)
	require.Equal(t, int32(1), n.Load(), "it fired, so it is not armed any more")
}

func TestAWatcherThatEndedTouchesNoDescriptorAnyMore(t *testing.T) {
	w, err := New(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	dir := t.TempDir()
	h, err := w.Dir(dir, func(Event) {})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.Run(ctx), context.Canceled)

	// The next instance gets the same descriptor number.
	second := start(t)
	got := make(chan Event, 10)
	_, err = second.Dir(dir, func(e Event) { got <- e })
	require.NoError(t, err)
	h.Close()
	_, err = w.File(dir, func() {})
	require.Error(t, err)
	write(t, filepath.Join(dir, "f"), "")
	require.Equal(t, Event{Name: "f"}, next(t, got))
}

// A write that falls between two watches must be seen by the look after the
// arming, or by the watch: no write is lost between the two.
func TestArmingThenLookingMissesNoWrite(t *testing.T) {
	w := start(t)
	p := filepath.Join(t.TempDir(), "f")
	write(t, p, "")
	const writes = 2000
	wrote := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
		for range writes {
			if err == nil {
				_, err = f.WriteString("x")
			}
		}
		_ = f.Close()
		wrote <- err
	}()
	woken := make(chan struct{}, 1)
	var seen int64
	for seen < writes {
		h, err := w.File(p, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		require.NoError(t, err)
		st, err := os.Stat(p)
		require.NoError(t, err)
		if st.Size() > seen {
			seen = st.Size()
			h.Close()
			continue
		}
		select {
		case <-woken:
		case <-time.After(patience):
			require.FailNow(t, "a write was missed")
		}
		h.Close()
	}
	require.NoError(t, <-wrote)
}
