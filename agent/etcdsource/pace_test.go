package etcdsource

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var paceStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func paceOf(agents int) *pace {
	p := newPace()
	p.count(paceStart, agents)
	return &p
}

// tells notes a change and returns after how long it is told.
func (p *pace) tells(now time.Time, urgent bool) time.Duration {
	p.changed(now, urgent)
	due := p.due
	p.told()
	return due.Sub(now)
}

func TestInASmallFleetAChangeIsToldAtOnce(t *testing.T) {
	for agents, want := range map[int]time.Duration{1: time.Millisecond, 100: 100 * time.Millisecond, 1000: time.Second} {
		p := paceOf(agents)
		for range fleetBurst / 1000 {
			require.Less(t, p.tells(paceStart, false), want, agents)
		}
		after := p.tells(paceStart, false)
		require.GreaterOrEqual(t, after, reportRefill/2)
		require.Less(t, after, reportRefill*3/2)
		again := paceStart.Add(after + reportRefill)
		require.Less(t, p.tells(again, false), want, "one more has been filled in")
	}
}

func TestInALargeFleetReportsOfOneEditAreSpread(t *testing.T) {
	var latest time.Duration
	for range 1000 {
		latest = max(latest, paceOf(5000).tells(paceStart, false))
	}
	require.Greater(t, latest, 4*time.Second)
	require.Less(t, latest, 5*time.Second)
}

func TestWhatIsUrgentIsToldWithinASecondInAnyFleet(t *testing.T) {
	for range 100 {
		p := paceOf(100_000)
		for range 3 {
			p.tells(paceStart, false)
		}
		p.changed(paceStart, false)
		require.Greater(t, p.due.Sub(paceStart), time.Minute)
		p.changed(paceStart, true)
		require.LessOrEqual(t, p.due.Sub(paceStart), urgentSpread)
		due := p.due
		p.changed(paceStart, false)
		require.Equal(t, due, p.due, "a change that nobody waits for goes along")
		require.False(t, p.isDue(due.Add(-1)))
		require.True(t, p.isDue(due))
		p.told()
		require.False(t, p.isDue(due))
	}
}

func TestWhatIsUrgentAgainAndAgainIsToldInABurstAndThenSlowly(t *testing.T) {
	p := paceOf(1)
	for range reportBurst {
		require.Less(t, p.tells(paceStart, true), time.Millisecond)
	}
	require.Equal(t, reportRefill, p.tells(paceStart, true))
	require.Less(t, p.tells(paceStart.Add(reportRefill), true), time.Millisecond)
}

// While every second brings an edit for all, agents take several in one report,
// and do not come to report in step.
func TestALargeFleetUnderEditsWritesSteadily(t *testing.T) {
	const agents, seconds, settled = 5000, 120, 60
	fleet := make([]*pace, agents)
	for i := range fleet {
		fleet[i] = paceOf(agents)
	}
	var reports [seconds]int
	for second := range seconds {
		for tenth := range 10 {
			now := paceStart.Add(time.Duration(10*second+tenth) * 100 * time.Millisecond)
			for _, p := range fleet {
				if tenth == 0 {
					p.changed(now, false)
				}
				if p.isDue(now) {
					p.told()
					reports[second]++
				}
			}
		}
	}
	sum := 0
	for second, n := range reports {
		require.LessOrEqual(t, n, swiftRate*5/4, "second %d", second)
		if second >= settled {
			sum += n
			require.LessOrEqual(t, n, 3*steadyRate, "second %d", second)
		}
	}
	require.InDelta(t, steadyRate, sum/(seconds-settled), steadyRate/2)
}

func TestAgentsAreCountedMoreRarelyTheMoreThereAreAndWhileTheyStayTheSame(t *testing.T) {
	p := newPace()
	require.True(t, p.countDue(paceStart))
	within := func(least, most time.Duration) {
		t.Helper()
		require.False(t, p.countDue(p.counted.Add(least*4/5-1)))
		require.True(t, p.countDue(p.counted.Add(most*6/5)))
	}
	p.count(paceStart, 0)
	require.Equal(t, 1, p.agents)
	within(minCount, minCount)
	p.count(paceStart, 5000)
	within(5*time.Minute, 5*time.Minute)
	p.count(paceStart, 5100)
	within(8*time.Minute, 12*time.Minute)
	for range 5 {
		p.count(paceStart, 5100)
	}
	within(maxCount, maxCount)
	p.count(paceStart, 200)
	within(minCount, minCount)
}
