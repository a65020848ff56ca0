package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tried lets a minute pass in which a task's lag is what it is at each second.
func tried(lag func(second int) (bytes int64, seconds float64)) (grows bool) {
	st := TaskStatus{Revision: 7}
	t := &trials{
		current: func() map[string]time.Duration { return map[string]time.Duration{"web": 20 * time.Second} },
		status:  func(string) (TaskStatus, bool) { return st, true },
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s := range 60 {
		st.LagBytes, st.LagSeconds = lag(s)
		t.look(start.Add(time.Duration(s) * time.Second))
	}
	_, grows = t.of("web")
	return grows
}

func TestALagGrowsWhenMoreAndMoreWaitsForLonger(t *testing.T) {
	for name, c := range map[string]struct {
		lag  func(s int) (int64, float64)
		want bool
	}{
		"nothing is delivered":                   {func(s int) (int64, float64) { return int64(s) * 100, float64(s) }, true},
		"less is delivered than comes":           {func(s int) (int64, float64) { return int64(s)*100 + int64(s%3)*50, float64(s) * 0.9 }, true},
		"it was behind already, and catches up":  {func(s int) (int64, float64) { return int64(100-s) * 100, 300 }, false},
		"it was behind already, and stays so":    {func(s int) (int64, float64) { return 1000 + int64(s), 300 }, false},
		"a line that is never ended":             {func(s int) (int64, float64) { return 8, float64(s) }, false},
		"such a line beside a busy file":         {func(s int) (int64, float64) { return 8 + int64(s%5)*100, float64(s) }, false},
		"a long file is read from its beginning": {func(s int) (int64, float64) { return int64(1000-s) * 1e6, float64(s) }, false},
		"it recovers":                            {func(s int) (int64, float64) { return int64(s) * 100, float64(s % 45) }, false},
	} {
		require.Equal(t, c.want, tried(c.lag), name)
	}
}

func TestATrialIsOfOneVersionAndChangesTheDigestWithItsJudgementAlone(t *testing.T) {
	st, trying := TaskStatus{Revision: 7}, map[string]time.Duration{"web": time.Second}
	tr := &trials{
		current: func() map[string]time.Duration { return trying },
		status:  func(name string) (TaskStatus, bool) { return st, name == "web" },
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	look := func() uint64 {
		now = now.Add(trialInterval)
		return tr.look(now)
	}
	well := look()
	st.LagBytes = 100
	require.Equal(t, well, look())
	st.SetAside = 1
	aside := look()
	require.NotEqual(t, well, aside)
	st.SetAside = 2
	require.Equal(t, aside, look())
	st.LagBytes, st.LagSeconds = 200, 10
	require.NotEqual(t, aside, look())
	tried, grows := tr.of("web")
	require.True(t, tried)
	require.True(t, grows)
	st.Revision = 8
	next := look()
	require.NotEqual(t, aside, next, "a rollout waits for it")
	require.Equal(t, next, look())
	_, grows = tr.of("web")
	require.False(t, grows, "what was before the change does not count")
	trying = nil
	look()
	tried, _ = tr.of("web")
	require.False(t, tried)
}
