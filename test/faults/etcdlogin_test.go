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

// shipSteadily starts the agent on one log to which total lines are written steadily,
// and waits until it follows etcd. untouched is that the main task was neither
// stopped nor started since.
func (e *etcdWorld) shipSteadily(total uint64) (written *steady, untouched func()) {
	e.Helper()
	l := e.log("app.log")
	e.ship()
	e.connected(true)
	begun := e.started()
	return writeSteadily(l, total), func() {
		e.Helper()
		require.Equal(e, begun, e.started(), "the task that nobody edited was never touched")
	}
}

// shutOut has etcd refuse the agent, which says so, ships on, and knows nothing
// of what is edited, until it is let in again.
func (e *etcdWorld) shutOut(r *relay, says string, refuse, admit func()) {
	e.Helper()
	written, untouched := e.shipSteadily(40_000)
	refuse()
	r.cut()
	r.mend()
	e.logged(says)
	e.connected(false)
	e.mark(1)
	written.reach(e.world, 20_000)
	e.caughtUp(written)
	admit()
	e.heal()
	e.connected(true)
	e.marked(1)
	untouched()
	<-written.done
}

var loginScenarios = []scenario{
	{"etcd-login-expires", false, func(w *world) {
		e, r := withLogin(w, etcdtest.WithTokenTTL(time.Second))
		written, untouched := e.shipSteadily(160_000)
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
		untouched()
		<-written.done
	}},
	{"etcd-password-changed-then-corrected", false, func(w *world) {
		e, r := withLogin(w)
		e.shutOut(r, "refuses the login of user",
			func() { e.etcd.SetPassword(w.T, etcdUser, "second") },
			func() { e.password("second") })
	}},
	{"etcd-access-revoked-then-granted", false, func(w *world) {
		e, r := withLogin(w)
		e.shutOut(r, "grant its role access",
			func() { e.etcd.Revoke(w.T, etcdUser, "/logferry/tasks/") },
			func() { e.etcd.Grant(w.T, etcdUser, "/logferry/tasks/", etcdtest.Read) })
	}},
}
