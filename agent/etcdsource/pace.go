package etcdsource

import (
	"math/rand/v2"
	"time"
)

// How fast all agents together tell what has changed. One edit changes something
// on each of them within a tenth of a second, and thousands of reports at once
// would keep etcd from handing out that edit and the next.
const (
	swiftRate    = 1000                  // reports a second after a change that comes alone
	steadyRate   = 200                   // reports a second while changes go on and on
	unknownFleet = 1000                  // agents that one reckons with that may not count them
	urgentSpread = time.Second           // longest that somebody waits for what is urgent
	reportBurst  = 5                     // changes that an agent tells one after another; fewer in a large fleet
	fleetBurst   = 5000                  // the same of all agents together
	reportRefill = 5 * time.Second       // after which it may tell one more; more in a large fleet
	countEach    = 60 * time.Millisecond // times the number of agents: the least time between two counts of them
	minCount     = 30 * time.Second
	maxCount     = 30 * time.Minute
)

// pace decides when an agent tells what has changed. In a small fleet that is at
// once. It belongs to one goroutine.
type pace struct {
	agents int       // of the fleet, when they were counted last
	due    time.Time // when what has changed is told; zero: nothing has
	urgent bool      // somebody waits for it

	plainly, urgently bucket // how many changes may be told without a pause

	counted   time.Time     // when the agents were
	countNext time.Duration // from then to the next time
}

func newPace() pace {
	return pace{agents: 1, plainly: bucket{left: reportBurst}, urgently: bucket{left: reportBurst}}
}

// share is how long all agents take at a rate.
func (p *pace) share(rate int) time.Duration {
	return time.Duration(p.agents) * time.Second / time.Duration(rate)
}

// burst is how many changes that nobody waits for are told one after another,
// and refill how long it takes until one more may be.
func (p *pace) burst() int            { return min(reportBurst, max(1, fleetBurst/p.agents)) }
func (p *pace) refill() time.Duration { return max(reportRefill, p.share(steadyRate)) }

// changed notes that something has to be told. What is to be told already takes
// it along.
func (p *pace) changed(now time.Time, urgent bool) {
	if !p.due.IsZero() && (p.urgent || !urgent) {
		return
	}
	var at time.Time
	switch {
	case urgent && p.urgently.take(now, reportBurst, reportRefill):
		at = now.Add(upTo(min(p.share(swiftRate), urgentSpread)))
	case urgent:
		at = p.urgently.filled.Add(reportRefill)
	case p.plainly.take(now, p.burst(), p.refill()):
		at = now.Add(upTo(p.share(swiftRate)))
	default: // between half and three halves: agents that were in step do not stay so
		at = now.Add(p.refill()/2 + upTo(p.refill()))
		p.plainly.filled = at // this one has had its turn then
	}
	if p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
	p.urgent = urgent
}

// told notes that all was told.
func (p *pace) told() { p.due, p.urgent = time.Time{}, false }

// isDue says whether there is something to be told now.
func (p *pace) isDue(now time.Time) bool { return !p.due.IsZero() && !now.Before(p.due) }

// countDue says whether the agents are to be counted again.
func (p *pace) countDue(now time.Time) bool { return now.Sub(p.counted) >= p.countNext }

// count takes over how many agents there are. To count them is work for etcd that
// grows with their number: they are counted soon when there are few, as many may
// start together, and ever more rarely while their number stays.
func (p *pace) count(now time.Time, agents int) {
	before := p.agents
	p.agents = max(1, agents)
	p.plainly.left = min(p.plainly.left, p.burst())
	next := time.Duration(p.agents) * countEach
	if diff := p.agents - before; max(diff, -diff) <= p.agents/10 {
		next = max(next, 2*p.countNext)
	}
	p.counted, p.countNext = now, jitter(max(minCount, min(maxCount, next)))
}

// upTo is a time by chance, shorter than d.
func upTo(d time.Duration) time.Duration { return rand.N(max(d, 1)) }

// bucket lets a burst through, and then one each refill.
type bucket struct {
	left   int
	filled time.Time
}

func (b *bucket) take(now time.Time, burst int, refill time.Duration) bool {
	if n := int(now.Sub(b.filled) / refill); n > 0 {
		b.left = min(burst, b.left+n)
		b.filled = now
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}
