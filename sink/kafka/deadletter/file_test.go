package deadletter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"logferry/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func letterOf(n int) Letter {
	return Letter{
		Time: time.Unix(1_700_000_000, int64(n)).UTC(), Cause: "too_large", Error: "refused", Task: "web", Topic: "web_log", Partition: 2,
		Host: "h", Path: "/var/log/a.log", File: "fd00-2a", Offset: int64(n), Value: fmt.Appendf(nil, "value %d", n),
	}
}

func fill(t *testing.T, f File, from, to int) (lost []Lost) {
	t.Helper()
	for i := from; i < to; i++ {
		l, err := f.Append(t.Context(), letterOf(i))
		require.NoError(t, err)
		if l != (Lost{}) {
			lost = append(lost, l)
		}
	}
	return lost
}

func read(t *testing.T, f File) (letters []Letter, unreadable int) {
	t.Helper()
	unreadable, err := f.Read(t.Context(), func(l Letter) error { letters = append(letters, l); return nil })
	require.NoError(t, err)
	return letters, unreadable
}

func offsets(letters []Letter) (out []int64) {
	for _, l := range letters {
		out = append(out, l.Offset)
	}
	return out
}

func tempFile(t *testing.T) File {
	return File{Path: filepath.Join(t.TempDir(), "sub", "web.jsonl"), MaxBytes: 1000, MaxFiles: 3}
}

func TestADropThatFoundNothingTakesNoOtherHoldersJournal(t *testing.T) {
	f := tempFile(t)
	_, err := f.Append(t.Context(), letterOf(1))
	require.NoError(t, err)
	first, err := f.OpenJournal()
	require.NoError(t, err)
	require.NoError(t, first.keep(nil))
	_, err = f.OpenJournal()
	require.ErrorIs(t, err, ErrBusy, "whoever got it here would lose what he notes when the first one closes")
	require.NoError(t, first.Close())
	require.NoFileExists(t, f.journal())
}

func TestALetterIsReadAsItWasWritten(t *testing.T) {
	f := tempFile(t)
	want := letterOf(7)
	want.Cluster, want.RecordTime = "audit", time.Unix(1_600_000_000, 5).UTC()
	want.Key, want.Value = []byte{}, []byte{0xff, 'x', '\n'}
	want.Headers = []record.Header{{Key: "k", Value: []byte("v")}, {Key: "bin", Value: []byte{0xfe}}}
	_, err := f.Append(t.Context(), want)
	require.NoError(t, err)
	got, unreadable := read(t, f)
	require.Zero(t, unreadable)
	require.Len(t, got, 1)
	require.Len(t, got[0].ID, 12)
	want.ID = got[0].ID
	require.Equal(t, want, got[0])
}

func TestAFullFileIsRotatedAndTheOldestLettersMakeRoom(t *testing.T) {
	f := tempFile(t)
	lost := fill(t, f, 0, 40) // two or three a file, three rotated files and one that is written to
	require.NotEmpty(t, lost)
	gone := 0
	for _, l := range lost {
		require.Equal(t, f.Path+".3", l.File)
		gone += l.Letters
	}
	got, _ := read(t, f)
	require.Equal(t, 40, gone+len(got))
	for i, l := range got {
		require.Equal(t, int64(gone+i), l.Offset)
	}
	names, err := filepath.Glob(f.Path + "*")
	require.NoError(t, err)
	require.Len(t, names, 4)
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), f.MaxBytes)
	}
}

func TestALetterLargerThanTheFileIsKept(t *testing.T) {
	f := tempFile(t)
	big := letterOf(0)
	big.Value = make([]byte, 5000)
	for range 2 {
		_, err := f.Append(t.Context(), big)
		require.NoError(t, err)
	}
	got, _ := read(t, f)
	require.Len(t, got, 2)
}

func TestLettersKeepTheirIDsThroughRotations(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 3)
	before, _ := read(t, f)
	fill(t, f, 3, 8)
	after, _ := read(t, f)
	require.Len(t, after, 8)
	for i := range before {
		require.Equal(t, before[i].ID, after[i].ID)
	}
}

func TestRotationFillsAGapAndRemovesNothing(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 8)
	require.NoError(t, os.Remove(f.Path+".1"))
	left, _ := read(t, f)
	require.Empty(t, fill(t, f, 8, 10))
	got, _ := read(t, f)
	require.Equal(t, append(offsets(left), 8, 9), offsets(got))
}

func TestFewerFilesThanBeforeRemoveWhatIsTooMany(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 12)
	f.MaxFiles = 1
	all, _ := read(t, f)
	lost := 0
	for _, l := range fill(t, f, 12, 20) {
		lost += l.Letters
	}
	got, _ := read(t, f)
	require.Equal(t, len(all)+8, len(got)+lost)
	names, err := filepath.Glob(f.Path + "*")
	require.NoError(t, err)
	require.Len(t, names, 2)
}

func TestAReplayedLetterThatMakesRoomIsNotLost(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 10)
	letters, _ := read(t, f)
	j, err := f.OpenJournal()
	require.NoError(t, err)
	for _, l := range letters {
		require.NoError(t, j.Note(l.ID, l.Topic))
	}
	require.NoError(t, j.Close())
	lost := 0
	for _, l := range fill(t, f, 10, 13) {
		lost += l.Letters
	}
	require.Zero(t, lost)
}

func TestTheJournalHasOneHolderAndOutlivesIt(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 3)
	letters, _ := read(t, f)
	j, err := f.OpenJournal()
	require.NoError(t, err)
	_, err = f.OpenJournal()
	require.ErrorIs(t, err, ErrBusy)
	_, err = f.Drop(t.Context(), func(Letter) bool { return true })
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, j.Note(letters[1].ID, "web_log"))
	require.NoError(t, j.Close())

	letters, _ = read(t, f)
	require.True(t, letters[0].Replayed.IsZero())
	require.False(t, letters[1].Replayed.IsZero())
}

