package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent/etcdsource"
	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
)

func TestAnAgentThatMovesToAnotherGroupKeepsItsPlaces(t *testing.T) {
	k := kafkatest.Shared(t)
	etcd := etcdtest.Start(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "shop.log")
	web, eu, us := k.NewTopic(t, 1), k.NewTopic(t, 1), k.NewTopic(t, 1)
	task := func(topic string) string { return fmt.Sprintf(`{"paths":[%q],"topic":%q}`, path, topic) }
	etcd.Put(t, "/logferry/groups/web/tasks/shop", task(web))
	etcd.Put(t, "/logferry/groups/eu/tasks/shop", task(eu))
	etcd.Put(t, "/logferry/groups/us/tasks/shop", task(us))
	config := writeConfig(t, dir, k.Brokers()[0], etcd.Endpoints())

	t.Setenv("LOGFERRY_ETCD_GROUPS", "web")
	agent := agenttest.Start(t, "--config", config)
	appendLine(t, path, "one")
	k.WaitCount(t, web, 1, agenttest.Patience)
	agenttest.Eventually(t, "the fleet knows of the group", agenttest.Patience, func() bool {
		var r etcdsource.Report
		_ = json.Unmarshal([]byte(etcd.Get(t, "/logferry/status/host-1")["/logferry/status/host-1"]), &r)
		return len(r.Tasks) == 1 && r.Tasks[0].Group == "web" && r.Tasks[0].State == "running"
	})
	agent.Terminate()

	appendLine(t, path, "two")
	t.Setenv("LOGFERRY_ETCD_GROUPS", "eu")
	agent = agenttest.Start(t, "--config", config)
	k.WaitCount(t, eu, 1, agenttest.Patience)
	appendLine(t, path, "three")
	k.WaitCount(t, eu, 2, agenttest.Patience)
	agent.Terminate()

	require.Equal(t, []string{"one"}, values(t, k, web))
	require.Equal(t, []string{"two", "three"}, values(t, k, eu))
	require.Empty(t, values(t, k, us))
}
