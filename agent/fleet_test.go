package agent

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/etcdsource"
	"logferry/test/etcdtest"
)

func TestAnAgentTellsAnAddressThatOthersCanReach(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9600": "127.0.0.1:9600", "10.1.2.3:9600": "10.1.2.3:9600", "[::]:9600": "web-1:9600", "0.0.0.0:9600": "web-1:9600",
		"[::1]:9600": "[::1]:9600", "no address": "no address",
	} {
		require.Equal(t, want, reachable(address, "web-1"), address)
	}
}

func TestTheInstanceStaysWithItsStateDir(t *testing.T) {
	dir, log := t.TempDir(), &syncBuffer{}
	a := &Agent{cfg: Config{StateDir: dir}, log: slog.New(slog.NewTextHandler(log, nil))}
	first := a.instance()
	require.Regexp(t, instancePattern, first)
	require.Equal(t, first, a.instance(), "after a restart")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "instance"), []byte("damaged"), 0o600))
	second := a.instance()
	require.Regexp(t, instancePattern, second)
	require.NotEqual(t, first, second)
	a.cfg.StateDir = filepath.Join(dir, "not there")
	require.NotEqual(t, a.instance(), a.instance(), "what cannot be kept is new each time")
	require.Contains(t, log.String(), "cannot keep this agent's instance")
}

func TestReportsSayHowFarTheTasksAre(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\nand a ha")
	w.putTask("web", webTask)
	w.putTask("wrong", "topik: x\n")
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	var reports []etcdsource.TaskReport
	w.waitFor("what is left is told", func() bool {
		reports = w.agent.reports()
		return len(reports) == 2 && reports[0].LagBytes == 8 && reports[0].LagSeconds > 0
	})
	web, wrong := reports[0], reports[1]
	require.Equal(t, "web", web.Name)
	require.Equal(t, "running", web.State)
	require.Equal(t, 1, web.Files)
	require.WithinDuration(t, time.Now(), web.OldestUnacked, time.Minute)
	require.Equal(t, "wrong", wrong.Name)
	require.Equal(t, "refused", wrong.State)
	require.True(t, wrong.Refused)
	require.Contains(t, wrong.Error, `wrong.yaml:1: unknown key "topik"; did you mean "topic"?`)
	require.True(t, wrong.OldestUnacked.IsZero())
}

func TestTheDigestChangesWithStatesAndErrorsAlone(t *testing.T) {
	w := newWorld(t, nil)
	digest := func() [2]uint64 {
		all, urgent := w.agent.supervisor.Digest()
		return [2]uint64{all, urgent}
	}
	empty := digest()
	w.putTask("web", webTask)
	w.waitFor("running", func() bool { return w.task("web").State == TaskRunning })
	running := digest()
	require.NotEqual(t, empty, running)
	w.appendLog("web.log", "one\n")
	w.waitFor("the line", func() bool { return w.out.String() == "one\n" })
	require.Equal(t, running, digest(), "progress is no state")
	w.putTask("web", "topik: x\n")
	w.waitFor("refused", func() bool { return w.task("web").Refused })
	refused := digest()
	require.NotEqual(t, running, refused)
	w.putTask("web", "topyk: x\n")
	w.waitFor("another error", func() bool { return digest() != refused })
	w.putTask("web", webTask)
	w.waitFor("as before", func() bool { return digest() == running })
}

