package tail

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/collector/shape"
)

func groupDesk(t testing.TB, g frame.Groups) *desk {
	t.Helper()
	d := newDesk(t, plain)
	if g.MaxLines == 0 {
		g.MaxLines = 500
	}
	if g.MaxBytes == 0 {
		g.MaxBytes = d.Frame.MaxBytes
	}
	d.Groups, d.Quiet = &g, time.Hour
	return d
}

// traces yields the traces of each language, with the records that they are.
func traces(t *testing.T, each func(t *testing.T, g frame.Groups, data string, want []string)) {
	t.Helper()
	for _, language := range frame.Presets() {
		t.Run(language, func(t *testing.T) {
			data, err := os.ReadFile("testdata/traces/" + language + ".log")
			require.NoError(t, err)
			want, err := os.ReadFile("testdata/traces/" + language + ".want")
			require.NoError(t, err)
			each(t, frame.Groups{Continue: frame.Preset(language)}, string(data),
				strings.Split(strings.TrimSuffix(string(want), "\n"), "\n=====\n"))
		})
	}
}

// final ends the group that waits at the end of a file.
func final(t testing.TB, f *File) []string {
	t.Helper()
	b, err := f.Final(t.Context())
	require.NoError(t, err)
	if b == nil {
		return nil
	}
	return take(b)
}

func TestTracesThatAreWrittenByteByByteAreOneRecordEach(t *testing.T) {
	traces(t, func(t *testing.T, g frame.Groups, data string, want []string) {
		d := groupDesk(t, g)
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, "")
		f := d.open(t, p)
		var got []string
		for i := range len(data) {
			write(t, p, data[i:i+1])
			got = append(got, readAll(t, f)...)
			require.False(t, grown(t, f), "it would never rest")
		}
		require.Equal(t, want[:len(want)-1], got)
		require.Equal(t, int64(len(data)-len(want[len(want)-1])-1), f.Status().Committed, "the last group stays")
		require.True(t, f.GroupOpen())
		require.Equal(t, want, append(got, final(t, f)...))
		require.False(t, f.GroupOpen())
		require.Empty(t, final(t, f))
		require.Equal(t, int64(len(data)), f.Status().Committed)
		require.Zero(t, d.budget.held)
	})
}

func TestTracesAreJoinedAcrossARestartAtAnyByte(t *testing.T) {
	traces(t, func(t *testing.T, g frame.Groups, data string, want []string) {
		t.Parallel()
		d := groupDesk(t, g)
		d.restartAtAnyByte(t, data, want, readAll, final)
		d.tornAtAnyByte(t, data, want, readAll, final)
	})
}

// stride is the distance of the places at which a log is torn: 1, all of them.
// What runs with the race detector takes ten times as long, so there are about
// 150 of them in it, and test/run runs these tests without it too.
func stride(data string) int {
	if underRace && len(data) > 800 {
		return 1 + len(data)/150
	}
	return 1
}

// tornAtAnyByte demands the same records of a file that is written in two
// parts, with a read in between: in two parts at each of its bytes, see stride.
func (d *desk) tornAtAnyByte(t *testing.T, data string, want []string, read, rest func(testing.TB, *File) []string) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "a")
	for i := 0; i < len(data); i += stride(data) {
		require.NoError(t, os.WriteFile(p, []byte(data[:i]), 0o600))
		f := d.openOnce(t, p)
		got := read(t, f)
		write(t, p, data[i:])
		got = append(got, read(t, f)...)
		require.Equal(t, want, append(got, rest(t, f)...), "torn after %d bytes", i)
		f.Close()
	}
}

// restartAtAnyByte demands the same records of a file whose reader is stopped
// and started again at each of its bytes, see stride: those that read yields, and then those of rest.
func (d *desk) restartAtAnyByte(t *testing.T, data string, want []string, read, rest func(testing.TB, *File) []string) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "a")
	for i := 0; i < len(data); i += stride(data) {
		require.NoError(t, os.WriteFile(p, []byte(data[:i]), 0o600))
		f := d.openOnce(t, p)
		got := read(t, f)
		st := f.Checkpoint()
		f.Close()
		write(t, p, data[i:])
		f = d.openOnce(t, p)
		require.True(t, f.Resume(st))
		got = append(got, read(t, f)...)
		require.Equal(t, want, append(got, rest(t, f)...), "stopped after %d bytes", i)
		f.Close()
	}
}

func TestTracesAreJoinedOverManyBlocks(t *testing.T) {
	traces(t, func(t *testing.T, g frame.Groups, data string, want []string) {
		d := groupDesk(t, g)
		p := filepath.Join(t.TempDir(), "a")
		times := 3 * BlockBytes / len(data)
		write(t, p, strings.Repeat(data, times))
		f := d.open(t, p)
		got := append(readAll(t, f), final(t, f)...)
		require.Equal(t, times*len(want), len(got))
		for i := range got {
			require.Equal(t, want[i%len(want)], got[i])
		}
	})
}

