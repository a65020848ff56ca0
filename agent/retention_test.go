package agent

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/agent/task"
	"logferry/collector/checkpoint"
	"logferry/sink/kafka"
)

func TestThePlacesOfATaskThatIsGoneAreForgottenAfterThirtyDays(t *testing.T) {
	store, err := checkpoint.Open(t.TempDir(), time.Hour, checkpoint.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	s := NewSupervisor(task.Identity{ID: "web-1"}, []string{sourceFiles, sourceEtcd}, nil, nil, slog.New(slog.DiscardHandler))
	r := &retention{store: store, present: s.present, log: slog.New(slog.DiscardHandler)}
	for _, name := range []string{"runs", "elsewhere", "refused", "gone", "taken"} {
		store.Put(name, checkpoint.FileID{Ino: 1}, checkpoint.State{Path: "/a.log", Offset: 7})
	}
	require.NoError(t, store.Sync())
	begin := time.Now()
	left := func(after time.Duration) []string {
		t.Helper()
		r.look(begin.Add(after))
		names, err := store.Tasks()
		require.NoError(t, err)
		return names
	}
	const day = 24 * time.Hour
	s.snapshots[sourceFiles] = task.Snapshot{Tasks: []task.Task{{Name: "runs", From: "taken"}}}
	left(0)
	left(100 * day)
	require.Len(t, left(102*day), 5, "one source was not heard yet")

	s.snapshots[sourceEtcd] = task.Snapshot{
		Tasks:   []task.Task{{Name: "elsewhere", Select: &task.Selector{IDs: []string{"db-1"}}}},
		Refused: []task.Refusal{{Name: "refused"}},
	}
	begin = begin.Add(102 * day)
	require.Len(t, left(0), 5)
	require.Len(t, left(29*day), 5)
	require.Len(t, left(31*day), 5, "the clock may be wrong")
	require.Len(t, left(31*day+11*time.Hour), 5)
	require.Equal(t, []string{"refused", "runs", "taken"}, left(31*day+13*time.Hour))
}

// TestEachEditGoesOnAtTheCommittedOffset edits one task again and again. Each line
// arrives once, wherever it is sent, and another task is not touched.
func TestEachEditGoesOnAtTheCommittedOffset(t *testing.T) {
	var fakes []*kfake.Cluster
	for range 2 {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "first", "second", "steady"))
		require.NoError(t, err)
		defer fake.Close()
		fakes = append(fakes, fake)
	}
	w := newWorld(t, func(c *Config, o *Options) {
		o.DryRun = nil
		c.Kafka.Brokers = fakes[0].ListenAddrs()
		c.Clusters = map[string]kafka.Config{"east": {Brokers: fakes[1].ListenAddrs()}}
		c.Labels = map[string]string{"env": "prod", "zone": "a"}
	})
	defer w.close()
	w.appendLog("steady.log", "steady\n")
	w.putTask("steady", "paths: [DIR/logs/steady.log]\ntopic: steady\n")
	w.waitFor("the steady one is delivered", func() bool { return w.task("steady").Files == 1 && w.task("steady").LagBytes == 0 })
	steady := w.task("steady")
	file := w.task("steady").collect.Files()[0].Started

	const paths = "paths: [DIR/logs/web.log]\n"
	var held []string
	var started time.Time
	want := map[string][]string{}
	for i, c := range []struct{ edit, topic, text string }{
		{"", "first", paths + "topic: first\n"},
		{"topic", "second", paths + "topic: second\n"},
		{"cluster", "east second", paths + "topic: second\ncluster: east\n"},
		{"filter", "east second", paths + "topic: second\ncluster: east\nfilter: {exclude: [never]}\n"},
		{"labels of the selector", "first", paths + "topic: first\nselect: {labels: {env: prod}}\n"},
		{"labels in headers", "first", paths + "topic: first\nheaders: {zone: '{{.labels.zone}}'}\n"},
		{"a path more", "first", "paths: [DIR/logs/web.log, DIR/logs/more.log]\ntopic: first\n"},
		{"the paths taken out", "", "paths: [DIR/logs/other.log]\ntopic: first\n"},
		{"the paths put back", "first", paths + "topic: first\n"},
		{"the labels of another agent", "", paths + "topic: first\nselect: {labels: {env: test}}\n"},
		{"selected again", "first", paths + "topic: first\n"},
		{"removed", "", ""},
		{"put again", "second", paths + "topic: second\n"},
	} {
		if c.text == "" {
			w.removeTask("web")
			w.gone("web")
		} else {
			w.putTask("web", c.text)
		}
		line := fmt.Sprintf("line %d", i)
		if held = append(held, line); c.topic == "" {
			w.waitFor(c.edit, func() bool {
				st := w.task("web")
				return st.Name == "" || st.State == TaskRunning && strings.Contains(st.Task.Paths[0], "other")
			})
			w.waitFor("what was read before has gone where it belonged", func() bool {
				log := w.log.String()
				return w.task("web").Name != "" || strings.Count(log, `"task stopped" task=web`) == strings.Count(log, `"task started" task=web`)
			})
			w.appendLog("web.log", line+"\n")
			continue
		}
		topic := strings.TrimPrefix(c.topic, "east ")
		w.waitFor(c.edit, func() bool {
			st := w.task("web")
			return st.State == TaskRunning && st.Task.Topic == topic && st.Started != started
		})
		started = w.task("web").Started
		w.appendLog("web.log", line+"\n")
		want[c.topic], held = append(want[c.topic], held...), nil
		fake := fakes[0]
		if topic != c.topic {
			fake = fakes[1]
		}
		got := arrived(t, fake.ListenAddrs(), topic, len(want[c.topic]))
		for i := range got {
			_, got[i], _ = strings.Cut(got[i], "] ")
		}
		require.Equal(t, want[c.topic], got, c.edit) // a line that is sent again would come before the new one
		w.waitFor("it is committed", func() bool { return w.task("web").LagBytes == 0 })
	}
	require.Equal(t, steady.Started, w.task("steady").Started)
	require.Equal(t, file, w.task("steady").collect.Files()[0].Started)
}
