package filesource

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"logferry/agent/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestATaskFileThatEverybodyMayWriteToIsRefusedUntilThatIsPutRight(t *testing.T) {
	var path string
	w := start(t, Config{}, func(w *world) {
		w.write("a.yaml", "paths: [/var/log/a.log]\ntopic: a\n")
		path = filepath.Join(w.dir, "a.yaml")
		require.NoError(t, os.Chmod(path, 0o666))
	})
	snap := <-w.snapshots
	require.Empty(t, snap.Tasks)
	require.Len(t, snap.Refused, 1)
	require.Contains(t, snap.Refused[0].Error, "chmod o-w")
	require.NoError(t, os.Chmod(path, 0o644))
	w.source.Reload()
	snap = <-w.snapshots
	require.Empty(t, snap.Refused)
	require.Len(t, snap.Tasks, 1)
}

const patience = time.Minute

// world runs a source on a directory of its own.
type world struct {
	t         *testing.T
	dir       string
	source    *Source
	snapshots chan task.Snapshot
}

func start(t *testing.T, cfg Config, prepare func(*world)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), snapshots: make(chan task.Snapshot, 1000)}
	if len(cfg.Globs) == 0 {
		cfg.Globs = []string{"*.yaml", "*.json"}
	}
	for i, g := range cfg.Globs {
		cfg.Globs[i] = filepath.Join(w.dir, g)
	}
	if prepare != nil {
		prepare(w)
	}
	cfg.Debounce = 5 * time.Millisecond
	var err error
	w.source, err = New(cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.source.Run(ctx, func(s task.Snapshot) { w.snapshots <- s }) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(w.t, os.WriteFile(path+".tmp", []byte(text), 0o644))
	require.NoError(w.t, os.Rename(path+".tmp", path))
}

func (w *world) next() task.Snapshot {
	w.t.Helper()
	select {
	case s := <-w.snapshots:
		return s
	case <-time.After(patience):
		require.FailNow(w.t, "no snapshot came")
		return task.Snapshot{}
	}
}

// until returns the first snapshot that satisfies want.
func (w *world) until(want func(task.Snapshot) bool) task.Snapshot {
	w.t.Helper()
	for {
		if s := w.next(); want(s) {
			return s
		}
	}
}

// topics maps the tasks of a snapshot to their topics.
func topics(s task.Snapshot) map[string]string {
	m := map[string]string{}
	for _, t := range s.Tasks {
		m[t.Name] = t.Topic
	}
	return m
}

func text(topic string) string { return "paths: [/var/log/*.log]\ntopic: " + topic + "\n" }

func TestFilesPresentAtStartAreOneSnapshotSortedByName(t *testing.T) {
	w := start(t, Config{}, func(w *world) {
		w.write("b.yaml", text("beta"))
		w.write("a.json", `{"paths":["/a"],"topic":"alpha"}`)
		w.write("many.yaml", "name: y\n"+text("why")+"---\nname: x\n"+text("ex"))
		w.write("notes.txt", "no task")
	})
	s := w.next()
	require.Empty(t, s.Refused)
	require.Equal(t, map[string]string{"a": "alpha", "b": "beta", "x": "ex", "y": "why"}, topics(s))
	require.Equal(t, []string{"a", "b", "x", "y"}, []string{s.Tasks[0].Name, s.Tasks[1].Name, s.Tasks[2].Name, s.Tasks[3].Name})
	require.Equal(t, task.StartBeginning, s.Tasks[0].Start)
}

func TestADirectoryWithoutTasksIsAnEmptySnapshot(t *testing.T) {
	w := start(t, Config{}, nil)
	require.Empty(t, w.next().Tasks)
}

func TestCreatedChangedAndRemovedFilesAreFollowed(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Hour}, nil)
	require.Empty(t, w.next().Tasks)
	w.write("web.yaml", text("one"))
	require.Equal(t, map[string]string{"web": "one"}, topics(w.next()))
	w.write("web.yaml", text("two"))
	require.Equal(t, map[string]string{"web": "two"}, topics(w.next()))
	require.NoError(t, os.Remove(filepath.Join(w.dir, "web.yaml")))
	require.Empty(t, w.next().Tasks)
}