func TestStartContinueAndEndSayWhereRecordsBegin(t *testing.T) {
	re := frame.MustCompile
	for _, c := range []struct {
		name   string
		groups frame.Groups
		data   string
		want   []string
	}{
		{"start", frame.Groups{Start: re(`^\d`)}, "x\n1 a\n b\n2 c\n", []string{"x", "1 a\n b", "2 c"}},
		{"continue", frame.Groups{Continue: re(`^ `)}, " x\n1 a\n b\n c\n2\n", []string{" x", "1 a\n b\n c", "2"}},
		{"end", frame.Groups{End: re(`;$`)}, "a\nb;\nc;\nd\n", []string{"a\nb;", "c;", "d"}},
		{"start and end", frame.Groups{Start: re(`^BEGIN`), End: re(`^END`)}, "BEGIN\na\nEND\nb\nc\nBEGIN\nEND\n", []string{"BEGIN\na\nEND", "b\nc", "BEGIN\nEND"}},
		{"start and continue", frame.Groups{Start: re(`^\d`), Continue: re(`^[ \d]`)}, "1\n 2\n3\nx\n y\n", []string{"1\n 2", "3", "x\n y"}},
		{"most lines", frame.Groups{Continue: re(`^ `), MaxLines: 2}, "a\n 1\n 2\n 3\n 4\nb\n", []string{"a\n 1", " 2\n 3", " 4", "b"}},
		{"most bytes", frame.Groups{Continue: re(`^ `), MaxBytes: 7}, "a\n 1\n 2\n 3\n a long line\n 4\nb\n", []string{"a\n 1\n 2", " 3", " a long line", " 4", "b"}},
		{"CRLF", frame.Groups{End: re(`;$`)}, "a\r\nb;\r\nc\r\n", []string{"a\r\nb;", "c"}},
		{"a last line without its newline is by itself", frame.Groups{Continue: re(`^ `)}, "a\n b\n c", []string{"a\n b", " c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for split := range len(c.data) {
				d := groupDesk(t, c.groups)
				p := filepath.Join(t.TempDir(), "a")
				write(t, p, c.data[:split])
				f := d.open(t, p)
				got := readAll(t, f)
				write(t, p, c.data[split:])
				got = append(got, readAll(t, f)...)
				got = append(got, final(t, f)...)
				got = append(got, final(t, f)...)
				require.Equal(t, c.want, got, "in two parts, the first of %d bytes", split)
			}
		})
	}
}

func TestAGroupLargerThanABlockIsReadWhole(t *testing.T) {
	d := groupDesk(t, frame.Groups{Continue: frame.MustCompile(`^ `), MaxLines: 1 << 20})
	p := filepath.Join(t.TempDir(), "a")
	group := "a" + strings.Repeat("\n "+strings.Repeat("x", 98), 7000)
	write(t, p, group+"\n"+group+"\n"+strings.Repeat("y", 3<<20)+"\n z\nb\n")
	f := d.open(t, p)
	got := append(readAll(t, f), final(t, f)...)
	require.Len(t, got, 5)
	require.Equal(t, []string{group, group}, got[:2])
	require.Len(t, got[2], d.Frame.MaxBytes)
	require.Equal(t, []string{" z", "b"}, got[3:])
	require.Equal(t, 1, d.cut)
}

func TestAQuietFilesLastGroupEndsAndWhatComesInTimeBelongsToIt(t *testing.T) {
	d := groupDesk(t, frame.Groups{Continue: frame.MustCompile(`^ `)})
	p := filepath.Join(t.TempDir(), "a")
	write(t, p, "a\n b\n")
	f := d.open(t, p)
	require.Empty(t, readAll(t, f))
	require.Greater(t, f.GroupDue(), time.Duration(0))
	write(t, p, " c\n")
	require.Empty(t, readAll(t, f))
	write(t, p, " half")
	require.Empty(t, readAll(t, f))
	d.Quiet = 0
	require.Equal(t, []string{"a\n b\n c"}, readAll(t, f))
	require.False(t, f.GroupOpen())
	write(t, p, "\nd\n")
	require.Equal(t, []string{" half", "d"}, readAll(t, f))
}

func TestEncodedLinesAreMatchedAsText(t *testing.T) {
	text := "错误 一\n　二\n错误 三\n　四\n" // continued by U+3000
	for _, name := range []string{"gbk", "utf-16le"} {
		d := newCharsetDesk(t, name, 1<<20, shape.Config{})
		charset, _ := frame.LookUp(name)
		d.Groups, d.Quiet = &frame.Groups{Start: frame.MustCompile(`^错误`), Charset: charset, MaxLines: 10, MaxBytes: 1 << 20}, time.Hour
		p := filepath.Join(t.TempDir(), "a")
		write(t, p, encode(t, name, text))
		f := d.open(t, p)
		require.Equal(t, []string{"错误 一\n　二"}, readAll(t, f))
		require.Equal(t, []string{"错误 三\n　四"}, final(t, f))
	}
}
