package etcdsource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"logferry/agent/rollout"
	"logferry/agent/task"
)

// leaderName is the key below PREFIX/rollouts/ of the agent that moves waves
// on; no task can be called so.
const leaderName = "~leader"

func (c Config) rollouts() string { return c.base() + "/rollouts/" }

// goods is the prefix of the last good texts of tasks that are being rolled
// out, for agents that have never seen them.
func (c Config) goods() string { return c.base() + "/good/" }

// planned is the newest text of a task that goes from wave to wave.
type planned struct {
	value
	hash string
	plan task.Plan
}

func (p planned) version() rollout.Version { return rollout.Version{Revision: p.rev, Hash: p.hash} }

// rollouts is what a set knows of tasks that go from wave to wave.
type rollouts struct {
	newest  map[string]planned
	states  map[string]rollout.State
	before  map[string]value           // what this agent had before it took the newest text
	fetched map[string]value           // last good texts that were looked up in etcd
	missing map[string]rollout.Version // those that are still to be looked up
	denied  bool                       // the login may not read states
	leader  string                     // name of the agent that moves waves on; empty: none does
}

func newRollouts() rollouts {
	return rollouts{
		newest: map[string]planned{}, states: map[string]rollout.State{}, before: map[string]value{},
		fetched: map[string]value{}, missing: map[string]rollout.Version{},
	}
}

func (r *rollouts) forget(name string) {
	delete(r.newest, name)
	delete(r.before, name)
	delete(r.fetched, name)
	delete(r.missing, name)
}

// put takes over the newest text of a task and reports whether the snapshot
// changes by it. A text with a rollout is used when its wave reaches this agent.
func (s *taskSet) put(name string, v value) bool {
	known, there := s.roll.newest[name]
	if there && bytes.Equal(known.raw, v.raw) {
		known.value = v
		s.roll.newest[name] = known
		return s.settle(name)
	}
	plan, err := s.planOf(v.raw, name)
	switch {
	case err != nil, plan.Paused: // what this agent had before stays known
		delete(s.roll.newest, name)
		return s.use(name, v)
	case plan.Rollout == nil:
		s.roll.forget(name)
		return s.use(name, v)
	}
	s.roll.newest[name] = planned{v, rollout.HashOf(v.raw), plan}
	return s.settle(name)
}

func (s *taskSet) planOf(raw []byte, name string) (task.Plan, error) {
	if mayRoll(raw) {
		s.decoded++
	}
	return planOf(raw, name)
}

func mayRoll(raw []byte) bool { return bytes.Contains(raw, []byte("rollout")) }

// planOf spares texts without a rollout a second look.
func planOf(raw []byte, name string) (task.Plan, error) {
	if !mayRoll(raw) {
		return task.Plan{}, nil
	}
	return task.PlanOf(raw, name)
}

// setState takes over what the fleet knows of a rollout; an empty text says
// that it knows nothing.
func (s *taskSet) setState(name string, text []byte) bool {
	if name == leaderName {
		var who leaderValue
		_ = json.Unmarshal(text, &who)
		s.roll.leader = who.Agent
		return false
	}
	var st rollout.State
	if json.Unmarshal(text, &st) == nil {
		s.roll.states[name] = st
	} else { // what cannot be read moves nothing
		delete(s.roll.states, name)
	}
	if _, ok := s.roll.newest[name]; !ok {
		return false
	}
	return s.settle(name)
}

// settle uses the version of a planned task that is for this agent now, and
// reports whether the snapshot changes by it.
func (s *taskSet) settle(name string) bool {
	p, was := s.roll.newest[name], s.good[name]
	delete(s.roll.missing, name)
	if was.raw == nil && !s.roll.concerns(name, p, s.self) {
		changed := s.drop(name)
		s.others[name] = p.value
		return changed
	}
	v, ok := s.choose(name, p)
	if !ok {
		return s.wait(name, p)
	}
	changed := s.use(name, v)
	if was.raw != nil && !was.task.Paused && bytes.Equal(v.raw, p.raw) && !bytes.Equal(was.raw, p.raw) {
		s.roll.before[name] = was.value
	}
	if st := s.roll.states[name]; st.Phase == rollout.Done && st.About(p.created, p.version()) {
		delete(s.roll.before, name)
		delete(s.roll.fetched, name)
	}
	return changed
}