func TestAnInvalidFileKeepsItsLastGoodTasks(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Hour}, func(w *world) {
		w.write("web.yaml", text("one"))
		w.write("other.yaml", text("other"))
	})
	w.next()
	w.write("web.yaml", "paths: [/a]\n\ntopc: x\n")
	s := w.next()
	require.Equal(t, map[string]string{"web": "one", "other": "other"}, topics(s))
	require.Equal(t, []task.Refusal{{
		Name: "web", Origin: filepath.Join(w.dir, "web.yaml") + ":3", Error: `unknown key "topc"; did you mean "topic"?`,
	}}, s.Refused)

	w.write("web.yaml", text("two"))
	s = w.next()
	require.Empty(t, s.Refused)
	require.Equal(t, "two", topics(s)["web"])
}

func TestAFileThatWasNeverGoodIsRefusedWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world)
		origin  string
		want    string
	}{
		"empty":            {func(w *world) { w.write("web.yaml", "") }, "web.yaml:1", "empty, there is no task in it; write at least paths and topic"},
		"invalid value":    {func(w *world) { w.write("web.yaml", "topic: a\npaths: [x]\n") }, "web.yaml:2", `paths[0]: "x" is not an absolute path; begin it with /`},
		"no names":         {func(w *world) { w.write("web.yaml", text("a")+"---\nname: b\n"+text("b")) }, "web.yaml:1", "name: is missing; a file with several tasks must name each one"},
		"same name":        {func(w *world) { w.write("web.yaml", "name: b\n"+text("a")+"---\nname: b\n"+text("b")) }, "web.yaml:5", `name: "b" is also that of the task in line 1; give one of them another name`},
		"two problems":     {func(w *world) { w.write("web.yaml", "topic: a b\npaths: [x]\n") }, "web.yaml:2", `paths[0]: "x" is not an absolute path; begin it with /; line 1: topic: "a b" is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`},
		"not a file":       {func(w *world) { require.NoError(w.t, os.Symlink("/dev/null", filepath.Join(w.dir, "web.yaml"))) }, "web.yaml", "is not a regular file; put a file in its place or remove it"},
		"unusable as name": {func(w *world) { w.write("my web.yaml", text("a")) }, "my web.yaml:1", `name: "my web" is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -`},
		"too large":        {func(w *world) { w.write("web.yaml", text("a")+string(make([]byte, task.MaxBytes))) }, "web.yaml", "is 262145 bytes long, the limit is 256KiB; split it into several tasks"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, Config{}, c.prepare)
			s := w.next()
			require.Empty(t, s.Tasks)
			require.Len(t, s.Refused, 1)
			require.Equal(t, filepath.Join(w.dir, c.origin), s.Refused[0].Origin)
			require.Equal(t, c.want, s.Refused[0].Error)
		})
	}
}

func TestANameInTwoFilesStaysWithTheOneInUse(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Hour}, func(w *world) { w.write("z.yaml", "name: web\n"+text("first")) })
	w.next()
	w.write("a.yaml", "name: web\n"+text("second"))
	s := w.next()
	require.Equal(t, map[string]string{"web": "first"}, topics(s))
	require.Equal(t, []task.Refusal{{
		Name: "web", Origin: filepath.Join(w.dir, "a.yaml") + ":1",
		Error: `name: "web" is also that of a task in ` + filepath.Join(w.dir, "z.yaml") + "; give one of them another name",
	}}, s.Refused)
	require.NoError(t, os.Remove(filepath.Join(w.dir, "z.yaml")))
	s = w.next()
	require.Equal(t, map[string]string{"web": "second"}, topics(s))
	require.Empty(t, s.Refused)
}

func TestReloadPublishesEvenWhenNothingChanged(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Hour}, func(w *world) { w.write("web.yaml", text("one")) })
	first := w.next()
	w.source.Reload()
	require.Equal(t, first, w.next())
}

