package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
)

func writeConfig(t testing.TB, dir, brokers string, endpoints []string) string {
	t.Helper()
	path := filepath.Join(dir, "agent.yaml")
	quoted := ""
	for i, e := range endpoints {
		if i > 0 {
			quoted += ", "
		}
		quoted += fmt.Sprintf("%q", e)
	}
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `
id: host-1
state_dir: %s/state
allow_paths: [%s/logs/**]
http: {listen: 127.0.0.1:0}
kafka:
  brokers: [%s]
  acks: all
  compression: lz4
tasks:
  etcd: {endpoints: [%s], prefix: /logferry}
`, dir, dir, brokers, quoted), 0o600))
	return path
}

func putTask(t testing.TB, etcd *etcdtest.Cluster, name, value string) {
	t.Helper()
	etcd.Put(t, "/logferry/tasks/"+name, value)
}

func appendLine(t testing.TB, path, line string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = fmt.Fprintln(f, line)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func values(t testing.TB, k *kafkatest.Cluster, topic string) []string {
	t.Helper()
	var out []string
	for _, r := range k.ReadAll(t, topic) {
		out = append(out, string(r.Value))
	}
	return out
}

// started maps each file of a task to the moment its tailer began.
func started(p *agenttest.Process, task string) map[string]string {
	out := map[string]string{}
	for _, f := range p.Files(task) {
		out[f.Path] = f.Started.String()
	}
	return out
}

func TestTasksAreHotReloadedFromEtcd(t *testing.T) {
	k := kafkatest.Shared(t)
	etcd := etcdtest.Start(t)
	dir := t.TempDir()
	a, b, c := k.NewTopic(t, 1), k.NewTopic(t, 1), k.NewTopic(t, 1)
	logs := filepath.Join(dir, "logs")
	steady, edited := filepath.Join(logs, "steady.log"), filepath.Join(logs, "edited.log")
	appendLine(t, steady, "steady 1")
	appendLine(t, edited, "edited 1")
	task := func(path, topic string) string { return fmt.Sprintf(`{"paths":[%q],"topic":%q}`, path, topic) }
	putTask(t, etcd, "steady", task(steady, a))

	config := writeConfig(t, dir, k.Brokers()[0], etcd.Endpoints())
	agent := agenttest.Start(t, "--config", config)
	k.WaitCount(t, a, 1, agenttest.Patience)
	before := started(agent, "steady")
	beforeTask := agent.Tasks()["steady"].Started

	// put
	putTask(t, etcd, "edited", task(edited, b))
	k.WaitCount(t, b, 1, agenttest.Patience)

	// edit: it goes on at the committed offset, in the other topic
	putTask(t, etcd, "edited", task(edited, c))
	agenttest.Eventually(t, "the edited task runs with its new topic", agenttest.Patience, func() bool {
		st := agent.Tasks()["edited"]
		return st.State == "running" && st.Task.Topic == c
	})
	appendLine(t, edited, "edited 2")
	k.WaitCount(t, c, 1, agenttest.Patience)
	require.Equal(t, []string{"edited 2"}, values(t, k, c))
	require.Equal(t, []string{"edited 1"}, values(t, k, b))

	// a bad edit is refused with its reason, and the last good version runs
	putTask(t, etcd, "edited", `{"paths":["/etc/passwd"],"topic":"x"}`)
	agenttest.Eventually(t, "the bad edit is refused", agenttest.Patience, func() bool { return agent.Tasks()["edited"].Refused })
	require.Contains(t, agent.Tasks()["edited"].Error, "allow_paths")
	require.Zero(t, agent.Metric("logferry_config_last_reload_successful"))
	appendLine(t, edited, "edited 3")
	k.WaitCount(t, c, 2, agenttest.Patience)
	putTask(t, etcd, "edited", task(edited, c))
	agenttest.Eventually(t, "the task is taken again", agenttest.Patience, func() bool { return !agent.Tasks()["edited"].Refused })

	// delete
	etcd.Delete(t, "/logferry/tasks/edited")
	agenttest.Eventually(t, "the deleted task is gone", agenttest.Patience, func() bool { _, ok := agent.Tasks()["edited"]; return !ok })

	// etcd stopped: shipping goes on; a change made meanwhile is picked up
	etcd.Stop(t, 0)
	appendLine(t, steady, "steady 2")
	k.WaitCount(t, a, 2, agenttest.Patience)
	agenttest.Eventually(t, "the lost etcd is seen", agenttest.Patience, func() bool { return agent.Metric("logferry_etcd_connected") == 0 })
	appendLine(t, steady, "steady 3")
	k.WaitCount(t, a, 3, agenttest.Patience)
	etcd.Restart(t, 0)
	putTask(t, etcd, "edited", task(edited, b))
	agenttest.Eventually(t, "the change is picked up", agenttest.Patience, func() bool { return agent.Tasks()["edited"].State == "running" })
	agenttest.Eventually(t, "etcd is seen again", agenttest.Patience, func() bool { return agent.Metric("logferry_etcd_connected") == 1 })

	// the other task was never touched
	require.Equal(t, before, started(agent, "steady"))
	require.Equal(t, beforeTask, agent.Tasks()["steady"].Started)
	agent.Terminate()

	// started with etcd down, the agent ships from its cache
	etcd.Stop(t, 0)
	agent = agenttest.Start(t, "--config", config)
	appendLine(t, steady, "steady 4")
	k.WaitCount(t, a, 4, agenttest.Patience)
	require.Equal(t, []string{"steady 1", "steady 2", "steady 3", "steady 4"}, values(t, k, a))
	agent.Terminate()
	etcd.Restart(t, 0)
}
