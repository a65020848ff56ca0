package etcdsource

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/task"
	"logferry/test/etcdtest"
)

// member is an agent as etcd sees it: a source and a registrar.
type member struct {
	*Registrar
	t      *testing.T
	etcd   *etcdtest.Cluster
	id     string
	digest atomic.Uint64
	tasks  atomic.Pointer[[]TaskReport]
	stop   func()
}

func join(t *testing.T, e *etcdtest.Cluster, cfg Config, own Agent) *member {
	t.Helper()
	m := &member{t: t, etcd: e, id: own.ID}
	m.report(TaskReport{Name: "web", State: "running", Files: 1})
	source, err := New(cfg, quiet())
	require.NoError(t, err)
	m.Registrar, err = NewRegistrar(source, RegistrarConfig{
		Agent: own, LeaseTTL: MinLeaseTTL, Digest: m.digests, Tasks: func() []TaskReport { return *m.tasks.Load() },
	}, quiet())
	require.NoError(t, err)
	m.stop = runAll(t, m.Run, func(ctx context.Context) error { return source.Run(ctx, func(task.Snapshot) {}) })
	return m
}

// runAll runs until the test ends or stop is called, and then waits.
func runAll(t *testing.T, runs ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() {
			if err := run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// digests change with whatever is reported; nothing of it is urgent.
func (m *member) digests() (all, urgent uint64) { return m.digest.Load(), 0 }

// report changes what the tasks do.
func (m *member) report(tasks ...TaskReport) {
	m.tasks.Store(&tasks)
	m.digest.Add(1)
}

func (m *member) eventually(what string, ok func() bool) {
	m.t.Helper()
	require.Eventually(m.t, ok, patience, 10*time.Millisecond, "%s; %+v", what, m.Status())
}

// registered returns the agent's key once it is there.
func (m *member) registered(name string) Agent {
	m.t.Helper()
	var a Agent
	m.eventually("registered as "+name, func() bool {
		value, there := m.etcd.Get(m.t, "/logferry/agents/")["/logferry/agents/"+name]
		return there && json.Unmarshal([]byte(value), &a) == nil && a.Process == m.cfg.Agent.Process
	})
	return a
}

func statusOf(t *testing.T, e *etcdtest.Cluster, name string) (r Report) {
	t.Helper()
	if value, there := e.Get(t, "/logferry/status/")["/logferry/status/"+name]; there {
		require.NoError(t, json.Unmarshal([]byte(value), &r))
	}
	return r
}

func (m *member) says(state string) {
	m.t.Helper()
	m.eventually("status says "+state, func() bool {
		r := statusOf(m.t, m.etcd, m.id)
		return len(r.Tasks) > 0 && r.Tasks[0].State == state
	})
}

func leases(t *testing.T, e *etcdtest.Cluster) []clientv3.LeaseID {
	t.Helper()
	resp, err := e.Client(t).Leases(t.Context())
	require.NoError(t, err)
	var ids []clientv3.LeaseID
	for _, l := range resp.Leases {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestAnAgentIsThereWhileItRunsAndGoneAfterwards(t *testing.T) {
	e := etcdtest.Start(t)
	rev := e.Put(t, "/logferry/tasks/web", text("one"))
	started := time.Now().UTC().Truncate(time.Second)
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{
		ID: "web-1", Host: "web-1.example", Version: "v1", Labels: map[string]string{"env": "prod"}, Started: started, HTTP: "web-1:9600", Instance: "i",
	})
	m.eventually("the applied revision is told", func() bool { m.digest.Add(1); return statusOf(t, e, "web-1").Revision == rev })
	registered := m.registered("web-1")
	require.Contains(t, []int64{0, rev}, registered.Revision, "it is brought up to date now and then")
	registered.Revision = 0
	require.Equal(t, Agent{
		ID: "web-1", Host: "web-1.example", Version: "v1", Labels: map[string]string{"env": "prod"}, Started: started, HTTP: "web-1:9600",
		Instance: "i", Process: m.cfg.Agent.Process,
	}, registered)
	m.says("running")
	r := statusOf(t, e, "web-1")
	require.Equal(t, map[string]int{"running": 1}, r.States)
	require.WithinDuration(t, time.Now(), r.At, time.Minute)
	require.Equal(t, Registration{Registered: true, Name: "web-1"}, m.Status())

	m.stop()
	require.Equal(t, map[string]string{"/logferry/tasks/web": text("one")}, e.Get(t, "/logferry/"))
	require.Empty(t, leases(t, e))
}

func TestAChangedStateIsReportedAtOnceAndAFlappingOneNowAndThen(t *testing.T) {
	e := etcdtest.Start(t)
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a"})
	m.says("running")
	began := time.Now()
	m.report(TaskReport{Name: "web", State: "failing", Error: "no topic"})
	m.says("failing")
	require.Less(t, time.Since(began), DefaultReportInterval/2)

	watch := e.Client(t).Watch(t.Context(), "/logferry/status/a")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	writes := 0
	flap := time.NewTicker(20 * time.Millisecond)
	defer flap.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case resp := <-watch:
			writes += len(resp.Events)
		case <-flap.C:
			m.report(TaskReport{Name: "web", State: "failing", Files: i})
		case <-ctx.Done():
		}
	}
	require.LessOrEqual(t, writes, reportBurst)
	require.NotZero(t, writes)
}

func TestALeaseThatIsRevokedIsReplaced(t *testing.T) {
	e := etcdtest.Start(t)
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a"})
	m.says("running")
	old := leases(t, e)
	require.Len(t, old, 1)
	_, err := e.Client(t).Revoke(t.Context(), old[0])
	require.NoError(t, err)
	m.registered("a")
	m.says("running")
	require.NotEqual(t, old, leases(t, e))
}

func TestKeysThatAreDeletedByHandComeBack(t *testing.T) {
	e := etcdtest.Start(t)
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a"})
	m.says("running")
	for _, key := range []string{"/logferry/agents/a", "/logferry/status/a"} {
		e.Delete(t, key)
		m.digest.Add(1) // otherwise within half a minute
		m.registered("a")
		m.says("running")
	}
	require.Len(t, leases(t, e), 1)
}

func TestTheSecondAgentOfAnIDDoesNotOverwriteTheFirst(t *testing.T) {
	e := etcdtest.Start(t)
	first := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a", Host: "one", Instance: "1"})
	first.says("running")
	second := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a", Host: "two", Instance: "2"})
	alias := "a~" + second.cfg.Agent.Process
	require.Equal(t, &Clash{Host: "one"}, second.registered(alias).Clash)
	second.eventually("the clash is told", func() bool { return second.Status().Clash != nil })
	require.Equal(t, "one", first.registered("a").Host)
	second.eventually("both report", func() bool { return len(statusOf(t, e, "a").Tasks)+len(statusOf(t, e, alias).Tasks) == 2 })

	first.stop()
	second.digest.Add(1) // otherwise within half a minute
	require.Nil(t, second.registered("a").Clash)
	second.says("running")
	require.Len(t, e.Get(t, "/logferry/"), 2, "nothing is left under the other name")
}

func TestAnAgentTakesOverWhatItsOwnPastHasLeft(t *testing.T) {
	e := etcdtest.Start(t)
	past, err := json.Marshal(Agent{ID: "a", Host: "one", Instance: "1", Process: "before"})
	require.NoError(t, err)
	client := e.Client(t)
	lease, err := client.Grant(t.Context(), 600)
	require.NoError(t, err)
	_, err = client.Put(t.Context(), "/logferry/agents/a", string(past), clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a", Host: "one", Instance: "1"})
	require.Nil(t, m.registered("a").Clash)
}

func TestTwoAgentsOnCopiesOfOneStateDirClash(t *testing.T) {
	e := etcdtest.Start(t)
	first := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a", Instance: "1"})
	first.says("running")
	second := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a", Instance: "1"})
	second.registered("a")
	first.digest.Add(1)
	require.NotNil(t, first.registered("a~"+first.cfg.Agent.Process).Clash)
	second.registered("a")
}

func TestWhatSomebodyWroteUnderTheIDIsReplaced(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/agents/a", "nonsense")
	e.Put(t, "/logferry/status/a", "nonsense")
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a"})
	m.registered("a")
	m.eventually("reported", func() bool { return strings.HasPrefix(e.Get(t, "/logferry/status/a")["/logferry/status/a"], "{") })
}

func TestAnEtcdThatLostItsDataGetsEachAgentAnew(t *testing.T) {
	e := etcdtest.Start(t)
	m := join(t, e, testConfig(t, e.Endpoints()...), Agent{ID: "a"})
	m.says("running")
	e.Stop(t, 0)
	e.Wipe(t, 0)
	e.Restart(t, 0)
	m.registered("a")
	m.says("running")
}

func TestStoppingDoesNotWaitForAnEtcdThatIsGone(t *testing.T) {
	e := etcdtest.Start(t)
	p := newProxy(t, e.Endpoints()[0])
	for name, fault := range map[string]func(){"silent": p.freeze, "refusing": p.cut} {
		t.Run(name, func(t *testing.T) {
			p.open()
			cfg := testConfig(t, p.address())
			m := join(t, e, cfg, Agent{ID: name})
			m.says("running")
			fault()
			began := time.Now()
			m.stop()
			require.Less(t, time.Since(began), cfg.RequestTimeout)
		})
	}
}

func TestAnAgentWithoutTheRightToRegisterSaysSo(t *testing.T) {
	e, cfg := loginWorld(t)
	m := join(t, e, cfg, Agent{ID: "a"})
	m.eventually("the error is told", func() bool {
		return strings.Contains(m.Status().LastError, `denies user "agent" the keys below /logferry; grant its role access`)
	})
	m.eventually("the tasks are followed all the same", m.source.Connected)
	for _, own := range []string{"/logferry/agents/", "/logferry/status/"} {
		e.Grant(t, "agent", own, etcdtest.ReadWrite)
	}
	m.registered("a")
	m.says("running")
}

func TestTheLeaseStandsWithinItsBounds(t *testing.T) {
	s, err := New(Config{Endpoints: []string{"a:1"}}, quiet())
	require.NoError(t, err)
	for _, ttl := range []time.Duration{-1, time.Second, 2 * time.Hour} {
		_, err = NewRegistrar(s, RegistrarConfig{LeaseTTL: ttl}, quiet())
		require.ErrorContains(t, err, "etcd lease_ttl: "+ttl.String()+" is out of bounds; write something from 5s to 1h0m0s")
	}
}

func TestAgentsCountTheFleetAndReckonWithAThousandWhereTheyMayNot(t *testing.T) {
	e := etcdtest.Start(t)
	for _, id := range []string{"a", "b", "c"} {
		e.Put(t, "/logferry/agents/"+id, "{}")
	}
	e.AddUser(t, "a", "secret")
	e.Grant(t, "a", "/logferry/agents/a", etcdtest.ReadWrite)
	e.AddUser(t, "all", "secret")
	e.Grant(t, "all", "/logferry/agents/", etcdtest.ReadWrite)
	e.EnableAuth(t)
	for user, want := range map[string]int{"a": unknownFleet, "all": 3} {
		cfg := testConfig(t, e.Endpoints()...)
		cfg.Username, cfg.Password = user, "secret"
		source, err := New(cfg, quiet())
		require.NoError(t, err)
		r, err := NewRegistrar(source, RegistrarConfig{Agent: Agent{ID: "a"}}, quiet())
		require.NoError(t, err)
		source.link.enter()
		client, err := source.link.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, r.count(t.Context(), client), user)
		require.NoError(t, source.link.leave())
		require.Equal(t, 1, r.count(t.Context(), client), "etcd is gone: what was known stays")
	}
}
