package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"logferry/agent/task"
)

// Agent is one agent that a task is for, as the fleet sees it.
type Agent struct {
	task.Identity
	Name     string // of its keys
	Reported bool   // it tells of the task; all below is what it tells

	Revision    int64 // of the version that it has
	State       string
	Error       string
	Refused     int64 // revision of the version that it refused; 0: none
	DeadLetters uint64
	LagGrows    bool
}

// Input is all that a step depends on.
type Input struct {
	Name    string
	Spec    task.Rollout // of Target
	Target  Version      // the newest
	Created int64        // revision that created the task
	State   *State       // nil: none is known
	Before  Version      // the last good version when there is no state of this task; zero: there is none
	Agents  []Agent      // that run, and that Target is for
	Seen    Seen
	Now     time.Time
}

// Seen is what whoever decides has seen of one wave. It is not part of the
// state: who takes over looks for as long as the wave asks for, by its own clock.
type Seen struct {
	Target Version
	Wave   int
	Well   time.Time // since when it is well; zero: it is not
	Unwell time.Time // since when it is not; zero: it is
}

// Next returns the state that follows, nil when it stays, and what is seen by
// now.
func Next(in Input) (*State, Seen) {
	if in.State == nil || !in.State.About(in.Created, in.Target) {
		return begin(in), Seen{}
	}
	st := *in.State
	if st.Phase != Rolling {
		return nil, Seen{}
	}
	seen := in.Seen
	if seen.Target != in.Target || seen.Wave != st.Wave {
		seen = Seen{Target: in.Target, Wave: st.Wave}
	}
	health := st.Health(in.Name, in.Agents)
	switch {
	case health.Nobody:
		if next := open(st, in, st.Wave); next.UpTo != st.UpTo {
			return &next, Seen{}
		}
		return nil, Seen{}
	case health.Final:
		return back(st, in.Now, health), Seen{}
	case health.Text != "":
		seen.Well = time.Time{}
		if seen.Unwell.IsZero() {
			seen.Unwell = in.Now
		}
		if in.Now.Sub(seen.Unwell) >= in.Spec.TimeoutOrDefault() {
			return back(st, in.Now, health), Seen{}
		}
		return nil, seen
	}
	seen.Unwell = time.Time{}
	if seen.Well.IsZero() {
		seen.Well = in.Now
	}
	switch {
	case in.Now.Sub(seen.Well) < in.Spec.PauseOrDefault():
		return nil, seen
	case st.Wave >= len(in.Spec.Waves):
		st.Phase, st.Since, st.First = Done, in.Now.UTC().Truncate(time.Second), nil
		return &st, Seen{}
	}
	next := open(st, in, st.Wave+1)
	return &next, Seen{}
}

// begin is the first state of a rollout.
func begin(in Input) *State {
	good := in.Before
	if in.State != nil && in.State.Created == in.Created {
		good = in.State.Base()
	}
	st := State{Created: in.Created, Target: in.Target, Good: good, Phase: Rolling}
	if good.Hash == in.Target.Hash { // what every agent has
		st.Good, st.Phase, st.Since = in.Target, Done, in.Now.UTC().Truncate(time.Second)
		st.Waves, st.Wave = texts(in.Spec), len(in.Spec.Waves)
		return &st
	}
	st = open(st, in, 1)
	return &st
}

// open is the state with the waves up to one, counted from 1.
func open(st State, in Input, wave int) State {
	st.Wave, st.Waves, st.Since, st.Labels, st.First = wave, texts(in.Spec), in.Now.UTC().Truncate(time.Second), nil, nil
	places := make([]string, len(in.Agents))
	for i, a := range in.Agents {
		places[i] = Place(in.Name, a.ID)
	}
	slices.Sort(places)
	for _, w := range in.Spec.Waves[:wave] {
		n := min(w.Count, len(places))
		switch {
		case w.Label != "":
			st.Labels = append(st.Labels, w.String())
		case w.Percent == 100:
			st.UpTo = everyone
		case w.Percent > 0:
			n = (w.Percent*len(places) + 99) / 100
		}
		if n > 0 {
			st.UpTo = max(st.UpTo, places[n-1])
		}
	}
	members := st.members(in.Name, in.Agents)
	if st.Size = len(members); st.Size <= maxNamed {
		for _, a := range members {
			st.First = append(st.First, a.Name)
		}
		slices.Sort(st.First)
	}
	return st
}

func texts(spec task.Rollout) []string {
	out := make([]string, len(spec.Waves))
	for i, w := range spec.Waves {
		out[i] = w.String()
	}
	return out
}

func back(st State, now time.Time, h Health) *State {
	st.Phase, st.Since, st.Agent, st.Reason = Back, now.UTC().Truncate(time.Second), h.Agent, h.Text
	return &st
}

func (s State) members(name string, agents []Agent) []Agent {
	var out []Agent
	for _, a := range agents {
		if s.Reaches(name, a.Identity) {
			out = append(out, a)
		}
	}
	return out
}

// Health is how the open waves are.
type Health struct {
	Agents int    // of the open waves
	Have   int    // of these have the change
	Nobody bool   // no agent of the open waves runs
	Agent  string // the first that is not well
	Text   string // what is not well; empty: all is
	Final  bool   // no time heals it
}

// goneShare is how many agents of a wave may go, as one in so many: hosts leave
// and come in a large fleet, and a canary that goes has perhaps crashed.
const goneShare = 10

// Health looks at the agents of the open waves.
func (s State) Health(name string, agents []Agent) Health {
	members := s.members(name, agents)
	h := Health{Agents: len(members), Nobody: len(members) == 0 && s.Size == 0}
	for _, a := range members {
		if a.Reported && a.Revision == s.Target.Revision {
			h.Have++
		}
		if text, final := s.trouble(a); text != "" && (h.Text == "" || final && !h.Final) {
			h.Agent, h.Text, h.Final = a.Name, text, final
		}
	}
	gone := s.Size - len(members)
	if gone > s.Size/goneShare && !h.Final {
		h.Text = fmt.Sprintf("%d of %d agents of the wave are gone", gone, s.Size)
		h.Agent = s.gone(members)
	}
	return h
}

// gone names the agents of the wave that are not there.
func (s State) gone(members []Agent) string {
	var names []string
	for _, name := range s.First {
		if !slices.ContainsFunc(members, func(a Agent) bool { return a.Name == name }) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// trouble says why an agent of a wave is not well.
func (s State) trouble(a Agent) (text string, final bool) {
	has := a.Reported && a.Revision == s.Target.Revision
	switch {
	case a.Reported && a.Refused == s.Target.Revision:
		return "refused: " + a.Error, true
	case has && a.DeadLetters > 0:
		return fmt.Sprintf("records that Kafka will never take were set aside as dead letters: %d", a.DeadLetters), true
	case has && a.State == "failing":
		return "failing: " + a.Error, false
	case has && a.LagGrows:
		return "its lag grows", false
	case !has || a.State != "running" && a.State != "finished":
		return "it has not taken the change yet", false
	}
	return "", false
}
