package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
)

const name = "web"

var (
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	old    = Version{Revision: 10, Hash: HashOf([]byte("old"))}
	target = Version{Revision: 20, Hash: HashOf([]byte("new"))}
)

// fleet is a world that takes each step as real agents would.
type fleet struct {
	t     *testing.T
	in    Input
	every map[string]*Agent
}

func newFleet(t *testing.T, n int, waves ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, every: map[string]*Agent{}}
	f.in = Input{Name: name, Target: target, Created: 1, Before: old, Now: start}
	for _, text := range waves {
		w, err := task.ParseWave(text)
		require.NoError(t, err)
		f.in.Spec.Waves = append(f.in.Spec.Waves, w)
	}
	for i := range n {
		id := fmt.Sprintf("agent-%d", i)
		f.every[id] = &Agent{Identity: task.Identity{ID: id}, Name: id, Reported: true, State: "running", Revision: old.Revision}
	}
	return f
}

// take lets the agents of the open waves take the change.
func (f *fleet) take() {
	for _, a := range f.every {
		if f.in.State.Reaches(name, a.Identity) {
			a.Revision = target.Revision
		} else {
			a.Revision = f.in.State.Good.Revision
		}
	}
}

// step lets time pass and decides.
func (f *fleet) step(passed time.Duration) bool {
	f.in.Now = f.in.Now.Add(passed)
	f.in.Agents = nil
	for _, a := range f.every {
		f.in.Agents = append(f.in.Agents, *a)
	}
	next, seen := Next(f.in)
	f.in.Seen = seen
	if next != nil {
		text, err := json.Marshal(next) // what etcd holds
		require.NoError(f.t, err)
		f.in.State = &State{}
		require.NoError(f.t, json.Unmarshal(text, f.in.State))
	}
	return next != nil
}

