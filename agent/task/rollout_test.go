package task

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestARolloutIsReadAndWrittenAsItStands(t *testing.T) {
	const head = "paths: [/var/log/*.log]\ntopic: web\n"
	got, err := DecodeOne([]byte(head+"rollout: {waves: [ring=canary, 2, 25%, all], pause: 2m, timeout: 10m, max_lag: 1m}\n"), "web", "web")
	require.NoError(t, err)
	want := Rollout{
		Waves: []Wave{{Label: "ring", Value: "canary"}, {Count: 2}, {Percent: 25}, {Percent: 100}},
		Pause: 2 * time.Minute, Timeout: 10 * time.Minute, MaxLag: time.Minute,
	}
	require.Equal(t, want, *got.Rollout)
	text, err := json.Marshal(got)
	require.NoError(t, err)
	require.Contains(t, string(text), `"rollout":{"waves":["ring=canary","2","25%","all"],"pause":"2m","timeout":"10m","max_lag":"1m"}`)
	var back Task
	require.NoError(t, json.Unmarshal(text, &back))
	require.True(t, Equal(got, back))
	again, err := DecodeOne(text, "web", "web")
	require.NoError(t, err)
	require.True(t, Equal(got, again))

	other := got
	other.Rollout = nil
	require.False(t, Equal(got, other))
	require.True(t, SameWork(got, other), "how a change came makes no difference to what runs")

	short := Rollout{Waves: []Wave{{Percent: 100}}}
	require.Equal(t, time.Minute, short.PauseOrDefault())
	require.Equal(t, 5*time.Minute, short.TimeoutOrDefault())
	require.Equal(t, 30*time.Second, short.MaxLagOrDefault())
}

func TestARolloutThatCannotWorkIsRefusedWithARemedy(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                               `rollout.waves: is missing; list them, such as [2, 25%, all]`,
		`{waves: []}`:                      `rollout.waves: is missing; list them`,
		`{waves: [10%]}`:                   `rollout.waves[0]: 10% is the last one, the change would never reach the other agents; end with all`,
		`{waves: [10%, 10%, all]}`:         `rollout.waves[1]: 10% is not more than the wave before it, 10%; let waves grow`,
		`{waves: [10%, 2, all]}`:           `rollout.waves[1]: 2 comes after a percentage; put labels and numbers of agents first`,
		`{waves: [2, 1, all]}`:             `rollout.waves[1]: 1 is not more than the wave before it, 2; let waves grow`,
		`{waves: [10%, ring=canary, all]}`: `rollout.waves[1]: ring=canary comes after a percentage`,
		`{waves: [1.5, all]}`:              `"1.5" is no wave; write a number of agents such as 2, a label such as ring=canary, a percentage such as 25%, or all`,
		`{waves: [0, all]}`:                `"0" is no wave`,
		`{waves: [101%, all]}`:             `"101%" is no wave`,
		`{waves: [ring=, all]}`:            `"ring=" is no wave`,
		`{waves: [{labels: {a: b}}, all]}`: `must be a number of agents such as 2, a label such as ring=canary`,
		`{waves: [1, all], pause: 0s}`:     `rollout.pause: must be more than 0; leave it out for the default`,
		`{waves: [1, all], timeout: -1s}`:  `rollout.timeout: -1s is negative; write a duration such as 30s`,
		`{waves: [1, all], pauze: 1s}`:     `did you mean "pause"?`,
		`{wafes: [1, all]}`:                `did you mean "waves"?`,
		`{waves: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,all]}`: `21 are too many, the limit is 20`,
	} {
		_, err := DecodeOne([]byte("paths: [/var/log/*.log]\ntopic: web\nrollout: "+text+"\n"), "web", "web")
		require.ErrorContains(t, err, want, text)
	}
}

func TestThePlanOfATextIsKnownBeforeAnAgentTakesIt(t *testing.T) {
	const head = "paths: [/var/log/*.log]\ntopic: web\n"
	p, err := PlanOf([]byte(head), "web")
	require.NoError(t, err)
	require.Nil(t, p.Rollout)
	p, err = PlanOf([]byte(head+"paused: true\nselect: {ids: [a]}\nrollout: {waves: [all]}\n"), "web")
	require.NoError(t, err)
	require.True(t, p.Paused)
	require.NotNil(t, p.Rollout)
	require.Equal(t, []string{"a"}, p.Select.IDs)
	_, err = PlanOf([]byte(head+"tipic: x\n"), "web")
	require.Error(t, err)
}
