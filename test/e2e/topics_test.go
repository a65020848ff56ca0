package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
)

// appLog writes lines for three apps in turn.
type appLog struct {
	t    *testing.T
	path string
	n    int
}

func (l *appLog) write(n int) {
	l.t.Helper()
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(l.t, err)
	var text []byte
	for range n {
		text = fmt.Appendf(text, `{"app":"%c","n":%d}`+"\n", 'a'+l.n%3, l.n)
		l.n++
	}
	_, err = f.Write(text)
	require.NoError(l.t, err)
	require.NoError(l.t, f.Close())
}

// missing is how many of the first n lines of an app are not in its topic, and
// extra how many lines stand there that are not the app's.
func (l *appLog) missing(k *kafkatest.Cluster, topic string, app int, n int) (missing, extra int) {
	l.t.Helper()
	want := map[string]bool{}
	for i := app; i < n; i += 3 {
		want[fmt.Sprintf(`{"app":"%c","n":%d}`, 'a'+app, i)] = false
	}
	for _, v := range values(l.t, k, topic) {
		if _, ok := want[v]; !ok {
			extra++
		}
		want[v] = true
	}
	for _, there := range want {
		if !there {
			missing++
		}
	}
	return missing, extra
}

func TestNothingIsLostByKillsWhileOneOfThreeTopicsTakesNothing(t *testing.T) {
	k := kafkatest.Start(t, kafkatest.WithAuthorizer())
	for _, producer := range []string{"batch", "async"} {
		t.Run(producer, func(t *testing.T) {
			dir := t.TempDir()
			name := kafkatest.TopicName(t)
			topics := []string{name + "-a", name + "-b", name + "-c"}
			for _, topic := range topics {
				k.CreateTopic(t, topic, 2, 1, nil)
			}
			k.AllowReading(t, topics[1])
			k.CreateTopic(t, name+"-other", 1, 1, nil)
			config := filepath.Join(dir, "agent.yaml")
			require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "id: host-1\nstate_dir: %s/state\nhttp: {listen: 127.0.0.1:0}\nkafka: {brokers: [%s], producer: %s}\ntasks: {files: [%s/tasks/*.yaml]}\n",
				dir, k.Brokers()[0], producer, dir), 0o600))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "tasks"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "tasks", "apps.yaml"), fmt.Appendf(nil,
				"paths: [%s/app.log]\ntopic: '%s-{{.fields.app}}'\ntopics_allowed: ['%s-?']\ntopic_fallback: %s-other\nfields: {format: json}\n", dir, name, name, name), 0o600))

			l := &appLog{t: t, path: filepath.Join(dir, "app.log")}
			arrived := func(app, n int) func() bool {
				return func() bool { missing, _ := l.missing(k, topics[app], app, n); return missing == 0 }
			}
			l.write(3000)
			agent := agenttest.Start(t, "--config", config)
			for round := range 2 {
				agenttest.Eventually(t, "the topics that take records have them all", agenttest.Patience, func() bool { return arrived(0, l.n)() && arrived(2, l.n)() })
				for _, f := range agent.Files("apps") {
					require.Zero(t, f.Committed, "no batch is done before its records for the blocked topic are")
				}
				agent.Kill()
				if round == 0 {
					l.write(3000)
					require.NoError(t, os.Rename(l.path, l.path+".1"))
					l.write(3000)
				}
				agent = agenttest.Start(t, "--config", config)
			}
			k.AllowWriting(t, topics[1])
			agenttest.Eventually(t, "the third topic has them too", agenttest.Patience, arrived(1, l.n))
			agent.WaitCommitted("apps")
			agent.Terminate()
			for app, topic := range topics {
				missing, extra := l.missing(k, topic, app, l.n)
				require.Zero(t, missing, topic)
				require.Zero(t, extra, topic)
			}
			require.Empty(t, values(t, k, name+"-other"))
		})
	}
}