func TestTheFleetSeesWhoRunsWhat(t *testing.T) {
	e := etcdtest.Start(t)
	w := newWorld(t, func(cfg *Config, opts *Options) {
		*opts = Options{Version: "v1.2.3"} // no broker listens on port 1
		cfg.Labels = map[string]string{"env": "prod"}
		cfg.Tasks.Etcd = &EtcdConfig{Endpoints: e.Endpoints()}
		cfg.ShutdownTimeout = 100 * time.Millisecond
	})
	store, err := etcdsource.OpenStore(etcdsource.Config{Endpoints: e.Endpoints()}, w.agent.log)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	overview := func() (etcdsource.Fleet, []etcdsource.TaskOverview) {
		fleet, err := store.Fleet(t.Context())
		require.NoError(t, err)
		return fleet, fleet.Overview()
	}
	w.waitFor("registered", func() bool { f, _ := overview(); return len(f.Members) == 1 })
	fleet, _ := overview()
	host, err := os.Hostname()
	require.NoError(t, err)
	own := fleet.Members[0].Agent
	require.Equal(t, etcdsource.Agent{
		ID: "host-1", Host: host, Version: "v1.2.3", Labels: map[string]string{"env": "prod"}, Started: own.Started, HTTP: w.agent.Addr().String(),
		Revision: own.Revision, Instance: own.Instance, Process: own.Process,
	}, own)
	require.WithinDuration(t, time.Now(), own.Started, time.Minute)

	const text = "paths: [/var/log/logferry-no-such-file]\ntopic: x\n"
	states := func(want map[string]string) {
		t.Helper()
		w.waitFor("the states", func() bool {
			_, tasks := overview()
			got := map[string]string{}
			for _, o := range tasks {
				for _, on := range o.On {
					got[o.Name] = on.State
				}
			}
			return maps.Equal(got, want)
		})
	}
	e.Put(t, "/logferry/tasks/mine", text+"select: {labels: {env: prod}}\n")
	e.Put(t, "/logferry/tasks/other", text+"select: {labels: {env: test}}\n")
	e.Put(t, "/logferry/tasks/lost", text+"cluster: nowhere\n")
	e.Put(t, "/logferry/tasks/pause", text+"paused: true\n")
	states(map[string]string{"mine": "failing", "lost": "failing", "pause": "stopped"})
	_, body := w.get("/api/v1/tasks")
	require.Contains(t, body, `"for_other_agents": 1`)

	last := e.Put(t, "/logferry/tasks/mine", text+"select: {labels: {env: [prod, test]}}\n")
	w.waitFor("the newest revision", func() bool {
		_, tasks := overview()
		return tasks[1].Name == "mine" && len(tasks[1].On) == 1 && tasks[1].On[0].Revision == last
	})
	e.Put(t, "/logferry/tasks/mine", text+"select: {ids: [nobody]}\n")
	states(map[string]string{"lost": "failing", "pause": "stopped"})
	e.Put(t, "/logferry/tasks/lost", "paths: [/etc/passwd]\ntopic: x\n")
	states(map[string]string{"lost": "refused", "pause": "stopped"})

	shows := func(metric string) func() bool {
		return func() bool { _, body := w.get("/metrics"); return strings.Contains(body, metric+"\n") }
	}
	require.True(t, shows("logferry_rollout_leader 0")())
	e.Put(t, "/logferry/tasks/mine", text+"rollout: {waves: [1, all], pause: 1h, timeout: 1h}\n")
	w.waitFor("a rollout", shows(`logferry_rollout_wave{phase="rolling",task="mine"} 1`))
	w.waitFor("this agent moves it on", shows("logferry_rollout_leader 1"))
	e.Put(t, "/logferry/tasks/mine", text+"select: {ids: [nobody]}\n")
	w.waitFor("nothing is under way", shows("logferry_rollout_leader 0"))
	_, body = w.get("/metrics")
	require.NotContains(t, body, "logferry_rollout_wave{")

	code, body := w.get("/api/v1/agent")
	require.Equal(t, http.StatusOK, code)
	var view agentView
	require.NoError(t, json.Unmarshal([]byte(body), &view))
	require.True(t, view.Registration.Registered)
	require.True(t, view.Etcd.Connected)
	require.Equal(t, 2, view.Etcd.Others)
	w.close()
	fleet, _ = overview()
	require.Empty(t, fleet.Members, "a stopped agent takes its keys away")
}
