package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/test/etcdtest"
)

// soon is when people who put a task are to see what is wrong with it.
const soon = 2 * time.Second

func TestATaskThatCannotWorkSaysSoInStatusAndTheLastGoodVersionShips(t *testing.T) {
	const refused, failing = "refused", "failing"
	for name, c := range map[string]struct {
		text  string // instead of the good one; LOGS is a directory that tasks may read
		state string
		says  string
		stops bool // the last good version does not go on: the new one is valid, and reads other paths
	}{
		"excluded":  {"paths: [\"LOGS/NAME/*.log\"]\nexclude: [\"*\"]\ntopic: NAME\n", refused, `line 2: exclude: leaves out all that paths match, so nothing would be collected; narrow it, or add a path`, false},
		"outside":   {"paths: [/etc/passwd]\ntopic: NAME\n", refused, `line 1: paths[0]: "/etc/passwd" reaches outside of allow_paths`, false},
		"climbs":    {"paths: [\"LOGS/../*.log\"]\ntopic: NAME\n", refused, `line 1: paths[0]: `, false},
		"glob":      {"paths: [\"LOGS/[.log\"]\ntopic: NAME\n", refused, `is not a valid glob; close its brackets and braces`, false},
		"pattern":   {"paths: [\"LOGS/NAME/*.log\"]\ntopic: NAME\nfilter: {exclude: [\"(\"]}\n", refused, `line 3: filter.exclude[0]: `, false},
		"key":       {"paths: [\"LOGS/NAME/*.log\"]\ntopik: NAME\n", refused, `line 2: unknown key "topik"; did you mean "topic"?`, false},
		"type":      {"paths: [\"LOGS/NAME/*.log\"]\ntopic: NAME\npartition: many\n", refused, `line 3: `, false},
		"cluster":   {"paths: [\"LOGS/NAME/*.log\"]\ntopic: NAME\ncluster: nowhere\n", failing, `; start `, false},
		"unknown":   {"paths: [\"LOGS/NAME/*.log\"]\ntopic: NAME\ncluster: unheard\n", failing, `cluster "unheard" is not configured on this agent; add it under clusters in agent.yaml, or correct the task`, false},
		"directory": {"paths: [LOGS/NAME]\ntopic: NAME\n", failing, `nothing is collected, the only path that matches cannot be: LOGS/NAME: it is a directory; a pattern that ends in /** or /*.log collects what is in it`, true},
		"link":      {"paths: [\"LOGS/NAME/*.link\"]\ntopic: NAME\n", failing, `is outside of allow_paths`, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTroubled(t, name)
			text := func(s string) string { return strings.NewReplacer("LOGS", w.logs, "NAME", name).Replace(s) }
			good := text("paths: [\"LOGS/NAME/*.log\"]\ntopic: NAME\n")
			log := filepath.Join(w.logs, name, "a.log")
			require.NoError(t, os.Symlink(w.outside, filepath.Join(w.logs, name, "a.link")))

			w.etcd.Put(t, "/logferry/tasks/"+name, good)
			appendTo(t, log, "one\n")
			require.Equal(t, []string{"one"}, read(t, w.brokers, name, 1))
			w.status(t, exitOK, name+" ")

			w.etcd.Put(t, "/logferry/tasks/"+name, text(c.text))
			w.sees(t, name, "an edit", c.state, text(c.says))
			appendTo(t, log, "two\n")
			if !c.stops {
				require.Equal(t, []string{"one", "two"}, read(t, w.brokers, name, 2), "the last good version ships")
			}
			w.etcd.Put(t, "/logferry/tasks/"+name, good)
			w.status(t, exitOK, name+" ")
			require.Equal(t, []string{"one", "two"}, read(t, w.brokers, name, 2))

			w.etcd.Put(t, "/logferry/tasks/fresh", text(c.text))
			w.sees(t, "fresh", "a new task", c.state, text(c.says))
		})
	}
}

// troubled is an agent with an etcd and a Kafka of its own.
type troubled struct {
	etcd          *etcdtest.Cluster
	brokers       []string
	agent         *process
	logs, outside string
}

func newTroubled(t *testing.T, topic string) *troubled {
	t.Helper()
	dir := t.TempDir()
	w := &troubled{etcd: etcdtest.Start(t), brokers: startKafka(t, kfake.SeedTopics(1, topic)), logs: filepath.Join(dir, "logs"), outside: filepath.Join(dir, "outside.log")}
	require.NoError(t, os.MkdirAll(filepath.Join(w.logs, topic), 0o755))
	appendTo(t, w.outside, "not to be read\n")
	config := filepath.Join(dir, "agent.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `id: web-1
state_dir: %s/state
allow_paths: [%s/**]
http: {listen: 127.0.0.1:0}
kafka: {brokers: [%s]}
clusters: {nowhere: {brokers: [127.0.0.1:1]}}
tasks: {etcd: {endpoints: [%s]}}
`, dir, w.logs, strings.Join(w.brokers, ","), w.etcd.Endpoints()[0]), 0o600))
	w.agent = start(t, "run", "--config", config)
	w.agent.awaitLog(t, "registered in etcd")
	return w
}

// sees waits until status says what is wrong with a task. The time is told, and not
// held against a machine that is busy with other tests.
func (w *troubled) sees(t *testing.T, name, what, state, says string) {
	t.Helper()
	took := w.status(t, exitFailed, fmt.Sprintf("%s is %s on web-1: ", name, state), says)
	t.Logf("%s is %s after %s, within %s: %t", what, state, took.Round(time.Millisecond), soon, took <= soon)
}

// status waits until 'logferry status' ends with a code and shows all of these, and
// returns how long that took.
func (w *troubled) status(t *testing.T, want int, shows ...string) time.Duration {
	t.Helper()
	began := time.Now()
	last := ""
	require.Eventually(t, func() bool {
		var stdout, stderr bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &stdout, err: &stderr, getenv: func(string) string { return "" }}
		code := a.execute(t.Context(), []string{"status", "--etcd", w.etcd.Endpoints()[0]})
		last = stdout.String() + stderr.String()
		for _, what := range shows {
			if !strings.Contains(last, what) {
				return false
			}
		}
		return code == want
	}, patience, 20*time.Millisecond, "never shown: %q", shows)
	return time.Since(began)
}
