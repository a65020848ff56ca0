package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"logferry/agent/task"
	"logferry/sink/kafka"
)

func TestMain(m *testing.M) {
	kafka.RouteLogs(slog.New(slog.DiscardHandler)) // before kafkaread uses sarama
	goleak.VerifyTestMain(m)
}

// syncBuffer collects what a dry run prints.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// world is an agent on a directory of its own, that prints instead of
// shipping.
type world struct {
	t     *testing.T
	dir   string
	agent *Agent
	out   *syncBuffer
	log   *syncBuffer
	stop  context.CancelFunc
	done  chan error
}

func newWorld(t *testing.T, change func(*Config, *Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), out: &syncBuffer{}, log: &syncBuffer{}, done: make(chan error, 1)}
	cfg := Config{ID: "host-1", StateDir: filepath.Join(w.dir, "state")}
	cfg.HTTP.Listen = "127.0.0.1:0"
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	cfg.Tasks.Files = []string{filepath.Join(w.dir, "tasks", "*.yaml")}
	require.NoError(t, os.MkdirAll(filepath.Join(w.dir, "tasks"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(w.dir, "logs"), 0o755))
	opts := Options{DryRun: w.out}
	if change != nil {
		change(&cfg, &opts)
	}
	cfg.SetDefaults()
	require.NoError(t, cfg.Validate())
	var err error
	w.agent, err = New(cfg, opts, slog.New(slog.NewTextHandler(w.log, nil)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.done <- w.agent.Run(ctx) }()
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	if w.stop == nil {
		return
	}
	w.stop()
	w.stop = nil
	require.NoError(w.t, <-w.done)
	http.DefaultClient.CloseIdleConnections()
}

func (w *world) putTask(name, yaml string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "tasks", name+".yaml")
	require.NoError(w.t, os.WriteFile(path+".new", []byte(strings.ReplaceAll(yaml, "DIR", w.dir)), 0o644))
	require.NoError(w.t, os.Rename(path+".new", path))
}

func (w *world) removeTask(name string) {
	w.t.Helper()
	require.NoError(w.t, os.Remove(filepath.Join(w.dir, "tasks", name+".yaml")))
}

func (w *world) appendLog(name, text string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, "logs", name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(w.t, err)
	_, err = f.WriteString(text)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
}

func (w *world) waitFor(what string, ok func() bool) {
	w.t.Helper()
	require.Eventually(w.t, ok, time.Minute, 2*time.Millisecond, "%s; log:\n%s", what, w.log)
}

func (w *world) task(name string) TaskStatus {
	for _, t := range w.agent.supervisor.Tasks() {
		if t.Name == name {
			return t
		}
	}
	return TaskStatus{}
}

func (w *world) get(path string) (int, string) {
	w.t.Helper()
	resp, err := http.Get("http://" + w.agent.Addr().String() + path)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp.StatusCode, string(b)
}

const webTask = "paths: [DIR/logs/web.log]\ntopic: web_log\n"

func TestLinesFlowAndTheAPIShowsThem(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\ntwo\n")
	w.putTask("web", webTask)
	w.waitFor("both lines", func() bool { return w.out.String() == "one\ntwo\n" })
	w.waitFor("both committed", func() bool { return w.task("web").LagBytes == 0 && w.task("web").Files == 1 })

	code, body := w.get("/api/v1/files?task=web")
	require.Equal(t, http.StatusOK, code)
	var files struct {
		Agent string
		Files []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(body), &files))
	require.Equal(t, "host-1", files.Agent)
	require.Len(t, files.Files, 1)
	require.EqualValues(t, 8, files.Files[0]["committed_bytes"])
	require.EqualValues(t, 8, files.Files[0]["read_bytes"])
	require.EqualValues(t, 0, files.Files[0]["lag_bytes"])

	code, body = w.get("/api/v1/tasks")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, `"topic": "web_log"`)
	code, body = w.get("/")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "web_log")
	for _, path := range []string{"/healthz", "/readyz"} {
		code, body = w.get(path)
		require.Equal(t, http.StatusOK, code, body)
	}
	code, _ = w.get("/debug/pprof/")
	require.Equal(t, http.StatusNotFound, code, "pprof is off unless it is asked for")
}

