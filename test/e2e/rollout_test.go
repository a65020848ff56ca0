package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/rollout"
	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// fleet is three agents that collect one log each for itself, so that every
// line arrives three times, with the agent's id as its key. The first one is
// the canary.
type fleet struct {
	t      *testing.T
	etcd   *etcdtest.Cluster
	kafka  *kafkatest.Cluster
	agents map[string]*agenttest.Process
	log    *agenttest.LogWriter
	stop   func() // ends the writing
}

const canary = "host-0"

// startFleet starts the agents, which wait for acknowledgements for as long as
// drain when a task changes.
func startFleet(t *testing.T, drain time.Duration) *fleet {
	t.Helper()
	f := &fleet{
		t: t, etcd: etcdtest.Start(t, etcdtest.WithMembers(3)), kafka: kafkatest.Shared(t), agents: map[string]*agenttest.Process{},
	}
	dir := t.TempDir()
	f.log = agenttest.NewLogWriter(t, filepath.Join(dir, "logs", "web.log"), 1)
	for i, ring := range []string{"canary", "main", "main"} {
		id := fmt.Sprintf("host-%d", i)
		config := filepath.Join(dir, id+".yaml")
		require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
id: %s
labels: {ring: %s}
state_dir: %s
shutdown_timeout: %s
allow_paths: [%s]
http: {listen: 127.0.0.1:0}
kafka:
  brokers: [%s]
clusters:
  elsewhere: {brokers: ["127.0.0.1:1"]}
tasks:
  etcd: {endpoints: ["%s"]}
`, id, ring, filepath.Join(dir, id), drain, filepath.Join(dir, "logs", "**"), f.kafka.Brokers()[0], strings.Join(f.etcd.Endpoints(), `", "`)), 0o600))
		f.agents[id] = agenttest.Start(t, "--config", config)
	}
	return f
}

// write appends lines until finish is called.
func (f *fleet) write() {
	quit, written := make(chan struct{}), make(chan struct{})
	f.stop = sync.OnceFunc(func() {
		close(quit)
		<-written
	})
	f.t.Cleanup(f.stop)
	go func() {
		defer close(written)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				f.log.Write(20)
			}
		}
	}()
}

func (f *fleet) put(topic, more string) {
	f.t.Helper()
	putTask(f.t, f.etcd, "web", fmt.Sprintf("paths: [%q]\ntopic: %s\nkey: host\n%s", f.log.Path, topic, more))
}

// all waits until the task is so on every agent.
func (f *fleet) all(what string, ok func(id string, task agenttest.Task) bool) {
	f.t.Helper()
	for id, a := range f.agents {
		agenttest.Eventually(f.t, what+" on "+id, agenttest.Patience, func() bool { return ok(id, a.Tasks()["web"]) })
	}
}

func (f *fleet) wentBack() (st rollout.State) {
	f.t.Helper()
	agenttest.Eventually(f.t, "the change goes back", agenttest.Patience, func() bool {
		value := f.etcd.Get(f.t, "/logferry/rollouts/web")["/logferry/rollouts/web"]
		return json.Unmarshal([]byte(value), &st) == nil && st.Phase == rollout.Back
	})
	return st
}

// finish stops writing, waits until all is delivered, and checks that each
// agent delivered each line once to one of the topics.
func (f *fleet) finish(topics ...string) {
	f.t.Helper()
	f.stop()
	checkers := map[string]*verify.Checker{}
	for id, a := range f.agents {
		a.WaitCommitted("web")
		a.Terminate()
		checkers[id] = verify.New()
		checkers[id].Expect(1, 0, f.log.Next)
	}
	for i, topic := range topics {
		f.kafka.Each(f.t, topic, func(r kafkaread.Record) {
			checkers[string(r.Key)].Add(int32(i)*100+r.Partition, r.Offset, r.Value)
		})
	}
	for id, c := range checkers {
		require.NoError(f.t, c.Report().Err(0), id)
	}
}

func TestACanaryThatCannotReachItsClusterGoesBackAndLosesAndDoublesNothing(t *testing.T) {
	f := startFleet(t, 2*time.Second)
	topic := f.kafka.NewTopic(t, 1)
	f.put(topic, "")
	f.write()
	f.all("it runs", func(_ string, task agenttest.Task) bool { return task.State == "running" })
	started := map[string]time.Time{}
	for id, a := range f.agents {
		started[id] = a.Tasks()["web"].Started
	}

	f.put(topic, "cluster: elsewhere\nrollout: {waves: [ring=canary, all], pause: 10m, timeout: 3s, max_lag: 1s}\n")
	agenttest.Eventually(t, "the canary has it", agenttest.Patience, func() bool { return f.agents[canary].Tasks()["web"].Task.Cluster == "elsewhere" })
	st := f.wentBack()
	require.Equal(t, 1, st.Wave)
	require.Equal(t, canary, st.Agent)
	require.Regexp(t, "^(failing: .*127.0.0.1:1|its lag grows)", st.Reason)
	f.all("the good version runs", func(_ string, task agenttest.Task) bool { return task.State == "running" && task.Task.Cluster == "" })
	for id, a := range f.agents {
		if id != canary {
			require.Equal(t, started[id], a.Tasks()["web"].Started, "the others never noticed")
		}
	}
	f.finish(topic)
}

func TestACanaryThatSetsRecordsAsideGoesBackAndLosesAndDoublesNothing(t *testing.T) {
	f := startFleet(t, time.Minute)
	topic, narrow, dead := f.kafka.NewTopic(t, 1), kafkatest.TopicName(t)+"-narrow", f.kafka.NewTopic(t, 1)
	f.kafka.CreateTopic(t, narrow, 1, 1, map[string]string{"max.message.bytes": "100"})
	f.put(topic, "")
	f.write()
	f.all("it runs", func(_ string, task agenttest.Task) bool { return task.State == "running" })

	f.put(narrow, fmt.Sprintf("dead_letter: {topic: %s}\nrollout: {waves: [ring=canary, all], pause: 10m}\n", dead))
	st := f.wentBack()
	require.Equal(t, 1, st.Wave)
	require.Equal(t, canary, st.Agent)
	require.Contains(t, st.Reason, "dead letters")
	f.all("the good version runs", func(_ string, task agenttest.Task) bool { return task.State == "running" && task.Task.Topic == topic })
	for id, a := range f.agents {
		if id != canary {
			require.Zero(t, a.Metric("logferry_dead_letters_total"), id)
		}
	}
	f.finish(topic, narrow, dead)
	require.NotZero(t, f.kafka.Count(t, dead))
}

func TestACanaryThatFallsBehindGoesBackAndLosesAndDoublesNothing(t *testing.T) {
	f := startFleet(t, time.Minute)
	topic := f.kafka.NewTopic(t, 1)
	f.put(topic, "")
	f.write()
	f.all("it runs", func(_ string, task agenttest.Task) bool { return task.State == "running" })
	before := f.agents[canary].Tasks()["web"].Started

	f.put(topic, "keep_cr: true\nrollout: {waves: [ring=canary, all], pause: 10m, timeout: 3s, max_lag: 2s}\n")
	agenttest.Eventually(t, "the canary has it", agenttest.Patience, func() bool { return f.agents[canary].Tasks()["web"].Started.After(before) })
	f.kafka.LimitProducers(t, 100_000) // less than what comes, for all of them
	st := f.wentBack()
	f.kafka.LimitProducers(t, 0)
	require.Equal(t, 1, st.Wave)
	require.Equal(t, canary, st.Agent)
	require.Equal(t, "its lag grows", st.Reason)
	f.all("the good version runs", func(_ string, task agenttest.Task) bool { return task.State == "running" })
	f.finish(topic)
}
