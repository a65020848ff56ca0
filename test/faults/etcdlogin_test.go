package faults

import (
	"os"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
)

const etcdUser = "agent"

// withLogin is a world whose etcd asks for a login; the agent reaches it through
// the relay.
func withLogin(w *world, opts ...etcdtest.Option) (*etcdWorld, *relay) {
	w.Helper()
	e := withEtcd(w, opts...)
	e.etcd.AddUser(w.T, etcdUser, "first")
	e.etcd.Grant(w.T, etcdUser, "/logferry/tasks/", etcdtest.Read)
	for _, own := range []string{"/logferry/agents/", "/logferry/status/"} {
		e.etcd.Grant(w.T, etcdUser, own, etcdtest.ReadWrite)
	}
	e.etcd.EnableAuth(w.T)
	e.password("first")
	w.Setenv("LOGFERRY_ETCD_USERNAME", etcdUser)
	w.Setenv("LOGFERRY_ETCD_PASSWORD_FILE", e.path("..", "password"))
	r := newRelay(w.T, e.etcd.Endpoints()[0])
	e.via = []string{r.address()}
	return e, r
}

// password writes what the agent is to log in with.
func (e *etcdWorld) password(text string) {
	e.Helper()
	require.NoError(e, os.MkdirAll(e.path(), 0o755))
	require.NoError(e, os.WriteFile(e.path("..", "password"), []byte(text), 0o600))
}

// logged waits until the agent has logged a text.
func (e *etcdWorld) logged(text string) {
	e.Helper()
	agenttest.Eventually(e.T, "the agent logs: "+text, agenttest.Patience, func() bool { return strings.Contains(e.agent.Log(), text) })
}

var loginScenarios = []scenario{
	{"etcd-login-expires", false, func(w *world) {
		e, r := withLogin(w, etcdtest.WithTokenTTL(time.Second))
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		begun := e.started()
		written := writeSteadily(l, 160_000)
		written.reach(w, 50_000) // 2.5 s: a login that nobody uses has ended
		e.mark(1)
		e.marked(1)
		r.cut()
		e.connected(false)
		r.mend()
		e.mark(2)
		e.marked(2)
		written.reach(w, 100_000)
		for i := range 3 { // a member that restarts knows no login any more
			e.etcd.Stop(w.T, 0)
			e.etcd.Restart(w.T, 0)
			w.heal()
			e.mark(3 + i)
			e.marked(3 + i)
		}
		require.Equal(w, begun, e.started(), "the task that nobody edited was never touched")
		<-written.done
	}},
	{"etcd-password-changed-then-corrected", false, func(w *world) {
		e, r := withLogin(w)
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		begun := e.started()
		written := writeSteadily(l, 40_000)
		e.etcd.SetPassword(w.T, etcdUser, "second")
		r.cut()
		r.mend()
		e.logged("refuses the login of user")
		e.connected(false)
		e.mark(1)
		written.reach(w, 20_000)
		w.caughtUp(written) // the login is still refused
		e.password("second")
		w.heal()
		e.connected(true)
		e.marked(1)
		require.Equal(w, begun, e.started())
		<-written.done
	}},
	{"etcd-access-revoked-then-granted", false, func(w *world) {
		e, r := withLogin(w)
		l := w.log("app.log")
		e.ship()
		e.connected(true)
		begun := e.started()
		written := writeSteadily(l, 40_000)
		e.etcd.Revoke(w.T, etcdUser, "/logferry/tasks/")
		r.cut()
		r.mend()
		e.logged("grant its role access")
		e.connected(false)
		e.mark(1)
		written.reach(w, 20_000)
		w.caughtUp(written) // access is still denied
		e.etcd.Grant(w.T, etcdUser, "/logferry/tasks/", etcdtest.Read)
		w.heal()
		e.connected(true)
		e.marked(1)
		require.Equal(w, begun, e.started())
		<-written.done
	}},
}