func TestMetricsPassTheLinterAndLeaveWithTheirTask(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\n")
	w.putTask("web", webTask)
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	problems, err := testutil.GatherAndLint(w.agent.registry)
	require.NoError(t, err)
	require.Empty(t, problems)

	_, body := w.get("/metrics")
	for _, name := range []string{
		"read_bytes_total", "records_total", "lag_bytes", "oldest_unacked_seconds", "append_to_ack_seconds_count",
		"files", "truncations_total", "buffered_bytes", "task_info", "tasks", "config_last_reload_successful",
	} {
		require.Contains(t, body, "\nlogferry_"+name, name)
	}
	require.Contains(t, body, `logferry_records_total{task="web"} 1`)

	require.NoError(t, os.Remove(filepath.Join(w.dir, "tasks", "web.yaml")))
	w.waitFor("the series are gone", func() bool {
		_, body := w.get("/metrics")
		return !strings.Contains(body, `task="web"`)
	})
}

func TestARefusedEditIsShownAndTheLastGoodVersionRuns(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("web", webTask)
	w.waitFor("running", func() bool { return w.task("web").State == TaskRunning })
	started := w.task("web").Started
	w.putTask("web", "paths: [DIR/logs/web.log]\ntopik: web_log\n")
	w.waitFor("refused", func() bool { return w.task("web").Refused })
	require.Contains(t, w.task("web").Error, `web.yaml:2: unknown key "topik"`)
	require.Equal(t, TaskRunning, w.task("web").State)
	require.Equal(t, started, w.task("web").Started)
	_, body := w.get("/metrics")
	require.Contains(t, body, "logferry_config_last_reload_successful 0")
	require.Equal(t, 1, strings.Count(w.log.String(), "refused"), "it is logged once")
	w.appendLog("web.log", "still here\n")
	w.waitFor("the line", func() bool { return w.out.String() == "still here\n" })
}

func TestEditingOneTaskLeavesTheOthersAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.putTask("a", "paths: [DIR/logs/a.log]\ntopic: a\n")
	w.putTask("b", "paths: [DIR/logs/b.log]\ntopic: b\n")
	w.appendLog("a.log", "a1\n")
	w.appendLog("b.log", "b1\n")
	w.waitFor("both lines", func() bool { return len(w.out.String()) == 6 })
	a, b := w.task("a"), w.task("b")
	for i := range 5 {
		w.putTask("b", fmt.Sprintf("paths: [DIR/logs/b.log]\ntopic: b%d\n", i))
		w.waitFor("edited", func() bool {
			st := w.task("b")
			return st.State == TaskRunning && st.Task.Topic == fmt.Sprintf("b%d", i)
		})
	}
	w.appendLog("b.log", "b2\n")
	w.waitFor("the second line", func() bool { return strings.Contains(w.out.String(), "b2\n") })
	require.Equal(t, 1, strings.Count(w.out.String(), "b1\n"), "an edited task goes on at its committed offset")
	require.Equal(t, a.Started, w.task("a").Started)
	require.Equal(t, a.collect.Files()[0].Started, w.task("a").collect.Files()[0].Started)
	require.NotEqual(t, b.Started, w.task("b").Started)
}

func TestATaskThatCannotDeliverMakesTheAgentUnready(t *testing.T) {
	w := newWorld(t, func(cfg *Config, opts *Options) {
		opts.DryRun = nil // no broker listens on port 1
		cfg.ShutdownTimeout = 100 * time.Millisecond
		cfg.Kafka.RetryBackoff, cfg.Kafka.RetryBackoffMax = time.Millisecond, 10*time.Millisecond
	})
	w.putTask("web", webTask)
	w.appendLog("web.log", "one\n")
	w.waitFor("failing", func() bool { return w.task("web").State == TaskFailing })
	require.Contains(t, w.task("web").Error, "127.0.0.1:1")
	code, body := w.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "127.0.0.1:1")
	code, _ = w.get("/healthz")
	require.Equal(t, http.StatusOK, code)
}

func TestAnUnknownClusterIsSaidAndHealsWithAnEdit(t *testing.T) {
	w := newWorld(t, func(_ *Config, opts *Options) { opts.DryRun = nil })
	w.putTask("web", webTask+"cluster: nowhere\n")
	w.waitFor("failing", func() bool { return w.task("web").State == TaskFailing })
	require.Contains(t, w.task("web").Error, `cluster "nowhere" is not configured`)
}

