package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// mainTask collects every log of the world; marker has no files and shows
// which edits have reached the agent.
const (
	mainTask = "app"
	marker   = "marker"
)

// etcdWorld is a world whose tasks come from etcd.
type etcdWorld struct {
	*world
	etcd *etcdtest.Cluster
	via  []string // endpoints that the agent is told; default: all members
}

func withEtcd(w *world, opts ...etcdtest.Option) *etcdWorld {
	w.Helper()
	w.shared()
	w.topic = w.kafka.NewTopic(w.T, 3)
	w.Setenv("LOGFERRY_ALLOW_PATHS", w.path("**"))
	e := &etcdWorld{world: w, etcd: etcdtest.Start(w.T, opts...)}
	e.via = e.etcd.Endpoints()
	e.edit(w.topic, "")
	return e
}

func key(name string) string { return "/logferry/tasks/" + name }

// edit writes the main task with more lines of YAML.
func (e *etcdWorld) edit(topic, more string) {
	e.Helper()
	e.etcd.Put(e.T, key(mainTask), fmt.Sprintf("paths: [%q]\ntopic: %s\n%s", e.path("*.log"), topic, more))
}

// none is a glob without matches, the i-th.
func (e *etcdWorld) none(i int) string { return e.path(fmt.Sprintf("none-%d", i), "*.log") }

func (e *etcdWorld) idle(i int) string {
	return fmt.Sprintf("paths: [%q]\ntopic: %s\n", e.none(i), e.topic)
}

// mark writes the i-th version of the marker.
func (e *etcdWorld) mark(i int) {
	e.Helper()
	e.etcd.Put(e.T, key(marker), e.idle(i))
}

// marked waits until the i-th version of the marker runs.
func (e *etcdWorld) marked(i int) {
	e.Helper()
	agenttest.Eventually(e.T, "the marker is taken", agenttest.Patience, func() bool { return e.runs(marker, e.none(i)) })
}

func (e *etcdWorld) runs(name, path string) bool {
	st := e.agent.Tasks()[name]
	return st.State == "running" && len(st.Task.Paths) == 1 && st.Task.Paths[0] == path
}

// ship starts the agent and waits until it collects.
func (e *etcdWorld) ship() {
	e.Helper()
	e.agent = agenttest.Start(e.T, "--etcd", strings.Join(e.via, ","),
		"--brokers", strings.Join(e.kafka.Brokers(), ","), "--state-dir", e.stateDir())
	e.collects()
}

// collects waits until every log is found by the main task.
func (e *etcdWorld) collects() {
	e.Helper()
	agenttest.Eventually(e.T, "the logs are found", agenttest.Patience, func() bool { return len(e.agent.Files(mainTask)) >= len(e.logs) })
}

func (e *etcdWorld) connected(want bool) {
	e.Helper()
	agenttest.Eventually(e.T, fmt.Sprintf("etcd is connected: %v", want), agenttest.Patience, func() bool {
		return (e.agent.Metric("logferry_etcd_connected") == 1) == want
	})
}

// started is when the main task's running version was started.
func (e *etcdWorld) started() time.Time { return e.agent.Tasks()[mainTask].Started }

// sum concludes a scenario whose lines went to several topics.
func (e *etcdWorld) sum(topics ...string) {
	e.Helper()
	report := func() verify.Report {
		c := e.checker()
		for i, topic := range topics {
			e.kafka.Each(e.T, topic, func(r kafkaread.Record) { c.Add(int32(100*i)+r.Partition, r.Offset, r.Value) })
		}
		return c.Report()
	}
	agenttest.Eventually(e.T, "every line is in one of the topics", agenttest.Patience, func() bool { return report().Complete() })
	e.row.recovery = time.Since(e.healed)
	e.stop()
	rep := report()
	e.row = row{
		written: uint64(rep.Expected), arrived: rep.Delivered, lost: rep.Lost, garbled: rep.Garbled,
		doubled: rep.Doubled, outOfOrder: rep.OutOfOrder, recovery: e.row.recovery,
	}
	e.logs = nil // nothing is left to conclude
	require.NoError(e, rep.Err(0))
}

