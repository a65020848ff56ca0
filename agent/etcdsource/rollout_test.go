package etcdsource

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/rollout"
	"logferry/agent/task"
	"logferry/test/etcdtest"
)

// host is an agent without files: its source, registrar and conductor are real,
// and what its task does is told by the test.
type host struct {
	*Source
	t         *testing.T
	id        string
	conductor *Conductor
	snapshot  atomic.Pointer[task.Snapshot]
	digest    atomic.Uint64
	spoil     atomic.Pointer[func(*TaskReport)] // what it reports of the task beside the truth
	stop      func()
}

func newHost(t *testing.T, cfg Config, id string, labels map[string]string) *host {
	t.Helper()
	cfg.Identity = task.Identity{ID: id, Host: id, Labels: labels}
	h := &host{t: t, id: id}
	h.snapshot.Store(&task.Snapshot{})
	var err error
	h.Source, err = New(cfg, quiet())
	require.NoError(t, err)
	r, err := NewRegistrar(h.Source, RegistrarConfig{
		Agent: Agent{ID: id, Host: id, Labels: labels, Groups: cfg.Groups}, LeaseTTL: MinLeaseTTL, Digest: h.digests, Tasks: h.reports,
	}, quiet())
	require.NoError(t, err)
	h.conductor = NewConductor(r, quiet())
	h.conductor.ttl = 2 * time.Second
	h.stop = runAll(t, r.Run, h.conductor.Run, func(ctx context.Context) error { return h.Run(ctx, h.apply) })
	return h
}

// digests are urgent as a rollout's changes are.
func (h *host) digests() (all, urgent uint64) {
	n := h.digest.Load()
	return n, n
}

func (h *host) apply(snap task.Snapshot) {
	h.snapshot.Store(&snap)
	h.digest.Add(1)
}

// tells lets the host say something about its task, from now on.
func (h *host) tells(change func(*TaskReport)) {
	h.spoil.Store(&change)
	h.digest.Add(1)
}

