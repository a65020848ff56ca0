package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
)

func TestRunsWithAConfigurationFileAndReloadsLocalTasksOnSIGHUP(t *testing.T) {
	k := kafkatest.Shared(t)
	dir := t.TempDir()
	first, second := k.NewTopic(t, 1), k.NewTopic(t, 1)
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("agent.yaml", fmt.Sprintf(`
state_dir: %s/state
http:
  listen: 127.0.0.1:0
kafka:
  brokers: [%s]
  acks: 1
  compression: zstd
tasks:
  files: [tasks.d/*.yaml]
`, dir, k.Brokers()[0]))
	task := func(topic string) string {
		return fmt.Sprintf("paths: [%s/logs/*.log]\nexclude: [\"*debug*\"]\ntopic: %s\nstart: end\n", dir, topic)
	}
	write("tasks.d/web.yaml", task(first))
	write("logs/web.log", "before the first look\n")
	write("logs/web-debug.log", "excluded\n")

	agent := agenttest.Start(t, "--config", filepath.Join(dir, "agent.yaml"))
	agenttest.Eventually(t, "the file is found", agenttest.Patience, func() bool { return len(agent.Files("web")) == 1 })
	appendLine(t, filepath.Join(dir, "logs", "web.log"), "one")
	appendLine(t, filepath.Join(dir, "logs", "web-debug.log"), "excluded")
	k.WaitCount(t, first, 1, agenttest.Patience)
	appendLine(t, filepath.Join(dir, "logs", "later.log"), "of a file that appeared later")
	k.WaitCount(t, first, 2, agenttest.Patience)
	require.Equal(t, []string{"one", "of a file that appeared later"}, values(t, k, first))

	write("tasks.d/web.yaml", task(second))
	agent.Signal(syscall.SIGHUP)
	agenttest.Eventually(t, "the edited task runs", agenttest.Patience, func() bool {
		st := agent.Tasks()["web"]
		return st.State == "running" && st.Task.Topic == second
	})
	appendLine(t, filepath.Join(dir, "logs", "web.log"), "two")
	k.WaitCount(t, second, 1, agenttest.Patience)
	require.Equal(t, []string{"two"}, values(t, k, second))
	agent.Terminate()
}
