package collector

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"logferry/collector/tail"
)

// While nothing can be delivered, files are deleted one after the other: the
// oldest are let go, and every byte is either delivered or counted.
func TestDeletedFilesBeyondTheirBoundAreLetGoOldestFirstAndCounted(t *testing.T) {
	w := newWorld(t, false)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	w.bytes = 64 << 10
	const files = 6
	text, _ := lines("x", 0, 20000)
	w.deleted = 2*int64(len(text)) + 1
	for i := range files {
		w.write(fmt.Sprintf("%d.log", i), text)
	}
	a := w.start(gated(gate), tweaked(func(c *Collector) { c.retry, c.deletedEvery = time.Millisecond, 5*time.Millisecond }))
	t.Cleanup(open) // before the agent is stopped, also when the test fails
	a.until("all are open", func() bool {
		n := 0
		for _, f := range a.c.Files() {
			if f.Size > 0 {
				n++
			}
		}
		return n == files
	})
	for i := range files {
		w.remove(fmt.Sprintf("%d.log", i))
	}
	a.until("four are let go", func() bool {
		return w.log.count("the oldest is let go") == files-2 && a.c.deps.Deleted.Bytes() == 2*int64(len(text))
	})
	a.until("their bytes are counted", func() bool { return w.log.count("a deleted file is let go before") == files-2 })
	open()
	a.until("all are released", func() bool { return len(a.c.Files()) == 0 && a.c.deps.Deleted.Bytes() == 0 })
	lost := a.c.Abandoned()
	require.Positive(t, lost)
	require.InDelta(t, lost, testutil.ToFloat64(a.c.metrics.abandoned.WithLabelValues(abandonedDeleted)), 0)
	perLine := int64(len("x 000000\n"))
	require.Equal(t, int64(files*len(text)), lost+int64(a.count())*perLine, "each byte is delivered or counted")
	for i := range files { // what was delivered is a beginning, in order
		for j, line := range a.lines(w.path(fmt.Sprintf("%d.log", i))) {
			require.Equal(t, fmt.Sprintf("x %06d", j), line)
		}
	}
	held, _, _ := a.budget.now()
	require.Zero(t, held)
}

func TestAFileThatIsReleasedWhileDeletedFilesAreCountedDoesNotCount(t *testing.T) {
	w := newWorld(t, false)
	w.cfg.RotateWait = time.Millisecond
	w.deleted = 1000
	w.write("a.log", "1\n")
	a := w.start()
	a.want("a.log", "1")
	a.c.mu.Lock()
	s := a.c.streams[w.path("a.log")]
	a.c.mu.Unlock()
	f := s.files()[0]
	w.remove("a.log")
	a.until("it is released", func() bool { return len(a.c.Files()) == 0 })
	a.c.deps.Deleted.hold(s, f, 100) // as it was looked at before
	require.Zero(t, a.c.deps.Deleted.Bytes())
	a.stop()
}

func TestDeletedFilesWithinTheirBoundAreReadToTheirEnd(t *testing.T) {
	w := newWorld(t, false)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	w.bytes = 64 << 10
	text, want := lines("x", 0, 20000)
	w.deleted = 3 * int64(len(text))
	for i := range 3 {
		w.write(fmt.Sprintf("%d.log", i), text)
	}
	a := w.start(gated(gate), tweaked(func(c *Collector) { c.deletedEvery = 5 * time.Millisecond }))
	t.Cleanup(open) // before the agent is stopped, also when the test fails
	a.until("all are open", func() bool {
		return len(a.c.Files()) == 3 && a.c.Files()[0].Size*a.c.Files()[1].Size*a.c.Files()[2].Size > 0
	})
	for i := range 3 {
		w.remove(fmt.Sprintf("%d.log", i))
	}
	a.until("they are held", func() bool { return a.c.deps.Deleted.Bytes() == w.deleted })
	require.True(t, a.c.Files()[0].Deleted)
	open()
	for i := range 3 {
		a.want(fmt.Sprintf("%d.log", i), want...)
	}
	a.until("all are released", func() bool { return len(a.c.Files()) == 0 && a.c.deps.Deleted.Bytes() == 0 })
	require.Zero(t, a.c.Abandoned())
}

func TestATaskThatEndsWhileADeletedFileIsUnreadCountsWhatIsLost(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", "1\n2\n")
	a := w.start(acking(ackNever))
	a.want("a.log", "1", "2")
	w.remove("a.log")
	a.until("it is deleted", func() bool { f := a.c.Files(); return len(f) == 1 && f[0].Deleted })
	a.stop()
	require.Equal(t, int64(4), a.c.Abandoned())
	require.Equal(t, 1, w.log.count("the task ends while a deleted file"))
}

// A tailer that has not let go of its file yet must not cost another one.
func TestAFileThatIsBeingLetGoCountsNoMore(t *testing.T) {
	w := newWorld(t, false)
	w.deleted = 20
	a := w.start()
	a.stop()
	d, list := a.c.deps.Deleted, []*tail.File{}
	s, other := newStream(a.c, w.path("x"), false, nil), newStream(a.c, w.path("y"), false, nil)
	for i := range 3 {
		w.write(fmt.Sprint(i), "text\n")
		f, err := tail.Open(w.path(fmt.Sprint(i)), a.c.tail)
		require.NoError(t, err)
		t.Cleanup(f.Close)
		list = append(list, f)
		d.hold(s, f, 10)
	}
	letGo := func() int { return w.log.count("the oldest is let go") }
	require.Equal(t, 1, letGo())
	for range 3 {
		for _, f := range list {
			d.hold(s, f, 10)
		}
	}
	require.Equal(t, 1, letGo())
	require.Equal(t, int64(20), d.Bytes())
	d.hold(other, list[0], 10)
	require.Equal(t, 2, letGo(), "all who read it let it go")
	d.release(s, list[0].ID())
	d.release(other, list[0].ID())
	require.Equal(t, int64(20), d.Bytes())
	d.release(s, list[1].ID())
	require.Equal(t, int64(10), d.Bytes())
	d.hold(s, list[0], 10) // another file with its identity
	require.Equal(t, int64(20), d.Bytes())
	require.Equal(t, 2, letGo())
}
