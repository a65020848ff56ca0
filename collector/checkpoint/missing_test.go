package checkpoint

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAMissingTaskIsKnownSinceItsFirstTimeAndForgottenAsAWhole(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	s.Put("web", file(1), at("/a.log", 10))
	s.Put("db", file(1), at("/a.log", 20))
	require.NoError(t, s.MarkSeen("web", []string{"/a.log"}))
	require.NoError(t, s.MarkSeen("empty", []string{"/b.log"}))
	_, err := s.TakeOver("site", "web", anyPath, nil)
	require.NoError(t, err)
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	look := func(day int, there ...string) map[string]time.Time {
		t.Helper()
		missing, err := s.Missing(func(task string) bool {
			for _, name := range there {
				if name == task {
					return true
				}
			}
			return false
		}, begin.AddDate(0, 0, day))
		require.NoError(t, err)
		return missing
	}
	require.Empty(t, look(0, "web", "db", "site", "empty"))
	require.Equal(t, map[string]time.Time{"web": begin.AddDate(0, 0, 1), "empty": begin.AddDate(0, 0, 1)}, look(1, "db", "site"))
	require.NoError(t, s.Close())
	s, _ = open(t, dir)
	require.Equal(t, map[string]time.Time{"web": begin.AddDate(0, 0, 1), "empty": begin.AddDate(0, 0, 1), "db": begin.AddDate(0, 0, 2)}, look(2, "site"))
	require.Equal(t, map[string]time.Time{"web": begin.AddDate(0, 0, 1), "site": begin.AddDate(0, 0, 3)}, look(3, "db", "empty"))
	require.Equal(t, map[string]time.Time{"db": begin.AddDate(0, 0, 4)}, look(4, "web", "site", "empty"), "one that was back begins anew")

	require.NoError(t, s.Forget("site"))
	require.Empty(t, offsets(t, s, "site"))
	from, err := s.TakenFrom("site")
	require.NoError(t, err)
	require.Empty(t, from)
	require.NoError(t, s.Forget("empty"))
	require.NoError(t, s.Forget("nobody"))
	require.Equal(t, map[uint64]int64{1: 10}, offsets(t, s, "web"))
	seen, err := s.Seen("empty")
	require.NoError(t, err)
	require.Empty(t, seen)
}
