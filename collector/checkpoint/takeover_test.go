package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func anyPath(string) bool { return true }

func at(path string, offset int64) State {
	st := sample(offset)
	st.Path = path
	return st
}

// offsets of a task's files by their inodes.
func offsets(t *testing.T, s *Store, task string) map[uint64]int64 {
	t.Helper()
	states, err := s.Load(task)
	require.NoError(t, err)
	out := map[uint64]int64{}
	for id, st := range states {
		out[id.Ino] = st.Offset
	}
	return out
}

func file(ino uint64) FileID { return FileID{Dev: 1, Ino: ino} }

func TestATaskTakesThePlaceOfAnotherInTheFilesThatBothHave(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	s.Put("old", file(1), at("/a.log", 10))
	s.Put("old", file(2), at("/b.log", 20))
	s.Put("old", file(3), at("/c.txt", 30))
	s.Put("new", file(2), at("/b.log", 5))
	require.NoError(t, s.MarkSeen("old", []string{"/*.log", "/*.txt"}))
	from, err := s.TakenFrom("new")
	require.NoError(t, err)
	require.Empty(t, from)

	n, err := s.TakeOver("new", "old", func(p string) bool { return strings.HasSuffix(p, ".log") }, []string{"/*.log", "/x"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, s.Close())

	s, _ = open(t, dir)
	require.Equal(t, map[uint64]int64{1: 10, 2: 5}, offsets(t, s, "new"), "its own place counts where it has one")
	require.Equal(t, map[uint64]int64{1: 10, 2: 20, 3: 30}, offsets(t, s, "old"), "another task may take them too")
	seen, err := s.Seen("new")
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"/*.log": true}, seen)
	from, err = s.TakenFrom("new")
	require.NoError(t, err)
	require.Equal(t, "old", from)
}

func TestAPlaceGoesToAndFro(t *testing.T) {
	s, _ := open(t, t.TempDir())
	take := func(task, from string) {
		t.Helper()
		_, err := s.TakeOver(task, from, anyPath, nil)
		require.NoError(t, err)
	}
	s.Put("a", file(1), at("/a.log", 10))
	s.Put("a", file(9), at("/a.log", 99)) // of a generation that b finishes and forgets
	take("b", "a")
	s.Put("b", file(1), at("/a.log", 20))
	s.Put("b", file(2), at("/a.log", 7))
	s.Delete("b", file(9))
	take("a", "b")
	require.Equal(t, map[uint64]int64{1: 20, 2: 7}, offsets(t, s, "a"), "what was handed over gives way to what came of it")
	from, err := s.TakenFrom("b")
	require.NoError(t, err)
	require.Empty(t, from, "b may take it again")
	s.Put("a", file(1), at("/a.log", 30))
	take("b", "a")
	require.Equal(t, map[uint64]int64{1: 30, 2: 7}, offsets(t, s, "b"))
	take("c", "a")
	require.Equal(t, map[uint64]int64{1: 30, 2: 7}, offsets(t, s, "c"))
}

func TestAPlaceThatATaskReadOnFromIsItsOwnAgain(t *testing.T) {
	s, _ := open(t, t.TempDir())
	s.Put("a", file(1), at("/a.log", 10))
	_, err := s.TakeOver("b", "a", anyPath, nil)
	require.NoError(t, err)
	st, ok := s.Get("a", file(1))
	require.True(t, ok)
	require.True(t, st.Given)
	st, ok = s.Get("b", file(1))
	require.True(t, ok)
	require.False(t, st.Given)
	s.Put("a", file(1), at("/a.log", 15)) // as a file does that is read on
	s.Put("b", file(1), at("/a.log", 12))
	_, err = s.TakeOver("a", "b", anyPath, nil)
	require.NoError(t, err)
	require.Equal(t, map[uint64]int64{1: 15}, offsets(t, s, "a"))
}

func TestTakingThePlaceOfATaskThatHasNoneIsNoted(t *testing.T) {
	s, _ := open(t, t.TempDir())
	holds, err := s.Holds("old")
	require.NoError(t, err)
	require.False(t, holds)
	n, err := s.TakeOver("new", "old", anyPath, []string{"/a"})
	require.NoError(t, err)
	require.Zero(t, n)
	from, err := s.TakenFrom("new")
	require.NoError(t, err)
	require.Equal(t, "old", from)
	s.Put("old", file(1), at("/a", 1))
	holds, err = s.Holds("old")
	require.NoError(t, err)
	require.True(t, holds, "marks count before they are written")
	require.NoError(t, s.Sync())
	holds, err = s.Holds("old")
	require.NoError(t, err)
	require.True(t, holds)
}

// TestATakeOverIsDoneOrNot breaks it off behind each of its writes, and looks
// what a program finds that opens the database then.
func TestATakeOverIsDoneOrNot(t *testing.T) {
	broken := errors.New("broken off")
	for step := range 3 {
		dir := t.TempDir()
		s, _ := open(t, dir)
		s.Put("old", file(1), at("/a.log", 10))
		require.NoError(t, s.MarkSeen("old", []string{"/a.log"}))
		err := s.db.Update(func(tx *bolt.Tx) error {
			_, err := s.takeFiles(tx, "new", "old", anyPath)
			require.NoError(t, err)
			if step > 0 {
				require.NoError(t, takeSeen(tx, "new", "old", []string{"/a.log"}))
			}
			if step > 1 {
				_, err := tx.CreateBucketIfNotExists(bucketTaken)
				require.NoError(t, err)
			}
			return broken
		})
		require.ErrorIs(t, err, broken)
		killed := t.TempDir() // the file as a kill leaves it
		raw, err := os.ReadFile(filepath.Join(dir, FileName))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(killed, FileName), raw, 0o600))
		again, _ := open(t, killed)
		require.Empty(t, offsets(t, again, "new"))
		require.Equal(t, map[uint64]int64{1: 10}, offsets(t, again, "old"))
		n, err := again.TakeOver("new", "old", anyPath, []string{"/a.log"})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, map[uint64]int64{1: 10}, offsets(t, again, "new"))
	}
}

func TestATakeOverWhoseMarksCannotBeWrittenIsAnError(t *testing.T) {
	s, _ := open(t, t.TempDir())
	require.NoError(t, s.db.Close())
	s.Put("old", file(1), at("/a.log", 10))
	_, err := s.TakeOver("new", "old", anyPath, nil)
	require.ErrorContains(t, err, "take over the place of task old")
}

func TestWhatCannotBeReadIsNotTakenOver(t *testing.T) {
	s, _ := open(t, t.TempDir())
	s.Put("old", file(1), at("/a.log", 10))
	require.NoError(t, s.Sync())
	require.NoError(t, s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketFiles).Bucket([]byte("old"))
		return errors.Join(b.Put(file(2).key(), []byte{9}), b.Put([]byte("short"), []byte{1}))
	}))
	n, err := s.TakeOver("new", "old", anyPath, nil)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