var etcdScenarios = slices.Concat(sourceScenarios, loginScenarios, leaseScenarios)

// sourceScenarios are about the tasks that the agent takes from etcd.
var sourceScenarios = []scenario{
	{"etcd-members-stopped-in-turn", false, func(w *world) {
		e := withEtcd(w, etcdtest.WithMembers(3))
		l := w.log("app.log")
		e.ship()
		begun := e.started()
		written := writeSteadily(l, 60_000)
		for member := range 3 {
			e.etcd.Stop(w.T, member)
			e.mark(member)
			e.marked(member)
			e.etcd.Restart(w.T, member)
		}
		<-written.done
		require.Equal(w, begun, e.started(), "the task that nobody edited was never touched")
	}},
	{"etcd-leader-lost", false, func(w *world) {
		e := withEtcd(w, etcdtest.WithMembers(3))
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		leader := -1
		client := e.etcd.Client(w.T)
		for i, endpoint := range e.etcd.Endpoints() {
			st, err := client.Status(w.Context(), endpoint)
			require.NoError(w, err)
			if st.Leader == st.Header.MemberId {
				leader = i
			}
		}
		written := writeSteadily(l, 40_000)
		e.etcd.Stop(w.T, leader)
		w.heal()
		e.mark(1)
		e.marked(1)
		<-written.done
		e.etcd.Restart(w.T, leader)
	}},
	{"etcd-compacted-while-disconnected", false, func(w *world) {
		e := withEtcd(w)
		r := newRelay(w.T, e.etcd.Endpoints()[0])
		e.via = []string{r.address()}
		l := w.log("app.log")
		e.etcd.Put(w.T, key("gone"), e.idle(0))
		e.ship()
		e.connected(true)
		r.cut()
		e.connected(false)
		written := writeSteadily(l, 20_000)
		for i := range 20 {
			e.mark(i)
		}
		e.etcd.Delete(w.T, key("gone"))
		e.etcd.Compact(w.T)
		r.mend()
		w.heal()
		e.marked(19)
		require.NotContains(w, e.agent.Tasks(), "gone")
		<-written.done
	}},
	{"etcd-all-members-down", false, func(w *world) {
		e := withEtcd(w, etcdtest.WithMembers(3))
		l := w.log("app.log")
		e.ship()
		begun := e.started()
		l.Write(2000)
		for member := range 3 {
			e.etcd.Stop(w.T, member)
		}
		e.connected(false)
		for range 20 {
			l.Write(500)
			w.rename(l)
		}
		w.log("born-meanwhile.log").Write(1000)
		w.arrived() // etcd is still down
		w.heal()
		e.etcd.Restart(w.T, 0, 1, 2)
		e.mark(1)
		e.marked(1)
		require.Equal(w, begun, e.started())
		l.Write(500)
	}},
	{"etcd-garbage-at-task-keys", true, func(w *world) {
		e := withEtcd(w)
		l := w.log("app.log")
		e.ship()
		begun := e.started()
		written := writeSteadily(l, 20_000)
		for i, value := range []string{
			"", "\x00\x01\xff\xfe", "{", "paths: [", "null", "[]", "42", "topic: x", "paths: [/etc/*]\ntopic: x\n",
			"&a [*a]", strings.Repeat("[", 5000), strings.Repeat("x", 1<<20), "paths: 7\ntopic: {}\n",
		} {
			e.etcd.Put(w.T, key(mainTask), value)
			e.etcd.Put(w.T, key(fmt.Sprintf("garbage-%d", i)), value)
			e.etcd.Put(w.T, key(fmt.Sprintf("b\xffd/%d", i)), value)
			e.mark(i)
			e.marked(i)
			tasks := e.agent.Tasks()
			require.True(w, tasks[mainTask].Refused, "%.20q", value)
			require.NotEmpty(w, tasks[mainTask].Error)
			require.Equal(w, "running", tasks[mainTask].State)
			require.Equal(w, "refused", tasks[fmt.Sprintf("garbage-%d", i)].State)
		}
		require.Equal(w, begun, e.started(), "the last good version was never touched")
		e.edit(w.topic, "")
		agenttest.Eventually(w.T, "the good value is taken", agenttest.Patience, func() bool { return !e.agent.Tasks()[mainTask].Refused })
		<-written.done
	}},
	{"etcd-thousand-edits", false, func(w *world) {
		e := withEtcd(w)
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		written := writeSteadily(l, 40_000)
		client := e.etcd.Client(w.T)
		want := map[string]string{}
		for i := range 1000 {
			name := fmt.Sprintf("t%d", i%20)
			var err error
			switch {
			case i%7 == 6:
				_, err = client.Delete(w.Context(), key(name))
				delete(want, name)
			case i%50 == 49:
				e.edit(w.topic, fmt.Sprintf("close_inactive: %ds\n", 60+i))
			default:
				_, err = client.Put(w.Context(), key(name), e.idle(i))
				want[name] = e.none(i)
			}
			require.NoError(w, err)
		}
		w.heal()
		agenttest.Eventually(w.T, "the newest version of each task runs", agenttest.Patience, func() bool {
			for name, path := range want {
				if !e.runs(name, path) {
					return false
				}
			}
			return len(e.agent.Tasks()) == len(want)+1
		})
		<-written.done
	}},
	{"etcd-watch-stuck", false, func(w *world) {
		e := withEtcd(w)
		r := newRelay(w.T, e.etcd.Endpoints()[0])
		e.via = []string{r.address()}
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		e.mark(1)
		e.marked(1)
		r.stall() // the connection stays open, and nothing comes through it
		w.heal()
		l.Write(1000)
		e.mark(2)
		w.arrived()
		e.marked(2)
	}},
	{"etcd-down-at-restart", false, func(w *world) {
		e := withEtcd(w)
		l := w.log("app.log")
		e.ship()
		l.Write(5000)
		w.arrived()
		w.stop()
		e.etcd.Stop(w.T, 0)
		l.Write(5000)
		w.rename(l)
		l.Write(5000)
		e.ship() // from what it remembers
		w.arrived()
		e.connected(false)
		e.etcd.Restart(w.T, 0)
		w.heal()
		e.mark(1)
		e.marked(1)
		l.Write(1000)
	}},
	{"etcd-edit-under-load", true, func(w *world) {
		e := withEtcd(w)
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		written := writeSteadily(l, 30_000)
		for i := range 8 {
			begun := e.started()
			written.reach(w, uint64(i+1)*3_000)
			e.edit(w.topic, fmt.Sprintf("close_inactive: %ds\n", 60+i))
			agenttest.Eventually(w.T, "the edit runs", agenttest.Patience, func() bool { return e.started().After(begun) })
		}
		w.heal()
		<-written.done
	}},
	{"etcd-task-removed-and-put-back", false, func(w *world) {
		e := withEtcd(w)
		l := w.log("app.log")
		e.ship()
		for range 3 {
			l.Write(5000)
			e.etcd.Delete(w.T, key(mainTask))
			agenttest.Eventually(w.T, "the task is gone", agenttest.Patience, func() bool {
				_, there := e.agent.Tasks()[mainTask]
				return !there
			})
			l.Write(2000)
			w.rename(l)
			l.Write(2000)
			w.heal()
			e.edit(w.topic, "")
			e.collects()
		}
		l.Write(1000)
	}},
	{"etcd-topic-changed-under-load", false, func(w *world) {
		e := withEtcd(w)
		other := w.kafka.NewTopic(w.T, 3)
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		written := writeSteadily(l, 40_000)
		for i, topic := range []string{other, w.topic, other} {
			written.reach(w, uint64(i+1)*8_000)
			e.edit(topic, "")
			agenttest.Eventually(w.T, "the edit runs", agenttest.Patience, func() bool {
				st := e.agent.Tasks()[mainTask]
				return st.State == "running" && st.Task.Topic == topic
			})
		}
		<-written.done
		w.heal()
		e.sum(w.topic, other)
		require.NotZero(w, w.kafka.Count(w.T, w.topic))
		require.NotZero(w, w.kafka.Count(w.T, other))
	}},
}