func (h *host) reports() []TaskReport {
	snap := h.snapshot.Load()
	byName := map[string]TaskReport{}
	for _, t := range snap.Tasks {
		r := TaskReport{Name: t.Name, State: "running", Revision: snap.Revisions[t.Name]}
		if t.Paused {
			r.State = "stopped"
		}
		if change := h.spoil.Load(); change != nil {
			(*change)(&r)
		}
		byName[t.Name] = r
	}
	for _, refused := range snap.Refused {
		r := byName[refused.Name]
		r.Name, r.Refused, r.RefusedRevision, r.Error = refused.Name, true, refused.Revision, refused.Error
		if r.State == "" {
			r.State = "refused"
		}
		byName[refused.Name] = r
	}
	var out []TaskReport
	for _, r := range byName {
		r.Group = h.GroupOf(r.Name)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b TaskReport) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// topic is what the host's one task writes to; empty: it does not run.
func (h *host) topic() string {
	for _, t := range h.snapshot.Load().Tasks {
		if t.Name == "web" && !t.Paused {
			return t.Topic
		}
	}
	return ""
}

// park is a fleet of hosts with one etcd.
type park struct {
	t     *testing.T
	etcd  *etcdtest.Cluster
	hosts map[string]*host
	cfg   map[string]Config
}

func newPark(t *testing.T, n int) *park {
	t.Helper()
	p := &park{t: t, etcd: etcdtest.Start(t), hosts: map[string]*host{}, cfg: map[string]Config{}}
	for i := range n {
		p.add(fmt.Sprintf("host-%d", i))
	}
	return p
}

func (p *park) add(id string) *host {
	p.t.Helper()
	if _, known := p.cfg[id]; !known {
		p.cfg[id] = testConfig(p.t, p.etcd.Endpoints()...)
	}
	p.hosts[id] = newHost(p.t, p.cfg[id], id, map[string]string{"name": id})
	return p.hosts[id]
}

// put writes the task as etcdctl does.
func (p *park) put(topic, rollout string) int64 {
	p.t.Helper()
	return p.etcd.Put(p.t, "/logferry/tasks/web", text(topic)+rollout)
}

func (p *park) state() (st rollout.State) {
	p.t.Helper()
	if value, there := p.etcd.Get(p.t, "/logferry/rollouts/web")["/logferry/rollouts/web"]; there {
		require.NoError(p.t, json.Unmarshal([]byte(value), &st))
	}
	return st
}

func (p *park) until(what string, ok func() bool) {
	p.t.Helper()
	require.Eventually(p.t, ok, patience, 20*time.Millisecond, "%s", what)
}

// runs waits until so many hosts write to a topic, and returns them.
func (p *park) runs(topic string, n int) []*host {
	p.t.Helper()
	var have []*host
	p.until(fmt.Sprintf("%d hosts write to %q", n, topic), func() bool {
		have = nil
		for _, h := range p.hosts {
			if h.topic() == topic {
				have = append(have, h)
			}
		}
		return len(have) == n
	})
	return have
}

// phase waits for a phase of a revision's rollout.
func (p *park) phase(rev int64, phase rollout.Phase) (st rollout.State) {
	p.t.Helper()
	p.until("phase "+string(phase), func() bool {
		st = p.state()
		return st.Target.Revision == rev && st.Phase == phase
	})
	return st
}

// leader waits until a host moves waves on.
func (p *park) leader() *host {
	p.t.Helper()
	var h *host
	p.until("a leader", func() bool {
		var who leaderValue
		_ = json.Unmarshal([]byte(p.etcd.Get(p.t, "/logferry/rollouts/~leader")["/logferry/rollouts/~leader"]), &who)
		h = p.hosts[who.Agent]
		return h != nil
	})
	return h
}

const (
	quick   = "rollout: {waves: [1, 50%, all], pause: 200ms, timeout: 1m}\n"
	lasting = "rollout: {waves: [1, all], pause: 1h, timeout: 1h}\n" // stands at its first wave
	anxious = "rollout: {waves: [1, all], pause: 1h, timeout: 3s}\n" // and goes back when that is not well
)

func TestAChangeGoesFromWaveToWaveAndIsTheLastGoodOne(t *testing.T) {
	p := newPark(t, 4)
	p.put("one", "")
	p.runs("one", 4)
	watch := p.etcd.Client(t).Watch(t.Context(), "/logferry/rollouts/web")
	rev := p.put("two", quick)
	st := p.phase(rev, rollout.Done)
	p.runs("two", 4)
	require.Equal(t, 3, st.Wave)
	var sizes []int
	for phase := rollout.Rolling; phase == rollout.Rolling; {
		for _, ev := range (<-watch).Events {
			var at rollout.State
			require.NoError(t, json.Unmarshal(ev.Kv.Value, &at))
			sizes, phase = append(sizes, at.Size), at.Phase
		}
	}
	require.Equal(t, []int{1, 2, 4, 4}, sizes, "each step once")
	p.until("nobody leads any more", func() bool { return len(p.etcd.Get(t, "/logferry/rollouts/~leader")) == 0 })
}

func TestAChangeThatIsNotWellOnTheCanaryGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*TaskReport)
		want  string
	}{
		"dead letters": {func(r *TaskReport) { r.DeadLetters = 2 }, "records that Kafka will never take were set aside as dead letters: 2"},
		"failing":      {func(r *TaskReport) { r.State, r.Error = "failing", "no broker" }, "failing: no broker"},
		"growing lag":  {func(r *TaskReport) { r.LagGrows = true }, "its lag grows"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPark(t, 3)
			good := p.put("one", "")
			p.runs("one", 3)
			rev := p.put("two", anxious)
			canary := p.runs("two", 1)[0]
			p.runs("one", 2)
			canary.tells(func(r *TaskReport) {
				if r.Revision == rev {
					c.spoil(r)
				}
			})
			st := p.phase(rev, rollout.Back)
			require.Equal(t, canary.id, st.Agent)
			require.Equal(t, c.want, st.Reason)
			require.Equal(t, good, st.Good.Revision)
			p.runs("one", 3)
			require.Equal(t, good, canary.snapshot.Load().Revisions["web"])
		})
	}
}