func TestThePeriodicCheckPublishesChangesOnly(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Millisecond}, func(w *world) { w.write("web.yaml", text("one")) })
	w.next()
	w.write("web.yaml", text("two"))
	require.Equal(t, "two", topics(w.next())["web"])
	require.Empty(t, w.snapshots)
}

func TestDirectoriesThatAppearLaterAreFound(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Hour, Globs: []string{"later/tasks.d/*.yaml", "teams/*/logs.yaml"}}, nil)
	w.next()
	w.write("later/tasks.d/web.yaml", text("one"))
	w.until(func(s task.Snapshot) bool { return topics(s)["web"] == "one" })
	require.NoError(t, os.MkdirAll(filepath.Join(w.dir, "teams", "shop"), 0o755))
	w.write("teams/shop/logs.yaml", text("shop"))
	w.until(func(s task.Snapshot) bool { return topics(s)["logs"] == "shop" })
	require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "later")))
	w.until(func(s task.Snapshot) bool { return len(s.Tasks) == 1 })
	w.write("later/tasks.d/web.yaml", text("two"))
	w.until(func(s task.Snapshot) bool { return topics(s)["web"] == "two" })
}

func TestAConfigMapThatIsSwappedIsRead(t *testing.T) {
	w := start(t, Config{CheckInterval: time.Hour}, func(w *world) {
		w.write("..v1/web.yaml", text("one"))
		require.NoError(t, os.Symlink("..v1", filepath.Join(w.dir, "..data")))
		require.NoError(t, os.Symlink("..data/web.yaml", filepath.Join(w.dir, "web.yaml")))
	})
	require.Equal(t, "one", topics(w.next())["web"])
	w.write("..v2/web.yaml", text("two"))
	require.NoError(t, os.Symlink("..v2", filepath.Join(w.dir, "..new")))
	require.NoError(t, os.Rename(filepath.Join(w.dir, "..new"), filepath.Join(w.dir, "..data")))
	require.Equal(t, "two", topics(w.next())["web"])
}

func TestChangesElsewhereConcernNoTask(t *testing.T) {
	s := newFileSet([]string{"/etc/logferry/tasks.d/*.yaml"})
	s.files["/srv/tasks/web.yaml"] = &file{}
	for name, want := range map[string]bool{
		"/etc/logferry/tasks.d/web.yaml": true, "/etc/logferry/tasks.d": true, "/etc/logferry": true, "/etc": true,
		"/srv/tasks/..data": true, "/etc/passwd": false, "/etc/logferry/agent.yaml": false, "/etc/log": false,
	} {
		require.Equal(t, want, s.concerns(name), name)
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "tasks.files: is empty; list globs such as /etc/logferry/tasks.d/*.yaml"},
		{Config{Globs: []string{"/a/[b"}}, `tasks.files[0]: "/a/[b" is not a valid glob; close its brackets and braces`},
		{Config{Globs: []string{"/a"}, Debounce: -1}, "tasks.files: negative interval; leave it out for the default"},
	} {
		_, err := New(c.cfg, slog.New(slog.DiscardHandler))
		require.EqualError(t, err, c.want)
	}
}

func TestStaticTasksArePublishedOnce(t *testing.T) {
	s, err := NewStatic(task.Task{Name: "b", Paths: []string{"/b"}, Topic: "b"}, task.Task{Name: "a", Paths: []string{"/a"}, Topic: "a"})
	require.NoError(t, err)
	require.Equal(t, "flags", s.Name())
	ctx, cancel := context.WithCancel(t.Context())
	var got []task.Snapshot
	err = s.Run(ctx, func(s task.Snapshot) { got = append(got, s); cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, got, 1)
	require.Equal(t, map[string]string{"a": "a", "b": "b"}, topics(got[0]))
	require.Equal(t, task.DefaultRotateWait, got[0].Tasks[0].RotateWait)

	_, err = NewStatic(task.Task{Name: "a", Paths: []string{"a"}, Topic: "a"})
	require.EqualError(t, err, `task "a": paths[0]: "a" is not an absolute path; begin it with /`)
	_, err = NewStatic(got[0].Tasks[0], got[0].Tasks[0])
	require.EqualError(t, err, `task "a" is given twice; give one of them another name`)
}
