package faults

import (
	"encoding/json"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/test/agenttest"
)

const agentID = "web-1"

// withLease is a world whose agent is soon forgotten when it gives no sign of
// life.
func withLease(w *world) *etcdWorld {
	w.Helper()
	e := withEtcd(w)
	w.Setenv("LOGFERRY_ID", agentID)
	w.Setenv("LOGFERRY_ETCD_LEASE_TTL", "5s")
	return e
}

// registered waits until both keys of the agent are there, or until both are
// gone.
func (e *etcdWorld) registered(want bool) {
	e.Helper()
	last := map[string]string{}
	agenttest.Eventually(e.T, "the agent is registered, or is not", agenttest.Patience, func() bool {
		last = e.etcd.Get(e.T, "/logferry/")
		_, agent := last["/logferry/agents/"+agentID]
		_, status := last["/logferry/status/"+agentID]
		return agent == want && status == want
	})
	e.Logf("registered: %v", want)
}

// reports waits until etcd says that the main task runs here at the revision
// of its key.
func (e *etcdWorld) reports() {
	e.Helper()
	agenttest.Eventually(e.T, "the status tells of the task", agenttest.Patience, func() bool {
		var st struct {
			Tasks []struct {
				Name, State string
				Revision    int64
			}
		}
		value := e.etcd.Get(e.T, "/logferry/status/")["/logferry/status/"+agentID]
		if json.Unmarshal([]byte(value), &st) != nil {
			return false
		}
		resp, err := e.etcd.Client(e.T).Get(e.Context(), key(mainTask))
		require.NoError(e, err)
		for _, t := range st.Tasks {
			if t.Name == mainTask && t.State == "running" && len(resp.Kvs) == 1 && t.Revision == resp.Kvs[0].ModRevision {
				return true
			}
		}
		return false
	})
}

var leaseScenarios = []scenario{
	{"etcd-lease-lost", false, func(w *world) {
		e := withLease(w)
		l := w.log("app.log")
		e.ship()
		e.registered(true)
		begun := e.started()
		written := writeSteadily(l, 100_000)
		w.agent.Signal(syscall.SIGSTOP)
		e.registered(false) // the lease has expired
		w.agent.Signal(syscall.SIGCONT)
		e.registered(true)
		e.reports()
		require.Equal(w, begun, e.started(), "the task that nobody edited was never touched")
		w.caughtUp(written)

		e.etcd.Stop(w.T, 0)
		e.etcd.Wipe(w.T, 0) // an etcd that has lost everything, and a fleet that comes back to it
		e.etcd.Restart(w.T, 0)
		w.heal()
		e.edit(w.topic, "")
		e.registered(true)
		e.collects()
		e.reports()
		<-written.done
		w.arrived()
		w.stop()
		for k := range e.etcd.Get(w.T, "/logferry/") {
			require.True(w, strings.HasPrefix(k, "/logferry/tasks/"), "%s is left", k)
		}
		e.ship()
		e.registered(true)
	}},
	{"etcd-lease-revoked-by-hand", false, func(w *world) {
		e := withLease(w)
		l := w.log("app.log")
		e.ship()
		e.registered(true)
		begun := e.started()
		written := writeSteadily(l, 60_000)
		client := e.etcd.Client(w.T)
		var last clientv3.LeaseID
		for range 2 {
			leases, err := client.Leases(w.Context())
			require.NoError(w, err)
			require.Len(w, leases.Leases, 1)
			require.NotEqual(w, last, leases.Leases[0].ID)
			last = leases.Leases[0].ID
			_, err = client.Revoke(w.Context(), last)
			require.NoError(w, err)
			w.heal()
			e.registered(true)
			e.reports()
		}
		e.etcd.Delete(w.T, "/logferry/agents/"+agentID)
		e.etcd.Delete(w.T, "/logferry/status/"+agentID)
		e.edit(w.topic, "close_inactive: 61s\n") // an agent notices with its next report
		e.registered(true)
		e.reports()
		require.NotEqual(w, begun, e.started())
		<-written.done
	}},
}
