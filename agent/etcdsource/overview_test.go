package etcdsource

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func reporting(id string, applied int64, labels map[string]string, tasks ...TaskReport) Member {
	return Member{
		Name: id, Agent: Agent{ID: id, Host: id + ".example", Labels: labels, Revision: applied},
		Report: Report{ID: id, Revision: applied, Tasks: tasks},
	}
}

func TestAnOverviewSaysWhoHasTakenWhat(t *testing.T) {
	early, late := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	f := Fleet{
		Revision: 30,
		Tasks: []Entry{
			{Name: "db", Raw: []byte(text("db") + "select: {ids: [db-*]}\n"), Modified: 12},
			{Name: "web", Raw: []byte(text("web") + "select: {labels: {role: web}}\n"), Modified: 20},
			{Name: "wrong", Raw: []byte("topik: a\n"), Modified: 25},
		},
		Members: []Member{
			reporting("a", 20, map[string]string{"role": "web"},
				TaskReport{Name: "local", State: "running", Files: 1},
				TaskReport{Name: "web", State: "running", Revision: 20, Files: 2, Records: 10, Bytes: 100, LagBytes: 5, LagSeconds: 1.5, OldestUnacked: late}),
			reporting("b", 15, map[string]string{"role": "web"},
				TaskReport{Name: "web", State: "running", Revision: 15, Files: 1, Records: 1, Bytes: 10, LagBytes: 7, LagSeconds: 9, OldestUnacked: early}),
			reporting("c", 20, map[string]string{"role": "web"}, TaskReport{Name: "web", State: "running", Revision: 15, Refused: true, Error: "no"}),
			reporting("d", 20, map[string]string{"role": "web"}, TaskReport{Name: "web", State: "failing", Revision: 20, Error: "no topic"}),
			reporting("e", 0, map[string]string{"role": "web"}),
			reporting("f", 20, map[string]string{"role": "web"}, TaskReport{Name: "web", State: "stopped", Revision: 20}),
			reporting("g", 15, nil, TaskReport{Name: "web", State: "running", Revision: 15}),
		},
	}
	f.Members = append(f.Members, reporting("h", 20, map[string]string{"role": "web"}))
	f.Members[7].Report.Omitted = 3
	got := f.Overview()
	names := []string{}
	for _, o := range got {
		names = append(names, o.Name)
	}
	require.Equal(t, []string{"db", "local", "web", "wrong"}, names)

	require.Equal(t, TaskOverview{Name: "db", Revision: 12, On: []TaskOnAgent{}}, got[0], "nobody is meant")
	require.False(t, got[0].Troubled())

	require.Zero(t, got[1].Revision)
	require.Equal(t, 1, got[1].Running)

	web := got[2]
	states := map[string]string{}
	for _, on := range web.On {
		states[on.Agent] = on.State
	}
	require.Equal(t, map[string]string{
		"a": "running", "b": "pending", "c": "refused", "d": "failing", "e": "pending", "f": "stopped", "g": "draining", "h": "unknown",
	}, states)
	web.On = nil
	require.Equal(t, TaskOverview{
		Name: "web", Revision: 20, Agents: 8, Running: 1, Pending: 3, Refused: 1, Failing: 1, Stopped: 1, Unknown: 1,
		Files: 3, Records: 11, Bytes: 110, LagBytes: 12, LagSeconds: 9, OldestUnacked: early,
	}, web)
	require.True(t, web.Troubled())

	require.Equal(t, `wrong@rev 25:1: unknown key "topik"; did you mean "topic"?`, got[3].Error)
	require.True(t, got[3].Troubled())
	require.Zero(t, got[3].Agents)
}
