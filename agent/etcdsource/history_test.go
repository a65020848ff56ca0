package etcdsource

import (
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/etcdtest"
)

func TestEtcdKeepsTheVersionsOfATaskUntilItCompacts(t *testing.T) {
	e := etcdtest.Start(t)
	s := openTestStore(t, testConfig(t, e.Endpoints()...))
	_, _, err := s.History(t.Context(), "web", 10)
	require.ErrorIs(t, err, ErrNotFound)

	var revs []int64
	for _, topic := range []string{"one", "two", "three"} {
		revs = append(revs, e.Put(t, "/logferry/tasks/web", text(topic)))
		e.Put(t, "/logferry/tasks/other", text("x"))
	}
	revisions := func(limit int, wantCompacted bool) (list []int64) {
		versions, compacted, err := s.History(t.Context(), "web", limit)
		require.NoError(t, err)
		require.Equal(t, wantCompacted, compacted)
		for _, v := range versions {
			list = append(list, v.Modified)
		}
		return list
	}
	require.Equal(t, []int64{revs[2], revs[1], revs[0]}, revisions(10, false))
	require.Equal(t, []int64{revs[2], revs[1]}, revisions(2, false))

	for _, at := range []int64{revs[1], revs[1] + 1} {
		entry, err := s.At(t.Context(), "web", at)
		require.NoError(t, err)
		require.Equal(t, Entry{Name: "web", Raw: []byte(text("two")), Created: revs[0], Modified: revs[1], Version: 2}, entry)
	}
	_, err = s.At(t.Context(), "web", revs[0]-1)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.At(t.Context(), "web", 1<<40)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "revision 1099511627776 is yet to come")

	e.Compact(t)
	e.Put(t, "/logferry/tasks/web", text("four"))
	require.Len(t, revisions(10, true), 2)
	_, err = s.At(t.Context(), "web", revs[0])
	require.ErrorIs(t, err, ErrCompacted)
}

func TestATaskThatSomebodyElseChangedIsNotReplaced(t *testing.T) {
	e := etcdtest.Start(t)
	s := openTestStore(t, testConfig(t, e.Endpoints()...))
	entry, err := s.Replace(t.Context(), "web", []byte(text("one")), 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, entry.Version)
	_, err = s.Replace(t.Context(), "web", []byte(text("two")), 0)
	require.ErrorIs(t, err, ErrConflict)
	next, err := s.Replace(t.Context(), "web", []byte(text("two")), entry.Modified)
	require.NoError(t, err)
	require.EqualValues(t, 2, next.Version)
	_, err = s.Replace(t.Context(), "web", []byte(text("three")), entry.Modified)
	require.ErrorIs(t, err, ErrConflict)
	require.Equal(t, text("two"), e.Get(t, "/logferry/tasks/web")["/logferry/tasks/web"])
}
