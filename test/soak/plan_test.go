package soak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is what an event does.
type kind string

const (
	setRate     kind = "rate"       // n lines a second from now on
	burst       kind = "burst"      // n lines at once
	rename      kind = "rename"     // rotate the stream's log
	terminate   kind = "sigterm"    // the agent
	kill        kind = "sigkill"    // the agent
	start       kind = "start"      // the agent
	pauseBroker kind = "pause"      // its connections stay open, nothing answers
	resume      kind = "resume"     // the paused broker
	killBroker  kind = "killbroker" // with SIGKILL
	restart     kind = "restart"    // the killed broker
	edit        kind = "edit"       // the task's file, version n
)

// event is one step of a plan.
type event struct {
	at     time.Duration // since the beginning
	kind   kind
	stream int
	n      int
}

func (e event) String() string {
	return fmt.Sprintf("%8s %s stream %d n %d", e.at.Round(time.Millisecond), e.kind, e.stream, e.n)
}

// plan is what a seed and a duration make of the world.
type plan struct {
	streams int
	events  []event
}

// weights is how often each kind is drawn, of 100.
var weights = []struct {
	kind kind
	upTo int
}{{setRate, 32}, {burst, 42}, {rename, 78}, {edit, 84}, {terminate, 88}, {kill, 92}, {pauseBroker, 96}, {killBroker, 100}}

// newPlan draws a plan. The agent that starts last lives through at least the
// last third, so that what it leaks shows.
func newPlan(seed uint64, d time.Duration) plan {
	rng := rand.New(rand.NewPCG(seed, uint64(d)))
	p := plan{streams: 3 + rng.IntN(6)}
	for s := range p.streams {
		p.events = append(p.events, event{0, setRate, s, 200 + rng.IntN(2000)})
	}
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(rng.Int64N(int64(to-from))) }
	var agentBack, brokerBack time.Duration
	for at := time.Duration(0); at < d; at += between(50*time.Millisecond, 350*time.Millisecond) {
		draw, s := rng.IntN(100), rng.IntN(p.streams)
		i := slices.IndexFunc(weights, func(w struct {
			kind kind
			upTo int
		}) bool {
			return draw < w.upTo
		})
		e := event{at: at, kind: weights[i].kind, stream: s}
		back := at + between(100*time.Millisecond, 3*time.Second)
		switch e.kind {
		case setRate:
			e.n = rng.IntN(3000)
		case burst:
			e.n = 1 + rng.IntN(8000)
		case edit:
			e.n = rng.IntN(1 << 16)
		case terminate, kill:
			if at < agentBack || back > d*2/3 {
				continue
			}
			agentBack = back
			p.events = append(p.events, event{at: back, kind: start})
		case pauseBroker, killBroker:
			if at < brokerBack || back > d {
				continue
			}
			brokerBack = back
			heals := map[kind]kind{pauseBroker: resume, killBroker: restart}
			p.events = append(p.events, event{at: back, kind: heals[e.kind]})
		}
		p.events = append(p.events, e)
	}
	slices.SortStableFunc(p.events, func(a, b event) int { return int(a.at - b.at) })
	return p
}
