package task

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASelectorMatchesTheAgentsThatSatisfyEachOfItsKeys(t *testing.T) {
	web := Identity{ID: "web-1", Host: "web-1.example.org", Labels: map[string]string{"env": "prod", "zone": "a", "spare": ""}}
	for _, c := range []struct {
		text string
		want bool
	}{
		{"{hosts: [web-*]}", true},
		{"{hosts: [web-1]}", false},
		{"{hosts: [db-*, 'web-[0-9].example.org']}", true},
		{"{hosts: ['{web,db}-*']}", true},
		{"{hosts: ['*']}", true},
		{"{ids: [web-1]}", true},
		{"{ids: [web-10, 'web-?']}", true},
		{"{ids: [web-2]}", false},
		{"{labels: {env: prod}}", true},
		{"{labels: {env: test}}", false},
		{"{labels: {env: [test, prod]}}", true},
		{"{labels: {env: prod, zone: b}}", false},
		{"{labels: {env: prod, zone: [a, b]}}", true},
		{"{labels: {rack: '*'}}", false},
		{"{labels: {zone: '*', spare: '*'}}", true},
		{"{labels: {spare: ''}}", true},
		{"{labels: {zone: 'a*'}}", false},
		{"{hosts: [web-*], labels: {env: test}}", false},
		{"{hosts: [web-*], ids: [web-2]}", false},
		{"{hosts: [web-*], ids: [web-1], labels: {env: prod}}", true},
	} {
		got, selected, err := DecodeFor([]byte("paths: [/var/log/a]\ntopic: t\nselect: "+c.text+"\n"), "f", "web", allowAll(t), web)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, selected, c.text)
		require.Equal(t, "t", got.Topic)
	}
	require.True(t, (*Selector)(nil).Matches(Identity{}), "a task without a selector is for all")
}

func allowAll(t *testing.T) AllowList {
	t.Helper()
	allow, err := NewAllowList([]string{"/**"})
	require.NoError(t, err)
	return allow
}

func TestValidateSaysWhatIsWrongWithASelector(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"select: {}\n", `f:3: select: is empty; name hosts, ids or labels, or take it out: a task without it is for every agent`},
		{"select:\n  hosts: []\n", `f:4: select.hosts: is empty and would select no agent; list some, such as [web-*], or take it out`},
		{"select:\n  ids: []\n", `f:4: select.ids: is empty and would select no agent; list some, such as [web-1, web-2], or take it out`},
		{"select:\n  labels: {}\n", `f:4: select.labels: is empty; name labels, such as {env: prod}, or take it out`},
		{"select:\n  hosts:\n    - a\n    - 'web-['\n", `f:6: select.hosts[1]: "web-[" is not a valid glob; close its brackets and braces, or escape them with \`},
		{"select:\n  ids: ['{a']\n", `f:4: select.ids[0]: "{a" is not a valid glob; close its brackets and braces, or escape them with \`},
		{"select:\n  ids: ['']\n", `f:4: select.ids[0]: is empty; write a name or a glob, or remove it`},
		{"select:\n  labels:\n    env: []\n", `f:5: select.labels.env: is empty; list the values that it may have, or write "*" for any`},
		{"select:\n  labels:\n    'a b': c\n", `f:5: select.labels.a b: "a b" cannot name a label; use up to 63 letters, digits, '.', '_' and '-'`},
	} {
		_, selected, err := DecodeFor([]byte("paths: [/var/log/a]\ntopic: t\n"+c.text), "f", "web", allowAll(t), Identity{ID: "web-1"})
		require.EqualError(t, err, c.want)
		require.True(t, selected, "whom it is for cannot be told: %s", c.text)
	}
}

func TestAnAgentThatIsNotSelectedDoesNotJudgeByItsOwnAllowPaths(t *testing.T) {
	allow, err := NewAllowList([]string{"/var/log/**"})
	require.NoError(t, err)
	text := []byte("paths: [/srv/db/*.log]\ntopic: t\nselect: {ids: [db]}\n")
	_, selected, err := DecodeFor(text, "f", "db", allow, Identity{ID: "web"})
	require.NoError(t, err)
	require.False(t, selected)
	_, selected, err = DecodeFor(text, "f", "db", allow, Identity{ID: "db"})
	require.ErrorContains(t, err, "reaches outside of allow_paths")
	require.True(t, selected)
	_, selected, err = DecodeFor([]byte("paths: [a]\ntopic: t\nselect: {ids: [db]}\n"), "f", "db", allow, Identity{ID: "web"})
	require.ErrorContains(t, err, "is not an absolute path", "a fault that every agent sees is told")
	require.False(t, selected)
}

func TestWhomATaskIsForMakesNoDifferenceToItsWork(t *testing.T) {
	a := validTask(func(t *Task) { t.Select = &Selector{Hosts: []string{"a"}} })
	b := validTask(nil)
	require.False(t, Equal(a, b))
	require.True(t, SameWork(a, b))
	require.NotNil(t, a.Select)
	b.Topic = "other"
	require.False(t, SameWork(a, b))
}