func TestAChangeThatTheCanaryRefusesGoesBack(t *testing.T) {
	p := newPark(t, 3)
	p.put("one", "")
	p.runs("one", 3)
	rev := p.etcd.Put(t, "/logferry/tasks/web", "paths: [/etc/passwd]\ntopic: two\n"+lasting)
	st := p.phase(rev, rollout.Back)
	require.Contains(t, st.Reason, "refused: line 1: paths[0]: ")
	p.runs("one", 3)
	p.until("nobody refuses it any more", func() bool {
		return !slices.ContainsFunc([]string{"host-0", "host-1", "host-2"}, func(id string) bool { return len(p.hosts[id].snapshot.Load().Refused) > 0 })
	})
}

func TestACanaryThatIsGoneHoldsItsWaveAndThenTheChangeGoesBack(t *testing.T) {
	p := newPark(t, 3)
	p.put("one", "")
	p.runs("one", 3)
	rev := p.put("two", "rollout: {waves: [1, all], pause: 3s, timeout: 3s}\n")
	canary := p.runs("two", 1)[0]
	canary.stop()
	delete(p.hosts, canary.id)
	st := p.phase(rev, rollout.Back)
	require.Equal(t, 1, st.Wave)
	require.Equal(t, canary.id, st.Agent)
	require.Equal(t, "1 of 1 agents of the wave are gone", st.Reason)
	p.runs("one", 2)

	// It comes back, without etcd's history and with what it keeps itself.
	p.etcd.Compact(t)
	require.Equal(t, "one", p.add(canary.id).topicOnce())
}

// topicOnce is the topic of the first version that the host runs.
func (h *host) topicOnce() string {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.Connected() && h.topic() != "" }, patience, 5*time.Millisecond)
	return h.topic()
}

func TestALeaderThatDiesIsReplacedAndNoStepIsMadeTwice(t *testing.T) {
	p := newPark(t, 2)
	front := newProxy(t, p.etcd.Endpoints()[0])
	p.cfg["cut"] = testConfig(t, front.address())
	cut := p.add("cut")
	// It alone is there for the first task, so it leads.
	p.put("one", "select: {ids: [cut]}\n")
	p.runs("one", 1)
	p.put("two", "select: {ids: [cut]}\n"+lasting)
	p.runs("two", 1)
	require.Equal(t, "cut", p.leader().id)
	p.etcd.Put(t, "/logferry/tasks/shop", text("shop"))
	p.until("the others have the other task", func() bool { return topics(*p.hosts["host-0"].snapshot.Load())["shop"] == "shop" })
	front.freeze() // it lives, and knows nothing
	p.etcd.Put(t, "/logferry/tasks/shop", text("shop2")+"rollout: {waves: [1, all], pause: 200ms}\nselect: {ids: [\"host-*\"]}\n")
	p.until("the others have gone on without it", func() bool {
		return topics(*p.hosts["host-0"].snapshot.Load())["shop"] == "shop2" && topics(*p.hosts["host-1"].snapshot.Load())["shop"] == "shop2"
	})
	require.Equal(t, "two", cut.topic())
	require.Equal(t, rollout.Rolling, p.state().Phase)
	front.cut()
	front.open()
}

func TestANewTaskThatIsNotWellIsStopped(t *testing.T) {
	p := newPark(t, 3)
	p.until("all are there", func() bool { return len(p.etcd.Get(t, "/logferry/agents/")) == 3 })
	rev := p.put("one", lasting)
	canary := p.runs("one", 1)[0]
	canary.tells(func(r *TaskReport) { r.DeadLetters = 1 })
	st := p.phase(rev, rollout.Back)
	require.Zero(t, st.Good)
	p.runs("one", 0)
}

