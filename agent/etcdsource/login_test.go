package etcdsource

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/etcdtest"
)

// loginWorld is an etcd that asks for a login, which the agent has and may
// read the tasks with.
func loginWorld(t *testing.T, opts ...etcdtest.Option) (*etcdtest.Cluster, Config) {
	t.Helper()
	e := etcdtest.Start(t, opts...)
	e.AddUser(t, "agent", "first")
	e.Grant(t, "agent", "/logferry/tasks/", etcdtest.Read)
	e.EnableAuth(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Username, cfg.PasswordFile = "agent", filepath.Join(t.TempDir(), "password")
	cfg.RequestTimeout = 2 * time.Second
	setPassword(t, cfg, "first")
	return e, cfg
}

func setPassword(t *testing.T, cfg Config, password string) {
	t.Helper()
	require.NoError(t, os.WriteFile(cfg.PasswordFile, []byte(password+"\n"), 0o600))
}

// listed waits for n complete listings from here on.
func (r *running) listed(n int) {
	r.t.Helper()
	for last := r.Status().Synced; n > 0; n-- {
		require.Eventually(r.t, func() bool { return r.Status().Synced.After(last) }, patience, 5*time.Millisecond, "%+v", r.Status())
		last = r.Status().Synced
	}
}

func TestALoginThatExpiresIsRenewed(t *testing.T) {
	e, cfg := loginWorld(t, etcdtest.WithTokenTTL(time.Second))
	cfg.ResyncInterval = 3 * time.Second // a login lasts for 2 s at most when nobody uses it
	e.Put(t, "/logferry/tasks/web", text("one"))
	r := run(t, cfg)
	r.until(map[string]string{"web": "one"})
	r.connected(true)
	r.listed(3)
	require.True(t, r.Connected(), "%+v", r.Status())
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"})
}

func TestALoginThatARestartForgotIsRenewed(t *testing.T) {
	e, cfg := loginWorld(t)
	r := run(t, cfg)
	r.next()
	r.connected(true)
	for _, topic := range []string{"one", "two"} {
		e.Stop(t, 0)
		e.Restart(t, 0)
		e.Put(t, "/logferry/tasks/web", text(topic))
		r.until(map[string]string{"web": topic})
	}
	r.connected(true)
}

func TestACorrectedPasswordIsUsedWithoutARestart(t *testing.T) {
	e, cfg := loginWorld(t)
	cfg.ResyncInterval = time.Second
	e.Put(t, "/logferry/tasks/web", text("one"))
	r := run(t, cfg)
	r.until(map[string]string{"web": "one"})
	r.connected(true)

	e.SetPassword(t, "agent", "second")
	r.failing(`refuses the login of user "agent"; check username and password`)
	require.False(t, r.Connected())
	require.NoError(t, os.Remove(cfg.PasswordFile))
	r.failing("read etcd password: open " + cfg.PasswordFile)
	setPassword(t, cfg, "second")
	r.connected(true)
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"})
}

func TestAccessThatIsTakenAwayAndGivenBackIsNoticed(t *testing.T) {
	e, cfg := loginWorld(t)
	cfg.ResyncInterval = time.Second
	e.Put(t, "/logferry/tasks/web", text("one"))
	r := run(t, cfg)
	r.until(map[string]string{"web": "one"})
	r.connected(true)

	e.Revoke(t, "agent", "/logferry/tasks/")
	r.failing(`denies user "agent" the keys below /logferry; grant its role access`)
	e.Put(t, "/logferry/tasks/web", text("two"))
	e.Grant(t, "agent", "/logferry/tasks/", etcdtest.Read)
	r.until(map[string]string{"web": "two"})
	r.connected(true)
}

func TestAnEtcdThatAsksForALoginIsToldFromOneThatRefusesIt(t *testing.T) {
	e, cfg := loginWorld(t)
	cfg.Username, cfg.PasswordFile = "", ""
	r := run(t, cfg)
	r.failing("etcd at " + e.Endpoints()[0] + " asks for a login; set username and password")
}
