package checkpoint

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func open(t *testing.T, dir string) (*Store, *Metrics) {
	t.Helper()
	m := NewMetrics(prometheus.NewRegistry())
	s, err := Open(dir, time.Hour, m, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, m
}

func sample(offset int64) State {
	return State{
		Path: "/var/log/a.log", Offset: offset, Birth: 42, Head: Sum{Len: 9, Hash: 1<<64 - 1}, Tail: Sum{Len: 5, Hash: 7},
		Updated: time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC),
	}
}

func TestStoreReturnsWhatWasMarkedAfterAReopen(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	a, b := FileID{Dev: 1, Ino: 2}, FileID{Dev: 1, Ino: 1 << 60}
	done := sample(20)
	done.Done = true
	s.Mark("web", a, fixed(sample(10)))
	s.Mark("web", b, fixed(done))
	s.Mark("db", a, fixed(sample(30)))
	require.NoError(t, s.Close())

	s, _ = open(t, dir)
	got, err := s.Load("web")
	require.NoError(t, err)
	require.Equal(t, map[FileID]State{a: sample(10), b: done}, got)
	st, ok := s.Get("db", a)
	require.True(t, ok)
	require.Equal(t, sample(30), st)
	_, ok = s.Get("db", b)
	require.False(t, ok)
	_, ok = s.Get("nobody", a)
	require.False(t, ok)
	none, err := s.Load("nobody")
	require.NoError(t, err)
	require.Empty(t, none)
	tasks, err := s.Tasks()
	require.NoError(t, err)
	require.Equal(t, []string{"db", "web"}, tasks)
}

func TestStoreAnswersFromMarksThatAreNotFlushedYet(t *testing.T) {
	s, _ := open(t, t.TempDir())
	id := FileID{Dev: 1, Ino: 2}
	s.Mark("web", id, fixed(sample(10)))
	st, ok := s.Get("web", id)
	require.True(t, ok)
	require.Equal(t, int64(10), st.Offset)
	require.NoError(t, s.Sync())
	s.Delete("web", id)
	_, ok = s.Get("web", id)
	require.False(t, ok)
	all, err := s.Load("web")
	require.NoError(t, err)
	require.Empty(t, all)
}

// slowSource holds a flush up inside of its transaction.
type slowSource struct {
	state   State
	first   *atomic.Bool
	entered chan struct{}
	release chan struct{}
}

func (s slowSource) Checkpoint() State {
	if s.first.CompareAndSwap(false, true) {
		close(s.entered)
		<-s.release
	}
	return s.state
}

func TestStoreAnswersFromMarksThatAreBeingFlushed(t *testing.T) {
	s, _ := open(t, t.TempDir())
	id := FileID{Dev: 1, Ino: 2}
	s.Mark("web", id, fixed(sample(10)))
	require.NoError(t, s.Sync())

	slow := slowSource{sample(20), &atomic.Bool{}, make(chan struct{}), make(chan struct{})}
	s.Mark("web", id, slow)
	flushed := make(chan error, 1)
	go func() { flushed <- s.Sync() }()
	<-slow.entered
	st, ok := s.Get("web", id)
	close(slow.release)
	require.True(t, ok)
	require.Equal(t, int64(20), st.Offset, "an offset that was committed before is given out while the new one is on its way to disk")
	require.NoError(t, <-flushed)
}

func TestStoreKeepsItsMarksWhenAFlushFails(t *testing.T) {
	dir := t.TempDir()
	s, m := open(t, dir)
	a, b := FileID{Ino: 1}, FileID{Ino: 2}
	s.Mark("web", a, fixed(sample(10)))
	s.Mark("web", b, fixed(sample(20)))
	good := s.db
	require.NoError(t, good.Close())
	require.ErrorContains(t, s.Sync(), "write checkpoints: ")
	require.ErrorContains(t, s.Sync(), "write checkpoints: ")
	require.Equal(t, 2.0, testutil.ToFloat64(m.errors))
	s.Mark("web", b, fixed(sample(30)))

	db, err := openChecked(s.path)
	require.NoError(t, err)
	s.db = db
	require.NoError(t, s.Sync())
	got, err := s.Load("web")
	require.NoError(t, err)
	require.Equal(t, int64(10), got[a].Offset)
	require.Equal(t, int64(30), got[b].Offset, "the newer mark wins")
}