func TestFlagTasksRunBesideThoseOfFilesAndNamesAreUnique(t *testing.T) {
	w := newWorld(t, func(_ *Config, opts *Options) {
		opts.Tasks = []task.Task{{Name: "web", Paths: []string{"/nonexistent/*.log"}, Topic: "t"}}
	})
	w.putTask("web", webTask)
	w.waitFor("the second definition is refused, and the first one runs", func() bool { // whichever came first
		return w.task("web").Refused && w.task("web").Source == "flags"
	})
	require.Contains(t, w.task("web").Error, "already defined by flags")
}

func TestTwoAgentsCannotShareAStateDir(t *testing.T) {
	w := newWorld(t, func(_ *Config, opts *Options) { opts.DryRun = nil })
	_, err := New(w.agent.cfg, Options{}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "in use by another agent")
}

func TestATaskRunsWhereItsSelectorSaysAndKeepsItsPlaceWhileItDoesNot(t *testing.T) {
	w := newWorld(t, func(cfg *Config, _ *Options) { cfg.Labels = map[string]string{"env": "prod"} })
	w.putTask("db", "paths: [DIR/logs/db.log]\ntopic: db\nselect: {labels: {env: test}}\n")
	w.putTask("web", webTask+"select: {ids: [host-1]}\n")
	w.appendLog("db.log", "not from here\n")
	w.appendLog("web.log", "one\n")
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	w.waitFor("it is committed", func() bool { return w.task("web").LagBytes == 0 })
	require.Len(t, w.agent.supervisor.Tasks(), 1)
	_, body := w.get("/api/v1/tasks")
	require.Contains(t, body, `"for_other_agents": 1`)
	require.NotContains(t, body, `"db"`)
	_, body = w.get("/")
	require.Contains(t, body, "1 more for other agents")

	before := w.task("web")
	w.putTask("web", webTask+"select: {ids: ['host-*'], labels: {env: [prod, test]}}\n")
	w.waitFor("the selector is taken", func() bool { return len(w.task("web").Task.Select.Labels) == 1 })
	after := w.task("web")
	require.Equal(t, before.Started, after.Started, "nothing was restarted")
	require.Equal(t, before.collect.Files()[0].Started, after.collect.Files()[0].Started)

	w.putTask("web", webTask+"select: {hosts: [nowhere]}\n")
	w.waitFor("the task is gone", func() bool { return w.task("web").Name == "" })
	w.appendLog("web.log", "two\n")
	w.putTask("web", webTask)
	w.waitFor("it goes on where it was", func() bool { return w.out.String() == "one\ntwo\n" })
}

func TestAPausedTaskKeepsItsPlaceAndSaysThatItIsStopped(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\n")
	w.putTask("web", webTask)
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	digest, _ := w.agent.supervisor.Digest()
	w.putTask("web", webTask+"paused: true\n")
	w.waitFor("stopped", func() bool { return w.task("web").State == TaskStopped })
	now, _ := w.agent.supervisor.Digest()
	require.NotEqual(t, digest, now)
	require.Equal(t, "web_log", w.task("web").Task.Topic)
	_, body := w.get("/metrics")
	require.Contains(t, body, `logferry_tasks{state="stopped"} 1`)
	require.NotContains(t, body, `logferry_lag_bytes{task="web"}`)
	code, _ := w.get("/readyz")
	require.Equal(t, http.StatusOK, code)

	w.appendLog("web.log", "two\n")
	w.putTask("web", "paths: [DIR/logs/web.log]\ntopik: x\n")
	w.waitFor("refused", func() bool { return w.task("web").Refused })
	require.Equal(t, TaskStopped, w.task("web").State, "the last good version is paused")
	w.putTask("web", webTask)
	w.waitFor("it goes on where it was", func() bool { return w.out.String() == "one\ntwo\n" })
	require.Equal(t, TaskRunning, w.task("web").State)
	w.putTask("web", webTask+"paused: true\n")
	w.waitFor("stopped again", func() bool { return w.task("web").State == TaskStopped })
	require.NoError(t, os.Remove(filepath.Join(w.dir, "tasks", "web.yaml")))
	w.waitFor("removed", func() bool { return w.task("web").Name == "" })
}
