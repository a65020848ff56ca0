package etcdsource

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
	"logferry/test/etcdtest"
)

const webGroup, euGroup = "/logferry/groups/web/tasks/", "/logferry/groups/eu/tasks/"

func inGroups(t *testing.T, e *etcdtest.Cluster, groups ...string) Config {
	t.Helper()
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Groups = groups
	return cfg
}

func TestAnAgentSeesTheTasksOfItsGroupsAndNothingOfOthers(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/tasks/all", text("all"))
	e.Put(t, webGroup+"shop", text("shop"))
	e.Put(t, webGroup+"db", text("db")+"select: {ids: [nobody]}\n")
	e.Put(t, euGroup+"vat", text("vat"))
	r := run(t, inGroups(t, e, "web", "new"))
	s := r.until(map[string]string{"all": "all", "shop": "shop"})
	require.Len(t, s.Revisions, 2)
	require.Equal(t, "web", r.GroupOf("shop"))
	require.Empty(t, r.GroupOf("all"))
	r.connected(true)
	require.Equal(t, 1, r.Status().Others)

	before, known := r.Status().decoded, r.Status().Revision
	for range 5 {
		e.Put(t, euGroup+"vat", text("vat2"))
	}
	e.Put(t, "/logferry/groups/web2/tasks/shop", text("none"))
	require.Equal(t, known, r.Status().Revision, "an edit for another group does not even reach it")
	last := e.Put(t, webGroup+"shop", text("shop2"))
	r.until(map[string]string{"all": "all", "shop": "shop2"})
	require.Equal(t, last, r.Status().Revision)
	require.Equal(t, before+1, r.Status().decoded)

	e.Put(t, "/logferry/groups/new/tasks/first", text("first"))
	r.until(map[string]string{"all": "all", "shop": "shop2", "first": "first"})
	e.Delete(t, webGroup+"shop")
	r.until(map[string]string{"all": "all", "first": "first"})
}

func TestOfTasksWithOneNameTheFirstRunsAndTheOtherIsRefused(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, webGroup+"shop", text("web"))
	r := run(t, inGroups(t, e, "eu", "web"))
	r.until(map[string]string{"shop": "web"})
	rev := e.Put(t, euGroup+"shop", text("eu"))
	s := r.next()
	require.Equal(t, map[string]string{"shop": "web"}, topics(s), "what runs is not disturbed")
	require.Len(t, s.Refused, 1)
	require.Equal(t, rev, s.Refused[0].Revision)
	require.Contains(t, s.Refused[0].Origin, euGroup+"shop")
	require.Equal(t, "another task of this name is in group web already, and this agent is to run both; give one of them another name", s.Refused[0].Error)
	require.Equal(t, "web", r.GroupOf("shop"))

	e.Delete(t, webGroup+"shop")
	s = r.until(map[string]string{"shop": "eu"})
	require.Empty(t, s.Refused)
	require.Equal(t, "eu", r.GroupOf("shop"))
}

func TestAnAgentThatChangesItsGroupLeavesTheTasksOfTheOldOne(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/tasks/all", text("all"))
	e.Put(t, webGroup+"shop", text("web"))
	e.Put(t, euGroup+"shop", text("eu"))
	cfg := inGroups(t, e, "web")
	first := run(t, cfg)
	first.until(map[string]string{"all": "all", "shop": "web"})
	first.stop()

	down := cfg
	down.Endpoints = []string{newSilentServer(t)}
	kept := run(t, down)
	require.Equal(t, map[string]string{"all": "all", "shop": "web"}, topics(kept.next()), "it starts without etcd")
	kept.stop()

	down.Groups = []string{"eu"}
	moved := run(t, down)
	require.Equal(t, map[string]string{"all": "all"}, topics(moved.next()), "what its new group has is not known yet")
	moved.stop()
	cfg.Groups = []string{"eu"}
	run(t, cfg).until(map[string]string{"all": "all", "shop": "eu"})
}