func TestStoreWritesNothingToAReadOnlyDatabaseAndTellsSo(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	require.NoError(t, s.db.Close())
	db, err := bolt.Open(s.path, 0o640, &bolt.Options{ReadOnly: true})
	require.NoError(t, err)
	s.db = db
	s.Mark("web", FileID{Ino: 1}, fixed(sample(10)))
	require.ErrorContains(t, s.Sync(), "write checkpoints: ")
	st, ok := s.Get("web", FileID{Ino: 1})
	require.True(t, ok)
	require.Equal(t, int64(10), st.Offset)
	require.Error(t, s.MarkSeen("web", []string{"/a"}))
}

func TestRunFlushesAtItsIntervalAndOnceMoreAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	m := NewMetrics(prometheus.NewRegistry())
	s, err := Open(dir, time.Millisecond, m, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.Mark("web", FileID{Ino: 1}, fixed(sample(10)))
	require.Eventually(t, func() bool { return testutil.ToFloat64(m.flushes) == 1 }, time.Minute, time.Millisecond)
	cancel()
	s.Mark("web", FileID{Ino: 2}, fixed(sample(20)))
	require.NoError(t, <-ended)
	require.NoError(t, s.Close())
	s, _ = open(t, dir)
	got, err := s.Load("web")
	require.NoError(t, err)
	require.Len(t, got, 2)
}

func TestManyDeliveredBytesMakeAFlushComeEarlyButNotOneAfterTheOther(t *testing.T) {
	s, m := open(t, t.TempDir())
	s.pause = 0
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	id := FileID{Dev: 1, Ino: 2}
	deliver := func(n int) {
		s.Mark("web", id, fixed(sample(int64(n))))
		s.Delivered(n)
	}
	flushes := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return testutil.ToFloat64(m.flushes) == float64(n) }, time.Minute, time.Millisecond)
	}
	deliver(flushBytes - 1)
	deliver(1)
	flushes(1)
	deliver(flushBytes)
	flushes(2)
	s.flush.Lock() // Run is not at it
	s.pause = time.Hour
	s.flush.Unlock()
	deliver(flushBytes)
	deliver(flushBytes)
	require.Empty(t, s.early, "not asked for so soon")
	s.FlushSoon() // what is asked for by itself is
	flushes(3)
	cancel()
	require.NoError(t, <-ended)
	flushes(3)
}

func TestSeenGlobsAreRememberedByTask(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	require.NoError(t, s.MarkSeen("web", []string{"/a/*.log", "/b"}))
	require.NoError(t, s.Close())
	s, _ = open(t, dir)
	seen, err := s.Seen("web")
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"/a/*.log": true, "/b": true}, seen)
	seen, err = s.Seen("db")
	require.NoError(t, err)
	require.Empty(t, seen)
}

func TestASecondOpenerIsToldThatTheStoreIsInUse(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	m := NewMetrics(prometheus.NewRegistry())
	_, err := Open(dir, time.Hour, m, slog.New(slog.DiscardHandler))
	require.EqualError(t, err, "open checkpoint store: "+s.path+" is in use by another agent; give each agent its own state_dir")
	require.Zero(t, testutil.ToFloat64(m.damaged), "a database in use is not a damaged one")
}

func TestADirectoryThatCannotBeUsedIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plain")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, time.Hour, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "open checkpoint store: ")
}

func TestADamagedDatabaseIsSetAsideAndAnEmptyOneTakesItsPlace(t *testing.T) {
	fill := func(t *testing.T, dir string) []byte {
		s, _ := open(t, dir)
		for i := range uint64(3000) {
			s.Mark("web", FileID{Dev: 1, Ino: i}, fixed(sample(10)))
		}
		require.NoError(t, s.Close())
		data, err := os.ReadFile(filepath.Join(dir, FileName))
		require.NoError(t, err)
		return data
	}
	page := os.Getpagesize()
	for name, harm := range map[string]func([]byte) []byte{
		"cut in half":             func(b []byte) []byte { return b[:len(b)/2] },
		"cut to three pages":      func(b []byte) []byte { return b[:3*page] },
		"cut within the first":    func(b []byte) []byte { return b[:page/2] },
		"one byte":                func([]byte) []byte { return []byte{1} },
		"garbage":                 func(b []byte) []byte { return bytes.Repeat([]byte("garbage!"), len(b)/8) },
		"zeroes":                  func(b []byte) []byte { return make([]byte, len(b)) },
		"both metas torn":         func(b []byte) []byte { clear(b[:2*page]); return b },
		"all but the metas torn":  func(b []byte) []byte { clear(b[2*page:]); return b },
		"data is garbage":         func(b []byte) []byte { copy(b[2*page:], bytes.Repeat([]byte{0xff}, len(b)-2*page)); return b },
		"not a database of bbolt": func([]byte) []byte { return bytes.Repeat([]byte("SQLite format 3\x00"), 4096) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			data := harm(fill(t, dir))
			require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), data, 0o600))

			s, m := open(t, dir)
			require.Equal(t, 1.0, testutil.ToFloat64(m.damaged))
			got, err := s.Load("web")
			require.NoError(t, err)
			require.Empty(t, got)
			aside, err := filepath.Glob(filepath.Join(dir, FileName+".damaged-*"))
			require.NoError(t, err)
			require.Len(t, aside, 1)
			kept, err := os.ReadFile(aside[0])
			require.NoError(t, err)
			require.Equal(t, len(data), len(kept), "what was set aside is left as it was")

			s.Mark("web", FileID{Ino: 1}, fixed(sample(10)))
			require.NoError(t, s.Close())
			s, m = open(t, dir)
			require.Zero(t, testutil.ToFloat64(m.damaged))
			got, err = s.Load("web")
			require.NoError(t, err)
			require.Len(t, got, 1)
		})
	}
}