func (f *fleet) reached() (ids []string) {
	for id, a := range f.every {
		if f.in.State.Reaches(name, a.Identity) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// well brings a fleet into a wave that has been well for a second.
func (f *fleet) well() {
	require.True(f.t, f.step(0))
	f.take()
	require.False(f.t, f.step(time.Second))
}

func TestAHealthyChangeGoesFromWaveToWaveAndIsGoodThen(t *testing.T) {
	f := newFleet(t, 10, "1", "25%", "all")
	var before []string
	for _, want := range []int{1, 3, 10} {
		require.True(t, f.step(time.Minute))
		require.Len(t, f.reached(), want)
		require.Subset(t, f.reached(), before, "who has it keeps it")
		before = f.reached()
		require.Equal(t, before, f.in.State.First)
		require.False(t, f.step(time.Hour), "nobody has taken it yet")
		f.in.Seen = Seen{}
		f.take()
		require.False(t, f.step(time.Second))
		require.False(t, f.step(59*time.Second), "the pause is not over")
	}
	require.True(t, f.step(time.Second))
	require.Equal(t, Done, f.in.State.Phase)
	require.Equal(t, target, f.in.State.Base())
	require.False(t, f.step(time.Hour))
}

func TestLabelsComeFirstAndKeepTheChange(t *testing.T) {
	f := newFleet(t, 10, "ring=canary", "50%", "all")
	f.every["agent-3"].Labels = map[string]string{"ring": "canary"}
	f.every["agent-4"].Labels = map[string]string{"ring": "other"}
	f.well()
	require.Equal(t, []string{"agent-3"}, f.reached())
	require.True(t, f.step(time.Minute))
	require.Contains(t, f.reached(), "agent-3")
	require.GreaterOrEqual(t, len(f.reached()), 5)
	require.LessOrEqual(t, len(f.reached()), 6)
}

func TestAWaveWithoutAgentsStandsStillUntilThereAreSome(t *testing.T) {
	for _, first := range []string{"ring=canary", "10%", "2"} {
		f := newFleet(t, 0, first, "all")
		f.step(0)
		require.False(t, f.step(24*time.Hour))
		require.True(t, f.in.State.Health(name, nil).Nobody)
		f.every["late"] = &Agent{Identity: task.Identity{ID: "late", Labels: map[string]string{"ring": "canary"}}, Name: "late"}
		f.step(time.Second)
		require.Equal(t, []string{"late"}, f.reached(), first)
		require.Equal(t, 1, f.in.State.Wave)
	}
}

func TestWhatNoTimeHealsGoesBackAtOnce(t *testing.T) {
	for reason, change := range map[string]func(a *Agent){
		"refused: no such path": func(a *Agent) { a.Refused, a.Revision, a.Error = target.Revision, old.Revision, "no such path" },
		"records that Kafka will never take were set aside as dead letters: 3": func(a *Agent) { a.DeadLetters = 3 },
	} {
		f := newFleet(t, 3, "1", "all")
		f.well()
		canary := f.reached()[0]
		change(f.every[canary])
		require.True(t, f.step(time.Second))
		require.Equal(t, Back, f.in.State.Phase)
		require.Equal(t, canary, f.in.State.Agent)
		require.Equal(t, reason, f.in.State.Reason)
		require.Empty(t, f.reached())
		require.Equal(t, old, f.in.State.Base())
		require.False(t, f.step(24*time.Hour), "it does not go out again by itself")
	}
}

func TestWhatTimeMayHealHasItsTime(t *testing.T) {
	for reason, change := range map[string]func(f *fleet, a *Agent){
		"failing: no broker":                 func(_ *fleet, a *Agent) { a.State, a.Error = "failing", "no broker" },
		"its lag grows":                      func(_ *fleet, a *Agent) { a.LagGrows = true },
		"it has not taken the change yet":    func(_ *fleet, a *Agent) { a.Reported = false },
		"1 of 1 agents of the wave are gone": func(f *fleet, a *Agent) { delete(f.every, a.Name) },
	} {
		f := newFleet(t, 3, "1", "all")
		f.well()
		canary := f.reached()[0]
		was := *f.every[canary]
		require.False(t, f.step(58*time.Second))
		change(f, f.every[canary])
		require.False(t, f.step(time.Hour), "it was well a moment ago")
		require.False(t, f.step(4*time.Minute), reason)
		f.every[canary] = &was
		require.False(t, f.step(time.Hour), "the pause begins anew")
		change(f, f.every[canary])
		require.False(t, f.step(time.Second))
		require.False(t, f.step(5*time.Minute-time.Second), "so does the timeout")
		require.True(t, f.step(time.Second))
		require.Equal(t, Back, f.in.State.Phase)
		require.Equal(t, canary, f.in.State.Agent)
		require.Equal(t, reason, f.in.State.Reason)
	}
}

func TestTroubleOutsideOfTheWaveOrOfAnotherVersionDoesNotCount(t *testing.T) {
	f := newFleet(t, 3, "1", "all")
	f.well()
	canary := f.reached()[0]
	f.every[canary].Refused = old.Revision
	for id, a := range f.every {
		if id != canary {
			a.State, a.DeadLetters, a.LagGrows, a.Refused = "failing", 7, true, target.Revision
		}
	}
	require.True(t, f.step(time.Minute))
	require.Equal(t, 2, f.in.State.Wave)
}

func TestAFewOfManyAgentsMayGo(t *testing.T) {
	f := newFleet(t, 40, "50%", "all")
	f.well()
	gone := f.reached()
	for _, id := range gone[:2] {
		delete(f.every, id)
	}
	require.True(t, f.step(time.Minute))
	require.Equal(t, 2, f.in.State.Wave)

	f = newFleet(t, 40, "50%", "all")
	f.well()
	for _, id := range gone[:3] {
		delete(f.every, id)
	}
	require.False(t, f.step(time.Minute))
	require.Equal(t, "3 of 20 agents of the wave are gone", f.in.State.Health(name, f.in.Agents).Text)
}

func TestWhoTakesOverLooksForTheWholePause(t *testing.T) {
	f := newFleet(t, 3, "1", "all")
	f.well()
	require.False(t, f.step(59*time.Second))
	f.in.Seen, f.in.Now = Seen{}, f.in.Now.Add(24*time.Hour) // another agent, whose clock is ahead
	require.False(t, f.step(0))
	require.False(t, f.step(59*time.Second))
	require.True(t, f.step(time.Second))
}

func TestAnEditStartsAnewFromTheLastGoodVersion(t *testing.T) {
	edit := Version{Revision: 30, Hash: HashOf([]byte("edit"))}
	f := newFleet(t, 3, "1", "all")
	f.well()
	f.in.Target = edit
	require.True(t, f.step(time.Minute))
	require.Equal(t, 1, f.in.State.Wave)
	require.Equal(t, edit, f.in.State.Target)
	require.Equal(t, old, f.in.State.Good)

	// One that says what the last good one said is good at once.
	f.in.Target = Version{Revision: 40, Hash: old.Hash}
	require.True(t, f.step(time.Minute))
	require.Equal(t, Done, f.in.State.Phase)
	require.Equal(t, f.in.Target, f.in.State.Base())

	// A text that went back is tried again when it is put again.
	f.in.State.Phase, f.in.State.Target, f.in.State.Good = Back, target, old
	f.in.Target = Version{Revision: 50, Hash: target.Hash}
	require.True(t, f.step(time.Minute))
	require.Equal(t, Rolling, f.in.State.Phase)
	require.Equal(t, old, f.in.State.Good)

	// A task that was removed and made again knows of none.
	f.in.Created, f.in.Before, f.in.Target.Revision = 60, Version{}, 60
	require.True(t, f.step(time.Minute))
	require.Zero(t, f.in.State.Good)
}

func TestPlacesAreStableAndDifferFromTaskToTask(t *testing.T) {
	require.Equal(t, "8f168da170139ee0", Place("web", "agent-1"), "a change would move every canary of every fleet")
	require.NotEqual(t, Place("web", "agent-1"), Place("shop", "agent-1"))
	require.Len(t, HashOf(nil), 32)
}