// concerns says whether a task that does not run here may come to: its newest
// text is for this agent, or this agent had one that was, or the last good one
// takes its place again.
func (r *rollouts) concerns(name string, p planned, self task.Identity) bool {
	_, had := r.before[name]
	return had || r.states[name].Phase == rollout.Back || p.plan.Select.Matches(self)
}

// choose returns the version that is for this agent; false if there is none
// that it knows.
func (s *taskSet) choose(name string, p planned) (value, bool) {
	st, known := s.roll.states[name]
	switch {
	case !known || st.Created != p.created: // nobody has begun yet: what runs goes on
		good, runs := s.good[name]
		return good.value, runs
	case !st.About(p.created, p.version()):
		return s.lookup(name, p, st.Base())
	case st.Reaches(name, s.self):
		return p.value, true
	}
	return s.lookup(name, p, st.Good)
}

// lookup finds the text of the last good version. Where that is not known, what
// this agent had itself stands for it.
func (s *taskSet) lookup(name string, p planned, want rollout.Version) (value, bool) {
	if want.Hash == p.hash {
		return p.value, true
	}
	before, hasBefore := s.roll.before[name]
	running, runs := s.good[name]
	fetched := s.roll.fetched[name]
	for _, v := range []value{before, running.value, fetched} {
		if want.Hash != "" && v.raw != nil && rollout.HashOf(v.raw) == want.Hash {
			return value{raw: v.raw, rev: want.Revision, created: p.created}, true
		}
	}
	if want.Hash != "" {
		s.roll.missing[name] = want
	}
	switch {
	case hasBefore:
		return before, true
	case runs && !bytes.Equal(running.raw, p.raw):
		return running.value, true
	}
	return value{}, false
}

// wait lets a task not run here; it is refused where that needs somebody's help.
func (s *taskSet) wait(name string, p planned) bool {
	var text string
	want, missing := s.roll.missing[name]
	switch {
	case !p.plan.Select.Matches(s.self):
		changed := s.drop(name)
		s.others[name] = p.value
		return changed
	case s.roll.denied:
		text = fmt.Sprintf("the agent's login may not read %s, so it cannot know whether the change is for it; grant its role readwrite on that prefix", s.rolloutPrefix)
	case missing:
		text = fmt.Sprintf("the change does not reach this agent, and neither it nor etcd remembers the last good version, revision %d; put that again", want.Revision)
	default:
		return s.drop(name)
	}
	bad, wasBad := s.bad[name]
	refusal := task.Refusal{Name: name, Origin: s.origin(name, p.rev), Error: text}
	s.drop(name)
	s.bad[name] = badTask{p.value, refusal}
	return !wasBad || bad.refusal != refusal
}

// trials returns, for each task of which this agent has a change that is being
// tried, by how much its lag may grow.
func (s *taskSet) trials() map[string]time.Duration {
	out := map[string]time.Duration{}
	for name, p := range s.roll.newest {
		st := s.roll.states[name]
		if st.Phase == rollout.Rolling && st.About(p.created, p.version()) && st.Reaches(name, s.self) {
			out[name] = p.plan.Rollout.MaxLagOrDefault()
		}
	}
	return out
}

// waves returns how far the changes have come that concern this agent and have
// not reached every one.
func (s *taskSet) waves() []RolloutWave {
	var out []RolloutWave
	for name, p := range s.roll.newest {
		_, runs := s.good[name]
		st := s.roll.states[name]
		if (runs || p.plan.Select.Matches(s.self)) && st.About(p.created, p.version()) && st.Phase != rollout.Done {
			out = append(out, RolloutWave{Task: name, Phase: st.Phase, Wave: st.Wave})
		}
	}
	slices.SortFunc(out, func(a, b RolloutWave) int { return strings.Compare(a.Task, b.Task) })
	return out
}

// underWay says whether something is to be moved on for a task that concerns
// this agent.
func (s *taskSet) underWay() bool {
	for name, p := range s.roll.newest {
		_, runs := s.good[name]
		st, known := s.roll.states[name]
		if (runs || p.plan.Select.Matches(s.self)) && (!known || st.Phase == rollout.Rolling || !st.About(p.created, p.version())) {
			return true
		}
	}
	for name := range s.roll.states {
		_, planned := s.roll.newest[name]
		good, runs := s.good[name]
		if _, refused := s.bad[name]; !planned && runs && !refused && !good.task.Paused {
			return true // a state that the task has outlived
		}
	}
	return false
}
