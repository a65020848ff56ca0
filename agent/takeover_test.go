package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"logferry/agent/task"
	"logferry/collector/checkpoint"
)

// lines writes numbered lines to web.log until it is told to stop, and returns
// what was written.
func (w *world) lines() (stop func() string) {
	end, text := make(chan struct{}), make(chan string)
	go func() {
		var all strings.Builder
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-end:
				text <- all.String()
				return
			case <-tick.C:
			}
			line := fmt.Sprintf("line %d\n", i)
			w.appendLog("web.log", line)
			all.WriteString(line)
		}
	}()
	return func() string { close(end); return <-text }
}

func (w *world) runs(name string) {
	w.t.Helper()
	w.waitFor(name+" runs", func() bool { return w.task(name).State == TaskRunning })
}

func (w *world) gone(name string) {
	w.t.Helper()
	w.waitFor(name+" is gone", func() bool { return w.task(name).Name == "" })
}

// more waits until more is delivered than now.
func (w *world) more() {
	w.t.Helper()
	now := len(w.out.String())
	w.waitFor("more lines", func() bool { return len(w.out.String()) > now })
}

func TestARenamedTaskGoesOnInItsFilesWhileTheyAreWritten(t *testing.T) {
	w := newWorld(t, nil)
	stop := w.lines()
	w.putTask("web", webTask)
	w.more()

	w.putTask("site", webTask+"from: web\n") // first the new one
	w.waitFor("it waits", func() bool { return w.task("site").State == TaskPending && w.task("site").Error != "" })
	require.Contains(t, w.task("site").Error, `it takes the place of task "web" and waits until that is removed; remove it ('logferry task rm web'`)
	w.more()
	w.removeTask("web")
	w.runs("site")
	w.more()

	w.removeTask("site") // first the old one
	w.gone("site")
	w.putTask("web", webTask+"from: site\n")
	w.runs("web")
	w.more()

	w.putTask("site", webTask+"from: web\n") // and as first, once more
	w.removeTask("web")
	w.runs("site")
	w.more()

	text := stop()
	w.waitFor("all of it", func() bool { return len(w.out.String()) >= len(text) })
	require.Equal(t, text, w.out.String(), "each line once, in order")
	_, body := w.get("/metrics")
	require.NotContains(t, body, `task="web"`)
}

func TestAPlaceIsTakenOnceAndTheOldNameIsFreeThen(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\n")
	w.putTask("web", webTask)
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	w.removeTask("web")
	w.gone("web")
	w.putTask("site", webTask+"from: web\n")
	w.runs("site")

	w.appendLog("other.log", "two\n")
	w.putTask("web", "paths: [DIR/logs/other.log]\ntopic: other\n")
	w.waitFor("the other line", func() bool { return w.out.String() == "one\ntwo\n" })
	w.putTask("site", webTask+"from: web\nkey: path\n") // it starts again, beside another web
	w.waitFor("edited", func() bool { st := w.task("site"); return st.State == TaskRunning && st.Task.Key == task.KeyPath })
	w.appendLog("web.log", "three\n")
	w.waitFor("the third line", func() bool { return w.out.String() == "one\ntwo\nthree\n" })
}

func TestTwoTasksTakeThePlaceOfOne(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("a.log", "a1\n")
	w.appendLog("b.log", "b1\n")
	w.putTask("all", "paths: [\"DIR/logs/*.log\"]\ntopic: all\n")
	w.waitFor("both lines", func() bool { return len(w.out.String()) == 6 })
	w.waitFor("committed", func() bool { return w.task("all").LagBytes == 0 })
	w.putTask("a", "paths: [\"DIR/logs/*.log\"]\nexclude: [\"b*\"]\ntopic: a\nfrom: all\n")
	w.putTask("b", "paths: [\"DIR/logs/b*.log\"]\ntopic: b\nfrom: all\n")
	w.putTask("copy", "paths: [\"DIR/logs/*.log\"]\ntopic: copy\nfrom: all\n")
	w.removeTask("all")
	for _, name := range []string{"a", "b", "copy"} {
		w.runs(name)
	}
	w.appendLog("a.log", "a2\n")
	w.appendLog("b.log", "b2\n")
	w.waitFor("each from its place on", func() bool { return len(w.out.String()) == 18 })
	for line, times := range map[string]int{"a1": 1, "b1": 1, "a2": 2, "b2": 2} {
		require.Equal(t, times, strings.Count(w.out.String(), line+"\n"), line)
	}
}