func TestWhatPeopleDoMeanwhileIsObeyed(t *testing.T) {
	p := newPark(t, 3)
	p.put("one", "")
	p.runs("one", 3)
	rev := p.put("two", lasting)
	canary := p.runs("two", 1)[0].id

	p.put("two", "paused: true\n"+lasting)
	p.until("all are paused", func() bool {
		for _, h := range p.hosts {
			snap := h.snapshot.Load()
			if len(snap.Tasks) != 1 || !snap.Tasks[0].Paused {
				return false
			}
		}
		return true
	})
	require.Equal(t, rev, p.state().Target.Revision, "the rollout stands still")
	p.put("two", lasting) // resumed: it starts anew
	require.Equal(t, canary, p.runs("two", 1)[0].id)
	p.runs("one", 2)

	rev = p.put("three", lasting)
	p.phase(rev, rollout.Rolling)
	require.Equal(t, canary, p.runs("three", 1)[0].id)
	p.runs("one", 2)

	p.put("one", "") // rolled back by hand
	p.runs("one", 3)
	p.until("the state is gone", func() bool { return len(p.etcd.Get(t, "/logferry/rollouts/web")) == 0 })

	p.put("four", lasting)
	p.runs("four", 1)
	p.etcd.Delete(t, "/logferry/tasks/web")
	p.until("no host has it", func() bool {
		return !slices.ContainsFunc([]string{"host-0", "host-1", "host-2"}, func(id string) bool { return len(p.hosts[id].snapshot.Load().Tasks) > 0 })
	})
}

func TestAnAgentOutsideOfTheWaveKeepsTheLastGoodVersionOverRestarts(t *testing.T) {
	p := newPark(t, 3)
	p.put("one", "")
	p.runs("one", 3)
	p.put("two", lasting)
	canary := p.runs("two", 1)[0]
	var other *host
	for _, h := range p.runs("one", 2) {
		other = h
	}
	p.etcd.Compact(t)
	for _, h := range []*host{other, canary} {
		was := h.topic()
		h.stop()
		again := p.add(h.id)
		require.Equal(t, was, again.topicOnce(), "with etcd")
		again.stop()
	}
	p.hosts["host-0"].stop()
	p.hosts["host-1"].stop()
	p.hosts["host-2"].stop()
	p.etcd.Stop(t, 0)
	for _, h := range []*host{other, canary} {
		was := h.topic()
		again := p.add(h.id)
		p.until("without etcd", func() bool { return again.topic() == was })
	}
	p.etcd.Restart(t, 0)
}

func TestAnAgentThatNeverSawTheLastGoodVersionFindsItWhileEtcdOrACommandRemembers(t *testing.T) {
	p := newPark(t, 1)
	p.put("one", "")
	p.runs("one", 1)
	p.put("two", lasting)
	p.runs("two", 1)
	late := func(id string) *host {
		h := p.add(id)
		for rollout.Place("web", id) <= p.state().UpTo {
			require.FailNow(t, "choose another id: this one is in the wave")
		}
		return h
	}
	require.Equal(t, "one", late("late-"+outside(p.state())).topicOnce())

	p.etcd.Compact(t)
	id := "later-" + outside(p.state())
	p.cfg[id] = testConfig(t, p.etcd.Endpoints()...)
	refusal := func(h *host) string {
		for _, r := range h.snapshot.Load().Refused {
			return r.Error
		}
		return ""
	}
	h := late(id)
	p.until("it says what is missing", func() bool { return refusal(h) != "" })
	require.Contains(t, refusal(h), "neither it nor etcd remembers the last good version")
	h.stop()

	p.etcd.Put(t, "/logferry/good/web", text("one"))
	p.cfg[id] = Config{Endpoints: p.etcd.Endpoints(), CachePath: filepath.Join(t.TempDir(), "x"), AllowPaths: p.cfg[id].AllowPaths}
	require.Equal(t, "one", late(id).topicOnce())
}

