package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// writeUntil writes a few lines every few milliseconds until it is told to stop.
func writeUntil(w *agenttest.LogWriter) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 1; ; i++ {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			w.Write(20)
			if i%200 == 0 {
				w.Rename()
			}
		}
	}()
	return func() { close(end); <-ended }
}

func report(t testing.TB, k *kafkatest.Cluster, w *agenttest.LogWriter, topic string) verify.Report {
	t.Helper()
	c := verify.New()
	c.Expect(1, 0, w.Next)
	k.Each(t, topic, func(r kafkaread.Record) { c.Add(r.Partition, r.Offset, r.Value) })
	return c.Report()
}

func awaitState(t testing.TB, agent *agenttest.Process, name, state string) {
	t.Helper()
	agenttest.Eventually(t, name+" is "+state, agenttest.Patience, func() bool { return agent.Tasks()[name].State == state })
}

func TestARenamedTaskLosesAndDoublesNothingWhileItsFilesAreWritten(t *testing.T) {
	k, etcd, dir := kafkatest.Shared(t), etcdtest.Start(t), t.TempDir()
	topic := k.NewTopic(t, 1)
	w := agenttest.NewLogWriter(t, filepath.Join(dir, "logs", "app.log"), 1)
	text := func(from string) string {
		if from != "" {
			from = fmt.Sprintf(`,"from":%q`, from)
		}
		return fmt.Sprintf(`{"paths":[%q],"topic":%q%s}`, w.Path, topic, from)
	}
	putTask(t, etcd, "one", text(""))
	agent := agenttest.Start(t, "--config", writeConfig(t, dir, k.Brokers()[0], etcd.Endpoints()))
	stop := writeUntil(w)
	k.WaitCount(t, topic, 1000, agenttest.Patience)

	putTask(t, etcd, "two", text("one")) // waits for one to be removed
	agenttest.Eventually(t, "it says that it waits", agenttest.Patience, func() bool { return strings.Contains(agent.Tasks()["two"].Error, "logferry task rm one") })
	etcd.Delete(t, "/logferry/tasks/one")
	awaitState(t, agent, "two", "running")

	etcd.Delete(t, "/logferry/tasks/two")
	putTask(t, etcd, "three", text("two"))
	awaitState(t, agent, "three", "running")

	_, err := etcd.Client(t).Txn(t.Context()).Then( // both in one revision, and back to a name that was there
		clientv3.OpDelete("/logferry/tasks/three"), clientv3.OpPut("/logferry/tasks/one", text("three"))).Commit()
	require.NoError(t, err)
	awaitState(t, agent, "one", "running")
	stop()
	k.WaitCount(t, topic, int64(w.Next), agenttest.Patience)
	agent.WaitCommitted("one")
	agent.Terminate()
	r := report(t, k, w, topic)
	t.Logf("%d lines: lost %d, doubled %d, out of order %d", w.Next, r.Lost, r.Doubled, r.OutOfOrder)
	require.Zero(t, r.Lost)
	require.Zero(t, r.Doubled)
	require.Zero(t, r.OutOfOrder)
}

func TestAKillWhileATaskIsRenamedLosesNothing(t *testing.T) {
	k := kafkatest.Shared(t)
	for _, step := range []struct {
		name, when string // what is logged then
		waits      bool
		first      bool // the new task comes first
		clean      bool // what was delivered is stored by then
	}{
		{name: "while it waits", when: "it waits", waits: true, first: true},
		{name: "while the old one drains", when: `"task removed"`},
		{name: "when the place is taken", when: "takes the place of another one", clean: true},
		{name: "when it runs", when: `"task started","task":"two"`, first: true, clean: true},
	} {
		t.Run(step.name, func(t *testing.T) {
			etcd, dir := etcdtest.Start(t), t.TempDir()
			topic := k.NewTopic(t, 1)
			w := agenttest.NewLogWriter(t, filepath.Join(dir, "logs", "app.log"), 1)
			config := writeConfig(t, dir, k.Brokers()[0], etcd.Endpoints())
			putTask(t, etcd, "one", fmt.Sprintf(`{"paths":[%q],"topic":%q}`, w.Path, topic))
			agent := agenttest.Start(t, "--config", config)
			stop := writeUntil(w)
			k.WaitCount(t, topic, 1000, agenttest.Patience)
			if step.clean {
				stop()
				agent.WaitCommitted("one")
			}
			put := func() {
				putTask(t, etcd, "two", fmt.Sprintf(`{"paths":[%q],"topic":%q,"from":"one"}`, w.Path, topic))
			}
			if step.first {
				put()
			}
			if !step.waits {
				etcd.Delete(t, "/logferry/tasks/one")
			}
			if !step.first {
				put()
			}
			agenttest.Eventually(t, step.when, agenttest.Patience, func() bool {
				return step.waits && agent.Tasks()["two"].Error != "" || !step.waits && strings.Contains(agent.Log(), step.when)
			})
			agent.Kill()
			etcd.Delete(t, "/logferry/tasks/one")
			if step.clean {
				stop = writeUntil(w)
			}
			agent = agenttest.Start(t, "--config", config)
			awaitState(t, agent, "two", "running")
			agenttest.Eventually(t, "it collects", agenttest.Patience, func() bool { return len(agent.Files("two")) > 0 })
			stop()
			agent.WaitCommitted("two")
			agent.Terminate()
			r := report(t, k, w, topic)
			t.Logf("%d lines: lost %d, doubled %d", w.Next, r.Lost, r.Doubled)
			require.Zero(t, r.Lost)
			if step.clean {
				require.Zero(t, r.Doubled)
			}
		})
	}
}