func TestARolloutOfAGroupConcernsItsAgentsAlone(t *testing.T) {
	p := &park{t: t, etcd: etcdtest.Start(t), hosts: map[string]*host{}, cfg: map[string]Config{}}
	for id, groups := range map[string][]string{"host-0": {"web"}, "host-1": {"web", "eu"}, "host-2": {"eu"}} {
		p.cfg[id] = inGroups(t, p.etcd, groups...)
		p.add(id)
	}
	p.etcd.Put(t, webGroup+"web", text("one"))
	p.runs("one", 2)
	rev := p.etcd.Put(t, webGroup+"web", text("two")+"rollout: {waves: [1, all], pause: 200ms, timeout: 1m}\n")
	p.runs("two", 2)
	s := openTestStore(t, testConfig(t, p.etcd.Endpoints()...))
	p.until("it is done", func() bool {
		f, err := s.Fleet(t.Context())
		require.NoError(t, err)
		st, known := f.Rollouts["web/web"]
		return known && st.Phase == rollout.Done && st.Target.Revision == rev && st.Size == 2
	})
	require.Empty(t, p.etcd.Get(t, "/logferry/rollouts/"), "it stands where the group's tasks stand")
	require.Empty(t, p.hosts["host-2"].topic())

	// A wave that is not well goes back in the group.
	p.hosts["host-0"].tells(func(r *TaskReport) { r.State, r.Error = "failing", "no broker" })
	p.hosts["host-1"].tells(func(r *TaskReport) { r.State, r.Error = "failing", "no broker" })
	p.etcd.Put(t, webGroup+"web", text("three")+anxious)
	p.until("it went back", func() bool {
		f, err := s.Fleet(t.Context())
		require.NoError(t, err)
		return f.Rollouts["web/web"].Phase == rollout.Back
	})
	p.runs("two", 2)
	o := overviewOf(t, s)
	require.Len(t, o, 1)
	require.Equal(t, "web/web", o[0].Qualified())
	require.Equal(t, 2, o[0].Agents)
	require.Equal(t, rollout.Back, o[0].Rollout.Phase)
}

func overviewOf(t *testing.T, s *Store) []TaskOverview {
	t.Helper()
	f, err := s.Fleet(t.Context())
	require.NoError(t, err)
	return f.Overview()
}

func TestAStoreOfAGroupDoesWhatTheOtherDoes(t *testing.T) {
	e := etcdtest.Start(t)
	all := openTestStore(t, testConfig(t, e.Endpoints()...))
	web := all.Group("web")
	entry, err := web.Put(t.Context(), "shop", []byte(text("one")))
	require.NoError(t, err)
	require.Equal(t, "web/shop", entry.Qualified())
	_, err = all.Get(t.Context(), "shop")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = web.Replace(t.Context(), "shop", []byte(text("two")+quick), entry.Modified)
	require.NoError(t, err)
	require.Contains(t, e.Get(t, "/logferry/groups/web/"), "/logferry/groups/web/good/shop")
	versions, _, err := web.History(t.Context(), "shop", 10)
	require.NoError(t, err)
	require.Len(t, versions, 2)
	_, err = all.Put(t.Context(), "zoo", []byte(text("zoo")))
	require.NoError(t, err)
	_, err = all.Group("eu").Put(t.Context(), "shop", []byte(text("eu")))
	require.NoError(t, err)
	entries, err := web.ListAll(t.Context())
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Qualified())
	}
	require.Equal(t, []string{"zoo", "eu/shop", "web/shop"}, names)
	entries, _, err = web.List(t.Context())
	require.NoError(t, err)
	require.Len(t, entries, 1)
	_, err = web.Delete(t.Context(), "shop")
	require.NoError(t, err)
	require.Empty(t, e.Get(t, "/logferry/groups/web/"), "with all that belongs to it")
	require.Len(t, e.Get(t, "/logferry/"), 2)
}

func TestAnOverviewTellsTasksOfGroupsApart(t *testing.T) {
	f := Fleet{
		Tasks: []Entry{
			{Name: "shop", Raw: []byte(text("a")), Modified: 1},
			{Group: "web", Name: "shop", Raw: []byte(text("b")), Modified: 2},
		},
		Members: []Member{
			reporting("a", 2, nil, TaskReport{Name: "shop", State: "running", Revision: 1}),
			reporting("b", 2, nil, TaskReport{Name: "shop", Group: "web", State: "running", Revision: 2}),
		},
	}
	f.Members[1].Agent.Groups = []string{"web"}
	o := f.Overview()
	require.Len(t, o, 2)
	require.Equal(t, 1, o[0].Running)
	require.Equal(t, 1, o[0].Pending, "b is meant too, and runs the other")
	require.Equal(t, "web/shop", o[1].Qualified())
	require.Equal(t, 1, o[1].Running)
	require.Equal(t, 1, o[1].Agents)
}

func TestTheDocumentedRolesAreEnoughForGroups(t *testing.T) {
	e, login := documentedRoles(t)
	e.Put(t, "/logferry/tasks/all", text("all"))
	cfg := login("logferry-agent")
	cfg.Groups = []string{"web"}
	r := run(t, cfg)
	r.until(map[string]string{"all": "all"})
	operator := openTestStore(t, login("logferry-operator"))
	_, err := operator.Group("web").Put(t.Context(), "shop", []byte(text("shop")))
	require.NoError(t, err)
	r.connected(true)
	r.until(map[string]string{"all": "all", "shop": "shop"})
	_, err = operator.ListAll(t.Context())
	require.NoError(t, err)
	mine := openTestStore(t, login("logferry-agent"))
	_, err = mine.Group("web").Put(t.Context(), "shop", []byte(text("mine")))
	require.ErrorContains(t, err, "denies user")

	rights, err := mine.Group("web").Rights(t.Context(), "a")
	require.NoError(t, err)
	require.Empty(t, rights.Missing())
	require.True(t, rights.Leads())
	rights, err = mine.Group("eu").Rights(t.Context(), "a")
	require.NoError(t, err)
	require.Len(t, rights.Missing(), 2)
	require.Contains(t, rights.Missing()[0], "ROLE readwrite --prefix /logferry/groups/eu/rollouts/")

	cfg = login("logferry-agent")
	cfg.Groups = []string{"eu"}
	run(t, cfg).failing("denies user")
}