func TestReplayGoesOnWhereItStopped(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 6)
	var sent []int64
	crash := errors.New("the broker went away")
	replay := func(limit int64) error {
		return f.Replay(t.Context(), func(l Letter) (string, error) {
			if l.Offset == limit {
				return "", crash
			}
			if l.Offset == 1 {
				return "", nil // not chosen
			}
			sent = append(sent, l.Offset)
			return l.Topic, nil
		})
	}
	require.ErrorIs(t, replay(4), crash)
	require.Equal(t, []int64{0, 2, 3}, sent)
	require.NoError(t, replay(-1))
	require.Equal(t, []int64{0, 2, 3, 4, 5}, sent)
	require.NoError(t, replay(-1))
	require.Len(t, sent, 5)
	letters, _ := read(t, f)
	require.True(t, letters[1].Replayed.IsZero())
}

func TestAReplayOfNothingLeavesNothingBehind(t *testing.T) {
	f := tempFile(t)
	require.NoError(t, f.Replay(t.Context(), nil))
	fill(t, f, 0, 1)
	require.NoError(t, f.Replay(t.Context(), func(Letter) (string, error) { return "", nil }))
	require.NoFileExists(t, f.journal())
}

func TestDropTakesWhatMatchesAndForgetsIt(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 8)
	letters, _ := read(t, f)
	j, err := f.OpenJournal()
	require.NoError(t, err)
	for _, l := range letters[:4] {
		require.NoError(t, j.Note(l.ID, l.Topic))
	}
	require.NoError(t, j.Close())

	n, err := f.Drop(t.Context(), func(l Letter) bool { return !l.Replayed.IsZero() && l.Offset > 0 })
	require.NoError(t, err)
	require.Equal(t, 3, n)
	left, _ := read(t, f)
	require.Equal(t, []int64{0, 4, 5, 6, 7}, offsets(left))
	entries, err := readJournal(f.journal())
	require.NoError(t, err)
	require.Len(t, entries, 1)

	n, err = f.Drop(t.Context(), func(Letter) bool { return true })
	require.NoError(t, err)
	require.Equal(t, 5, n)
	names, err := filepath.Glob(f.Path + "*")
	require.NoError(t, err)
	require.Empty(t, names)
	n, err = f.Drop(t.Context(), func(Letter) bool { return true })
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestWhatIsNoLetterIsCountedAndKept(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 1)
	w, err := os.OpenFile(f.Path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = w.WriteString("{}\nhal")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	fill(t, f, 1, 2)
	got, unreadable := read(t, f)
	require.Equal(t, []int64{0, 1}, offsets(got))
	require.Equal(t, 2, unreadable)
	n, err := f.Drop(t.Context(), func(Letter) bool { return true })
	require.NoError(t, err)
	require.Equal(t, 2, n)
	data, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	require.Equal(t, "{}\nhal\n", string(data))
}

func TestAFileThatIsNotThereHoldsNothing(t *testing.T) {
	got, unreadable := read(t, tempFile(t))
	require.Empty(t, got)
	require.Zero(t, unreadable)
}

func TestSeveralWritersShareAFile(t *testing.T) {
	f := File{Path: filepath.Join(t.TempDir(), "all.jsonl"), MaxBytes: 2000, MaxFiles: 100}
	done := make(chan error)
	for w := range 4 {
		go func() {
			var err error
			for i := range 50 {
				_, e := f.Append(context.Background(), letterOf(w*1000+i))
				err = errors.Join(err, e)
			}
			done <- err
		}()
	}
	for range 4 {
		require.NoError(t, <-done)
	}
	got, unreadable := read(t, f)
	require.Len(t, got, 200)
	require.Zero(t, unreadable)
	last := map[int64]int64{}
	for _, l := range got {
		require.GreaterOrEqual(t, l.Offset%1000, last[l.Offset/1000])
		last[l.Offset/1000] = l.Offset % 1000
	}
}

func TestAWriterDoesNotWaitForALockBeyondItsContext(t *testing.T) {
	f := tempFile(t)
	fill(t, f, 0, 1)
	unlock, err := lockDir(t.Context(), filepath.Dir(f.Path))
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.Append(ctx, letterOf(1))
	require.ErrorIs(t, err, context.Canceled)
}

func TestAStoryInHeadersIsReadAsItWasTold(t *testing.T) {
	want := letterOf(3)
	want.Cluster, want.Cut, want.RecordTime = "audit", true, time.Unix(5, 6).UTC()
	want.Key = []byte("k")
	want.Headers = []record.Header{{Key: "logferry.cause", Value: []byte("the record's own")}, {Key: "a", Value: []byte("b")}}
	got, ok := FromRecord(want.Key, want.Value, append(append([]record.Header{}, want.Headers...), want.Story()...))
	require.True(t, ok)
	require.Equal(t, want, got)
	_, ok = FromRecord(nil, []byte("x"), []record.Header{{Key: "a"}})
	require.False(t, ok)
}

func FuzzDecode(f *testing.F) {
	b, _ := letterOf(1).encode()
	f.Add(b)
	f.Add([]byte(strings.Repeat("{", 100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decode(b)
		if err != nil {
			return
		}
		text, err := l.encode()
		if err != nil {
			return // a year that JSON cannot write
		}
		again, err := decode(text)
		require.NoError(t, err)
		require.Equal(t, string(l.Value), string(again.Value))
	})
}
