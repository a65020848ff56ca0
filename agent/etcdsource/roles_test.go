package etcdsource

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/test/etcdtest"
)

var grantCommand = regexp.MustCompile(`(?m)^\$ etcdctl role grant-permission (logferry-\w+) (read|readwrite) --prefix (\S+)$`)

// documentedRoles is an etcd whose users have the rights that README.md gives
// to the roles of their names.
func documentedRoles(t *testing.T) (e *etcdtest.Cluster, login func(user string) Config) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	grants := grantCommand.FindAllStringSubmatch(string(readme), -1)
	require.Len(t, grants, 14)
	e = etcdtest.Start(t)
	users := map[string]bool{}
	for _, g := range grants {
		if !users[g[1]] {
			users[g[1]] = true
			e.AddUser(t, g[1], "secret")
		}
		e.Grant(t, g[1], g[3], map[string]clientv3.PermissionType{"read": etcdtest.Read, "readwrite": etcdtest.ReadWrite}[g[2]])
	}
	e.EnableAuth(t)
	return e, func(user string) Config {
		require.True(t, users[user], "README.md has no role %s", user)
		cfg := testConfig(t, e.Endpoints()...)
		cfg.Username, cfg.Password = user, "secret"
		return cfg
	}
}

func TestTheDocumentedRoleOfAgentsIsEnoughAndLetsThemWriteNoTask(t *testing.T) {
	e, login := documentedRoles(t)
	e.Put(t, "/logferry/tasks/web", text("one"))
	cfg := login("logferry-agent")
	r := run(t, cfg)
	r.until(map[string]string{"web": "one"})
	r.connected(true)
	m := join(t, e, login("logferry-agent"), Agent{ID: "a"})
	m.registered("a")
	m.says("running")
	second := join(t, e, login("logferry-agent"), Agent{ID: "a", Instance: "2"})
	require.NotNil(t, second.registered("a~"+second.cfg.Agent.Process).Clash)
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"})

	s := openTestStore(t, cfg)
	_, err := s.Put(t.Context(), "web", []byte(text("mine")))
	require.ErrorContains(t, err, `denies user "logferry-agent" the keys below /logferry; grant its role access`)
	_, err = s.Replace(t.Context(), "new", []byte(text("mine")), 0)
	require.ErrorContains(t, err, `denies user "logferry-agent"`)
	_, err = s.Delete(t.Context(), "web")
	require.ErrorContains(t, err, `denies user "logferry-agent"`)
	require.Equal(t, map[string]string{"/logferry/tasks/web": text("two")}, e.Get(t, "/logferry/tasks/"))

	second.stop()
	m.stop()
	require.Len(t, e.Get(t, "/logferry/"), 1, "its keys leave with it")
}

func TestTheDocumentedRoleOfOperatorsIsEnough(t *testing.T) {
	e, login := documentedRoles(t)
	e.Put(t, "/logferry/agents/a", `{"id":"a"}`)
	s := openTestStore(t, login("logferry-operator"))
	entry, err := s.Put(t.Context(), "web", []byte(text("one")))
	require.NoError(t, err)
	_, err = s.Replace(t.Context(), "web", []byte(text("two")), entry.Modified)
	require.NoError(t, err)
	versions, _, err := s.History(t.Context(), "web", 10)
	require.NoError(t, err)
	require.Len(t, versions, 2)
	w := watchFleet(t, s)
	w.until("all of it is seen", func(f Fleet) bool { return len(f.Members) == 1 && len(f.Tasks) == 1 })
	e.Put(t, "/logferry/status/a", `{"id":"a","at":"2026-01-02T03:04:05Z"}`)
	w.until("a report", func(f Fleet) bool { return f.Members[0].Report.At.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) })
	_, err = s.Delete(t.Context(), "web")
	require.NoError(t, err)

	client, err := dial(t.Context(), login("logferry-operator"), nil)
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	_, err = client.Put(t.Context(), "/logferry/agents/a", "{}")
	require.ErrorContains(t, err, "permission denied", "an operator cannot pass for an agent")
}

func TestARoleForOneAgentAloneIsEnough(t *testing.T) {
	e := etcdtest.Start(t)
	e.AddUser(t, "a", "secret")
	e.Grant(t, "a", "/logferry/tasks/", etcdtest.Read)
	e.Grant(t, "a", "/logferry/agents/a", etcdtest.ReadWrite)
	e.Grant(t, "a", "/logferry/status/a", etcdtest.ReadWrite)
	e.EnableAuth(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Username, cfg.Password = "a", "secret"
	m := join(t, e, cfg, Agent{ID: "a"})
	m.registered("a")
	m.says("running")
	m.stop()
	require.Empty(t, e.Get(t, "/logferry/"))
}

func TestTheRightsOfALoginAreFoundWithoutAChange(t *testing.T) {
	e, login := documentedRoles(t)
	e.AddUser(t, "own", "secret") // an agent that is held to its own keys
	for prefix, right := range map[string]clientv3.PermissionType{
		"tasks/": etcdtest.Read, "agents/a": etcdtest.ReadWrite, "status/a": etcdtest.ReadWrite, "rollouts/": etcdtest.Read, "good/": etcdtest.Read,
	} {
		e.Grant(t, "own", "/logferry/"+prefix, right)
	}
	e.AddUser(t, "bare", "secret")
	e.Grant(t, "bare", "/logferry/tasks/", etcdtest.Read)
	before := e.Get(t, "/logferry/")
	of := func(cfg Config, id string) Rights {
		t.Helper()
		r, err := openTestStore(t, cfg).Rights(t.Context(), id)
		require.NoError(t, err)
		return r
	}
	as := func(user string) Config {
		cfg := login("logferry-agent")
		cfg.Username = user
		return cfg
	}
	r := of(login("logferry-agent"), "a")
	require.True(t, r.Registers())
	require.True(t, r.Leads())
	require.Empty(t, r.Missing())

	r = of(as("own"), "a")
	require.True(t, r.Registers())
	require.False(t, r.Leads())
	require.Empty(t, r.Missing())
	require.False(t, of(as("own"), "b").Registers())

	require.Equal(t, []string{
		"the login may not register this agent, so no status and no rollout sees it; grant its role that: etcdctl role grant-permission ROLE readwrite --prefix /logferry/agents/ and etcdctl role grant-permission ROLE readwrite --prefix /logferry/status/",
		"the login may not read the states of rollouts, so changes with a rollout do not reach this agent; grant its role that: etcdctl role grant-permission ROLE readwrite --prefix /logferry/rollouts/",
		"the login may not read last good texts, so an agent that has never seen one refuses its task during a rollout; grant its role that: etcdctl role grant-permission ROLE read --prefix /logferry/good/",
	}, of(as("bare"), "a").Missing())
	require.Equal(t, before, e.Get(t, "/logferry/"))

	cfg := login("logferry-agent")
	cfg.Password = "wrong"
	_, err := openTestStore(t, cfg).Rights(t.Context(), "a")
	require.ErrorContains(t, err, "look at the login's rights: ")
}
