package etcdsource

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent/rollout"
)

func TestACommandKeepsTheLastGoodTextBesideOneThatGoesFromWaveToWave(t *testing.T) {
	e, login := documentedRoles(t)
	s := openTestStore(t, login("logferry-operator"))
	put := func(value string) Entry {
		entry, err := s.Put(t.Context(), "web", []byte(value))
		require.NoError(t, err)
		return entry
	}
	kept := func() string { return e.Get(t, "/logferry/good/")["/logferry/good/web"] }
	state := func(of Entry, phase rollout.Phase) {
		value, err := json.Marshal(rollout.State{Created: of.Created, Target: of.version(), Phase: phase})
		require.NoError(t, err)
		e.Put(t, "/logferry/rollouts/web", string(value))
	}

	put(text("one") + lasting)
	require.Empty(t, kept(), "a new task has none")
	put(text("two"))
	require.Empty(t, kept(), "what reaches every agent at once needs none")
	third := put(text("three") + lasting)
	require.Equal(t, text("two"), kept())
	state(third, rollout.Rolling)
	fourth := put(text("four") + lasting)
	require.Equal(t, text("two"), kept(), "the third was never good")
	state(fourth, rollout.Done)
	now, err := s.Replace(t.Context(), "web", []byte(text("five")+lasting), fourth.Modified)
	require.NoError(t, err)
	require.Equal(t, text("four")+lasting, kept())
	state(now, rollout.Done)
	_, err = s.Replace(t.Context(), "web", []byte(text("six")+lasting), fourth.Modified)
	require.ErrorIs(t, err, ErrConflict)
	require.Equal(t, text("four")+lasting, kept())

	_, err = s.Delete(t.Context(), "web")
	require.NoError(t, err)
	require.Empty(t, e.Get(t, "/logferry/"))
	_, err = s.Delete(t.Context(), "web")
	require.ErrorIs(t, err, ErrNotFound)
}
