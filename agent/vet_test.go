package agent

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/sink/kafka"
	"logferry/test/ports"
)

func TestATaskGoesToAnotherClusterWhenThatAnswersAndShipsToTheOldOneUntilThen(t *testing.T) {
	here, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "web_log"))
	require.NoError(t, err)
	defer here.Close()
	reserved, err := ports.Reserve(1)
	require.NoError(t, err)
	defer func() { require.NoError(t, reserved.Release()) }()
	port := reserved.Ports[0]
	w := newWorld(t, func(c *Config, o *Options) {
		o.DryRun = nil
		c.Kafka.Brokers, c.ShutdownTimeout = here.ListenAddrs(), 100*time.Millisecond
		c.Clusters = map[string]kafka.Config{"east": {Brokers: []string{fmt.Sprintf("127.0.0.1:%d", port)}}}
	})
	defer w.close()
	w.appendLog("web.log", "one\n")
	w.putTask("web", webTask)
	require.Len(t, arrived(t, here.ListenAddrs(), "web_log", 1), 1)
	started := w.task("web").Started

	w.putTask("web", webTask+"cluster: east\n")
	w.waitFor("it is held", func() bool { return w.task("web").Held })
	st := w.task("web")
	require.Equal(t, TaskFailing, st.State)
	require.Equal(t, "east", st.Task.Cluster)
	require.Equal(t, started, st.Started, "what runs goes on")
	require.Regexp(t, `^cluster "east": no kafka broker answers .*; start its brokers, or correct them under clusters in agent.yaml; the last good version runs on until then$`, st.Error)
	code, _ := w.get("/readyz")
	require.Equal(t, http.StatusOK, code)
	w.appendLog("web.log", "two\n")
	require.Len(t, arrived(t, here.ListenAddrs(), "web_log", 2), 2)

	w.putTask("web", webTask) // taken back
	w.waitFor("it is not held any more", func() bool { return w.task("web").State == TaskRunning })
	require.Equal(t, started, w.task("web").Started, "nothing was restarted")

	w.putTask("web", webTask+"cluster: east\n")
	w.waitFor("it is held again", func() bool { return w.task("web").Held })
	there, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "web_log"))
	require.NoError(t, err)
	defer there.Close()
	w.waitFor("it goes there", func() bool { return w.task("web").State == TaskRunning && w.task("web").Task.Cluster == "east" })
	w.appendLog("web.log", "three\n")
	got := arrived(t, there.ListenAddrs(), "web_log", 1)
	require.Len(t, got, 1)
	require.True(t, strings.HasSuffix(got[0], " three"), got[0])
	require.Equal(t, 1, strings.Count(w.log.String(), "task stopped"))
	require.WithinDuration(t, time.Now(), w.task("web").Started, time.Minute)
}

func TestAHeldVersionThatIsReplacedOrRemovedIsNotWaitedFor(t *testing.T) {
	here, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "web_log", "other"))
	require.NoError(t, err)
	defer here.Close()
	w := newWorld(t, func(c *Config, o *Options) {
		o.DryRun = nil
		c.Kafka.Brokers, c.ShutdownTimeout = here.ListenAddrs(), 100*time.Millisecond
		c.Clusters = map[string]kafka.Config{"east": {Brokers: []string{"127.0.0.1:1"}}}
	})
	defer w.close()
	w.putTask("web", webTask)
	w.runs("web")
	for _, cluster := range []string{"east", "nowhere"} {
		w.putTask("web", webTask+"cluster: "+cluster+"\n")
		w.waitFor("it is held", func() bool { return w.task("web").Held && strings.Contains(w.task("web").Error, `"`+cluster+`"`) })
	}
	w.putTask("web", "paths: [DIR/logs/web.log]\ntopic: other\n")
	w.waitFor("another one runs", func() bool { st := w.task("web"); return st.State == TaskRunning && st.Task.Topic == "other" })
	w.putTask("web", webTask+"cluster: east\n")
	w.waitFor("it is held", func() bool { return w.task("web").Held })
	w.putTask("web", webTask+"cluster: east\npaused: true\n")
	w.waitFor("it is paused", func() bool { return w.task("web").State == TaskStopped })
	w.putTask("web", webTask+"cluster: east\n") // with nothing that runs it is tried
	w.appendLog("web.log", "one\n")
	w.waitFor("it fails by itself", func() bool { st := w.task("web"); return st.State == TaskFailing && !st.Held })
	w.removeTask("web")
	w.gone("web")
}