func TestAnOperatorWithoutTheRightOnGroupsSeesTheRest(t *testing.T) {
	e := etcdtest.Start(t)
	e.AddUser(t, "old", "secret")
	for _, prefix := range []string{"/logferry/tasks/", "/logferry/agents/", "/logferry/status/", "/logferry/rollouts/"} {
		e.Grant(t, "old", prefix, etcdtest.Read)
	}
	e.Put(t, "/logferry/tasks/all", text("all"))
	e.EnableAuth(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Username, cfg.Password = "old", "secret"
	s := openTestStore(t, cfg)
	require.Len(t, overviewOf(t, s), 1)
	entries, err := s.ListAll(t.Context())
	require.NoError(t, err)
	require.Len(t, entries, 1)
	watchFleet(t, s).until("it is watched", func(f Fleet) bool { return len(f.Tasks) == 1 })
}

func TestWatchesThatAreNotInOrderWithEachOtherAreCountedEach(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	cfg.Groups = []string{"web"}
	cfg.SetDefaults()
	sets := newTaskSets(cfg)
	for _, s := range sets {
		s.replace(nil, map[string][]byte{}, 10)
	}
	put := func(key, value string, rev int64) *clientv3.Event {
		return &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: rev, CreateRevision: rev}}
	}
	require.True(t, sets.apply([]*clientv3.Event{put(webGroup+"shop", text("shop"), 20)}))
	require.EqualValues(t, 20, sets.revision())
	require.Equal(t, [2]int64{10, 10}, sets[0].known, "it may still tell of what was before")
	require.Equal(t, [2]int64{20, 10}, sets[1].known)
	require.True(t, sets.apply([]*clientv3.Event{put("/logferry/tasks/all", text("all"), 15)}))
	require.False(t, sets.apply([]*clientv3.Event{put(webGroup+"shop", text("old"), 12)}), "known already")
	snap, _ := sets.snapshot()
	require.Equal(t, map[string]string{"all": "all", "shop": "shop"}, topics(snap))
	require.EqualValues(t, 20, snap.Revision)
}

func TestAnAgentThatIsNotTheFirstToOfferItselfWritesNothing(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := inGroups(t, e)
	m := join(t, e, cfg, Agent{ID: "a"})
	m.registered("a")
	last := e.Put(t, "/logferry/rollouts/~leader", `{"agent":"b"}`)
	client := e.Client(t)
	before, err := client.Leases(t.Context())
	require.NoError(t, err)
	_, err = NewConductor(m.Registrar, quiet()).claim(t.Context(), client)
	require.ErrorIs(t, err, errOutvoted)
	after, err := client.Leases(t.Context())
	require.NoError(t, err)
	require.Equal(t, before.Leases, after.Leases)
	resp, err := client.Get(t.Context(), "/logferry/rollouts/~leader")
	require.NoError(t, err)
	require.Equal(t, last, resp.Kvs[0].ModRevision)
}

func TestReportsCanBeRare(t *testing.T) {
	s, err := New(testConfig(t, "127.0.0.1:1"), quiet())
	require.NoError(t, err)
	r, err := NewRegistrar(s, RegistrarConfig{ReportInterval: 2 * MinReportInterval}, quiet())
	require.NoError(t, err)
	for range 100 {
		require.GreaterOrEqual(t, r.reportPause(), 2*MinReportInterval)
		require.Less(t, r.reportPause(), 5*MinReportInterval/2)
	}
	_, err = NewRegistrar(s, RegistrarConfig{ReportInterval: MinReportInterval - 1}, quiet())
	require.ErrorContains(t, err, "etcd report_interval: ")
}

func TestGroupsThatCannotBeAreTold(t *testing.T) {
	require.NoError(t, CheckGroups([]string{"web", "eu-1"}))
	require.EqualError(t, CheckGroups([]string{"web", "a/b"}), `[1]: "a/b" cannot name a group; use up to 63 letters, digits, '.', '_' and '-'`)
	require.EqualError(t, CheckGroups([]string{"web", "web"}), `[1]: "web" is named twice; remove one of them`)
	require.ErrorContains(t, CheckGroups(make([]string, MaxGroups+1)), "16 groups at most")
	_, err := New(Config{Endpoints: []string{"a:1"}, Groups: []string{""}}, quiet())
	require.ErrorContains(t, err, "etcd groups[0]: ")
}