func TestAnEmptyDatabaseFileIsANewOne(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), nil, 0o600))
	_, m := open(t, dir)
	require.Zero(t, testutil.ToFloat64(m.damaged))
}

func TestAValueThatCannotBeReadIsLeftOutAndReported(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	s.Mark("web", FileID{Ino: 1}, fixed(sample(10)))
	s.Mark("web", FileID{Ino: 2}, fixed(sample(20)))
	require.NoError(t, s.Sync())
	require.NoError(t, s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketFiles).Bucket([]byte("web"))
		require.NoError(t, b.Put([]byte("short key"), []byte{1}))
		return b.Put(FileID{Ino: 2}.key(), []byte{9, '{', '}'})
	}))
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	got, err := s.Load("web")
	require.NoError(t, err)
	require.Equal(t, map[FileID]State{{Ino: 1}: sample(10)}, got)
	require.Contains(t, log.String(), "version 9")
	require.Contains(t, log.String(), "key of 9 bytes")
	_, ok := s.Get("web", FileID{Ino: 2})
	require.False(t, ok)
}

func TestStoredValuesThatMakeNoSenseAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "empty checkpoint value",
		"\x03{}":                                 "checkpoint value of version 3, this program knows 2",
		"\x01{":                                  "decode checkpoint value: ",
		"\x01[]":                                 "decode checkpoint value: ",
		"\x01{\"offset\":-1}":                    "out of range",
		"\x01{\"head\":{\"len\":-1}}":            "out of range",
		"\x01{\"head\":{\"len\":1099511627776}}": "out of range",
		"\x01{\"offset\":1099511627776,\"tail\":{\"len\":1099511627776}}": "out of range",
		"\x01{\"offset\":3,\"tail\":{\"len\":4}}":                         "out of range",
	} {
		_, err := decodeState([]byte(text))
		require.ErrorContains(t, err, want, "%q", text)
	}
}