// outside is the end of an id that no wave of a state has.
func outside(st rollout.State) string {
	for i := 0; ; i++ {
		end := fmt.Sprint(i)
		if rollout.Place("web", "late-"+end) > st.UpTo && rollout.Place("web", "later-"+end) > st.UpTo {
			return end
		}
	}
}

func TestTheDocumentedRoleOfAgentsIsEnoughForRolloutsAndLetsThemKeepNoText(t *testing.T) {
	e, login := documentedRoles(t)
	p := &park{t: t, etcd: e, hosts: map[string]*host{}, cfg: map[string]Config{"a": login("logferry-agent"), "b": login("logferry-agent")}}
	p.add("a")
	p.add("b")
	p.put("one", "")
	p.runs("one", 2)
	p.phase(p.put("two", quick), rollout.Done)
	p.runs("two", 2)

	client, err := dial(t.Context(), p.cfg["a"], nil)
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	_, err = client.Put(t.Context(), "/logferry/good/web", text("mine"))
	require.ErrorContains(t, err, "permission denied")
	_, err = client.Put(t.Context(), "/logferry/tasks/web", text("mine"))
	require.ErrorContains(t, err, "permission denied")
}

func TestWithoutTheRightToReadRolloutsOnlyTheseStandStill(t *testing.T) {
	e := etcdtest.Start(t)
	e.AddUser(t, "a", "secret")
	for _, prefix := range []string{"agents/", "status/"} {
		e.Grant(t, "a", "/logferry/"+prefix, etcdtest.ReadWrite)
	}
	e.Grant(t, "a", "/logferry/tasks/", etcdtest.Read)
	e.EnableAuth(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Username, cfg.Password = "a", "secret"
	p := &park{t: t, etcd: e, hosts: map[string]*host{}, cfg: map[string]Config{"a": cfg}}
	h := p.add("a")
	p.put("one", "")
	p.runs("one", 1)
	p.put("two", quick)
	p.etcd.Put(t, "/logferry/tasks/new", text("new")+quick)
	p.etcd.Put(t, "/logferry/tasks/shop", text("shop"))
	p.until("the other task", func() bool { return topics(*h.snapshot.Load())["shop"] == "shop" })
	require.Equal(t, "one", h.topic())
	refused := h.snapshot.Load().Refused
	require.Len(t, refused, 1)
	require.Contains(t, refused[0].Error, "may not read /logferry/rollouts/")
}

func TestAStateThatCannotBeReadMovesNothingUntilItIsWrittenAnew(t *testing.T) {
	s := newTaskSet(Config{Prefix: "/logferry", Identity: task.Identity{ID: "a"}})
	s.allow = testConfig(t, "127.0.0.1:1").AllowPaths
	s.put("web", value{raw: []byte(text("one")), rev: 1, created: 1})
	s.put("web", value{raw: []byte(text("two") + quick), rev: 2, created: 1})
	require.Equal(t, map[string]string{"web": "one"}, topics(s.snapshot()))
	require.False(t, s.setState("web", []byte("nonsense")))
	require.Equal(t, map[string]string{"web": "one"}, topics(s.snapshot()))
	require.True(t, s.underWay())
}

func TestAgentsThatMayNotMoveARolloutOnLeaveItToOthers(t *testing.T) {
	e := etcdtest.Start(t)
	rights := map[string]map[string]clientv3.PermissionType{
		"reader": {"tasks/": etcdtest.Read, "agents/reader": etcdtest.ReadWrite, "status/reader": etcdtest.ReadWrite, "rollouts/": etcdtest.Read},
		"blind":  {"tasks/": etcdtest.Read, "agents/blind": etcdtest.ReadWrite, "status/blind": etcdtest.ReadWrite, "rollouts/": etcdtest.ReadWrite},
		"whole":  {"tasks/": etcdtest.Read, "agents/": etcdtest.ReadWrite, "status/": etcdtest.ReadWrite, "rollouts/": etcdtest.ReadWrite},
	}
	p := &park{t: t, etcd: e, hosts: map[string]*host{}, cfg: map[string]Config{}}
	for user, prefixes := range rights {
		e.AddUser(t, user, "secret")
		for prefix, right := range prefixes {
			e.Grant(t, user, "/logferry/"+prefix, right)
		}
		p.cfg[user] = testConfig(t, e.Endpoints()...)
	}
	e.EnableAuth(t)
	for user, cfg := range p.cfg {
		cfg.Username, cfg.Password = user, "secret"
		p.cfg[user] = cfg
	}
	p.add("reader")
	p.add("blind")
	p.put("one", "")
	p.runs("one", 2)
	rev := p.put("two", quick)
	tried := e.Client(t).Watch(t.Context(), "/logferry/rollouts/~leader", clientv3.WithRev(rev))
	<-tried // by one who then sees nothing
	p.add("whole")
	p.phase(rev, rollout.Done)
	p.runs("two", 3)
}

func TestAgentsThatARolloutDoesNotConcernLookNothingUp(t *testing.T) {
	s := newTaskSet(Config{Prefix: "/logferry", Identity: task.Identity{ID: "b"}})
	p := value{raw: []byte(text("two") + "select: {ids: [a]}\n" + quick), rev: 2, created: 1}
	st := rollout.State{Created: 1, Target: rollout.Version{Revision: 2, Hash: rollout.HashOf(p.raw)}, Good: rollout.Version{Revision: 1, Hash: "x"}, Phase: rollout.Rolling}
	state, err := json.Marshal(st)
	require.NoError(t, err)
	require.False(t, s.put("web", p))
	require.False(t, s.setState("web", state))
	require.Empty(t, s.roll.missing)
	require.False(t, s.underWay())
	require.Len(t, s.others, 1)
	require.Empty(t, s.snapshot().Tasks)
}

func TestEachAgentKnowsTheWaveOfAChangeUntilItHasReachedAll(t *testing.T) {
	p := newPark(t, 3)
	other := p.add("other")
	p.put("one", "select: {ids: ['host-*']}\n")
	p.runs("one", 3)
	told := func(want ...RolloutWave) {
		t.Helper()
		p.until(fmt.Sprint(want), func() bool {
			for _, h := range p.hosts {
				if h != other && !slices.Equal(h.RolloutWaves(), want) {
					return false
				}
			}
			return true
		})
		require.Empty(t, other.RolloutWaves(), "it does not concern this one")
	}
	told()
	rev := p.put("two", "select: {ids: ['host-*']}\n"+lasting)
	told(RolloutWave{Task: "web", Phase: rollout.Rolling, Wave: 1})
	leader := p.leader()
	p.until("one agent leads", func() bool { return leader.conductor.Leads() })
	for _, h := range p.hosts {
		require.Equal(t, h == leader, h.conductor.Leads(), h.id)
	}
	canary := p.runs("two", 1)[0]
	canary.tells(func(r *TaskReport) {
		if r.Revision == rev {
			r.DeadLetters = 1
		}
	})
	told(RolloutWave{Task: "web", Phase: rollout.Back, Wave: 1})
	p.until("nobody leads any more", func() bool { return !leader.conductor.Leads() })
	p.put("three", "select: {ids: ['host-*']}\n"+quick)
	p.runs("three", 3)
	told()
	p.put("four", "select: {ids: ['host-*']}\n"+lasting)
	told(RolloutWave{Task: "web", Phase: rollout.Rolling, Wave: 1})
	p.etcd.Delete(t, "/logferry/tasks/web")
	told()
}