func TestATaskWaitsForAPausedOneAndForOneThatWaitsForIt(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\n")
	waits := func(name string) {
		t.Helper()
		w.waitFor(name+" waits", func() bool { return w.task(name).State == TaskPending && w.task(name).Error != "" })
	}
	w.putTask("web", webTask+"paused: true\n")
	w.waitFor("paused", func() bool { return w.task("web").State == TaskStopped })
	_, digest := w.agent.supervisor.Digest()
	w.putTask("site", webTask+"from: web\n")
	waits("site")
	_, now := w.agent.supervisor.Digest()
	require.NotEqual(t, digest, now, "it is told at once")
	w.putTask("web", webTask+"from: site\n")
	waits("web")
	require.Contains(t, w.task("web").Error, `the place of task "site"`)
	require.Empty(t, w.out.String())
	w.putTask("web", webTask) // which breaks the circle
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	waits("site")
	w.removeTask("site")
	w.gone("site")
	w.putTask("site", webTask+"from: web\n")
	waits("site")
	w.putTask("site", webTask) // it does not wait any more, and has no place
	w.waitFor("from the beginning", func() bool { return w.out.String() == "one\none\n" })
}

func TestAPlaceIsNotTakenBeforeEverySourceIsHeard(t *testing.T) {
	store, err := checkpoint.Open(t.TempDir(), time.Hour, checkpoint.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	store.Put("old", checkpoint.FileID{Ino: 1}, checkpoint.State{Path: "/a.log", Offset: 7})
	built := make(chan string, 10)
	s := NewSupervisor(task.Identity{}, []string{sourceFiles, sourceEtcd},
		func(t task.Task, _ bool) (*pipeline, error) {
			built <- t.Name
			return nil, errors.New("it was only to be seen")
		},
		func(string) {}, slog.New(slog.DiscardHandler))
	s.places = store
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- s.Run(ctx) }()
	defer func() { stop(); require.ErrorIs(t, <-ended, context.Canceled) }()

	a := []string{"/a.log"}
	s.Apply(sourceFiles, task.Snapshot{Tasks: []task.Task{{Name: "fresh", Topic: "x", Paths: a, From: "nobody"}, {Name: "new", Topic: "x", Paths: a, From: "old"}}})
	require.Equal(t, "fresh", <-built, "there is nothing to take")
	require.Eventually(t, func() bool { return len(s.Tasks()) == 2 && s.Tasks()[1].Error != "" }, time.Minute, time.Millisecond)
	require.Equal(t, `it takes the place of task "old" and waits until it is known of etcd whether that is removed`, s.Tasks()[1].Error)
	s.Apply(sourceEtcd, task.Snapshot{})
	for name := range built {
		if name == "new" {
			break
		}
	}
	st, ok := store.Get("new", checkpoint.FileID{Ino: 1})
	require.True(t, ok)
	require.EqualValues(t, 7, st.Offset)
}

func TestAPlaceIsNotTakenFromATaskThatWasHeardAndIsNotYetStarted(t *testing.T) {
	store, err := checkpoint.Open(t.TempDir(), time.Hour, checkpoint.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	store.Put("old", checkpoint.FileID{Ino: 1}, checkpoint.State{Path: "/a.log", Offset: 7})
	s := NewSupervisor(task.Identity{}, []string{sourceFiles, sourceEtcd}, nil, nil, slog.New(slog.DiscardHandler))
	s.places = store
	var none sync.WaitGroup
	s.Apply(sourceFiles, task.Snapshot{})
	s.reconcile(t.Context(), &none)
	s.Apply(sourceEtcd, task.Snapshot{Tasks: []task.Task{{Name: "old", Topic: "x", Paths: []string{"/a.log"}, Paused: true}}})
	why, err := s.inTheWay("old") // between the snapshot and what is made of it
	require.NoError(t, err)
	require.NotEmpty(t, why)
	s.reconcile(t.Context(), &none)
	why, err = s.inTheWay("old")
	require.NoError(t, err)
	require.Contains(t, why, "waits until that is removed")
}