func TestManyGoroutinesMarkLoadAndFlush(t *testing.T) {
	s, _ := open(t, t.TempDir())
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(50) {
				id := FileID{Dev: g, Ino: i}
				s.Mark("web", id, fixed(sample(int64(i)+10)))
				if i%10 == 0 {
					_ = s.Sync()
				}
				if st, ok := s.Get("web", id); !ok || st.Offset != int64(i)+10 {
					t.Errorf("got %v %v of %v", st.Offset, ok, id)
				}
				if i%5 == 0 {
					s.Delete("web", id)
					if _, ok := s.Get("web", id); ok {
						t.Errorf("%v is there after its deletion", id)
					}
				}
				if i%16 == 8 { // at 0 everything may be deleted again
					if all, err := s.Load("web"); err != nil || len(all) == 0 {
						t.Errorf("load: %d, %v", len(all), err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecodeState(f *testing.F) {
	v, err := encodeState(sample(10))
	require.NoError(f, err)
	f.Add(v)
	f.Add([]byte{})
	f.Add([]byte("\x01{\"offset\":5,\"tail\":{\"len\":3,\"hash\":18446744073709551615}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, s.Offset, int64(0))
		require.LessOrEqual(t, int64(s.Tail.Len), s.Offset)
		require.LessOrEqual(t, max(s.Head.Len, s.Tail.Len), 1<<16)
		again, err := encodeState(s)
		if err != nil {
			return // a year that JSON cannot write
		}
		back, err := decodeState(again)
		require.NoError(t, err)
		require.True(t, s.Updated.Equal(back.Updated))
		back.Updated = s.Updated
		require.Equal(t, s, back)
	})
}

func BenchmarkFlushOfTenThousandFiles(b *testing.B) {
	s, err := Open(b.TempDir(), time.Hour, NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	defer func() { _ = s.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		for i := range uint64(10000) {
			s.Mark("web", FileID{Dev: 1, Ino: i}, fixed(sample(10)))
		}
		require.NoError(b, s.Sync())
	}
}

func TestADirectoryThatCannotBeUsedIsToldWithItsRemedy(t *testing.T) {
	for errno, remedy := range map[syscall.Errno]string{
		syscall.ENOSPC: "free space", syscall.EDQUOT: "free space",
		syscall.EROFS: "let the agent's user write", syscall.EACCES: "let the agent's user write", syscall.EPERM: "let the agent's user write",
	} {
		err := withRemedy(&os.PathError{Op: "open", Path: "/state/checkpoints.db", Err: errno})
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, remedy)
		require.ErrorContains(t, err, "state_dir")
	}
}

func TestOpeningAWholeDatabaseWritesNothing(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	require.NoError(t, s.Close())
	before, err := os.ReadFile(filepath.Join(dir, FileName))
	require.NoError(t, err)
	s, _ = open(t, dir)
	require.NoError(t, s.Close())
	after, err := os.ReadFile(filepath.Join(dir, FileName))
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestAnExistingDatabaseIsOpenedOnlyWhileNoAgentHasIt(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenExisting(dir, false, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, filepath.Join(dir, FileName))

	agent, _ := open(t, dir)
	id := FileID{Dev: 1, Ino: 2}
	agent.Put("web", id, State{Path: "/a", Offset: 7})
	require.NoError(t, agent.Sync())
	for _, write := range []bool{false, true} {
		_, err = OpenExisting(dir, write, slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, ErrInUse)
	}
	require.NoError(t, agent.Close())

	s, err := OpenExisting(dir, false, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	states, err := s.Load("web")
	require.NoError(t, err)
	require.Equal(t, int64(7), states[id].Offset)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), []byte(strings.Repeat("x", 10_000)), 0o600))
	_, err = OpenExisting(dir, true, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, errDamaged)
}

// probe is a state that looks into the database when it is written.
type probe struct{ look func() }

func (p probe) Checkpoint() State {
	p.look()
	return sample(1)
}

func TestAFlushIsOneTransaction(t *testing.T) {
	s, _ := open(t, t.TempDir())
	old := FileID{Ino: 1}
	s.Mark("web", old, fixed(sample(10)))
	require.NoError(t, s.Sync())

	stored := func() (n int) {
		require.NoError(t, s.db.View(func(tx *bolt.Tx) error {
			n = tx.Bucket(bucketFiles).Bucket([]byte("web")).Stats().KeyN
			return nil
		}))
		return n
	}
	s.Delete("web", old)
	for i := range 3 * manyMarks {
		s.Mark("web", FileID{Ino: uint64(i + 2)}, fixed(sample(10)))
	}
	looked := false
	s.Mark("web", FileID{Dev: 1}, probe{func() { // the last one in the order of keys
		looked = true
		require.Equal(t, 1, stored())
	}})
	require.NoError(t, s.Sync())
	require.True(t, looked)
	require.Equal(t, 3*manyMarks+1, stored())
	_, ok := s.Get("web", old)
	require.False(t, ok)
}

func TestAFenceWaitsForAFlushThatAsksForStates(t *testing.T) {
	s, _ := open(t, t.TempDir())
	behind := make(chan struct{})
	s.Mark("web", FileID{Ino: 1}, probe{func() {
		go func() {
			s.Put("web", FileID{Ino: 2}, sample(20))
			s.Fence()
			close(behind)
		}()
		select {
		case <-behind:
			t.Error("what changes behind the fence would be in this flush, and the mark before it in the next one")
		case <-time.After(20 * time.Millisecond):
		}
	}})
	require.NoError(t, s.Sync())
	<-behind

	require.NoError(t, s.db.Close())
	require.Error(t, s.Sync(), "a flush that never begins its transaction")
	s.Fence()
}

func TestADatabaseThatIsShorterThanItSaysIsDamaged(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	for i := range 200 {
		s.Put("web", FileID{Ino: uint64(i)}, sample(10))
	}
	require.NoError(t, s.Sync())
	var size int64
	require.NoError(t, s.db.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	}))
	require.NoError(t, s.Close())
	require.NoError(t, os.Truncate(s.path, size-1))
	_, err := openChecked(s.path)
	require.ErrorIs(t, err, errDamaged)
}
