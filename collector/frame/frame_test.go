package frame

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

func TestAppendCutsWholeLinesAndLeavesTheRest(t *testing.T) {
	const offset = 1000
	for _, c := range []struct {
		name  string
		lines Lines
		in    string
		want  []string
		at    []int64
		used  int
		count Counts
	}{
		{"nothing", Lines{MaxBytes: 10}, "", nil, nil, 0, Counts{}},
		{"no newline", Lines{MaxBytes: 10}, "abc", nil, nil, 0, Counts{}},
		{"one line", Lines{MaxBytes: 10}, "abc\n", []string{"abc"}, []int64{1000}, 4, Counts{}},
		{"a partial last line stays", Lines{MaxBytes: 10}, "abc\nde", []string{"abc"}, []int64{1000}, 4, Counts{}},
		{"empty lines are records", Lines{MaxBytes: 10}, "\n\n", []string{"", ""}, []int64{1000, 1001}, 2, Counts{}},
		{"the CR of CRLF goes", Lines{MaxBytes: 10}, "ab\r\nc\n", []string{"ab", "c"}, []int64{1000, 1004}, 6, Counts{}},
		{"only one CR goes", Lines{MaxBytes: 10}, "ab\r\r\n", []string{"ab\r"}, []int64{1000}, 5, Counts{}},
		{"a CR alone on its line goes", Lines{MaxBytes: 10}, "\r\n", []string{""}, []int64{1000}, 2, Counts{}},
		{"a CR within a line stays", Lines{MaxBytes: 10}, "a\rb\n", []string{"a\rb"}, []int64{1000}, 4, Counts{}},
		{"CR is kept on demand", Lines{MaxBytes: 10, KeepCR: true}, "ab\r\n", []string{"ab\r"}, []int64{1000}, 4, Counts{}},
		{"NUL and invalid UTF-8 stay", Lines{MaxBytes: 10}, "\x00\xff\xfe\n", []string{"\x00\xff\xfe"}, []int64{1000}, 4, Counts{}},
		{"a line of just the bound", Lines{MaxBytes: 3}, "abc\nd\n", []string{"abc", "d"}, []int64{1000, 1004}, 6, Counts{}},
		{"the CR does not count", Lines{MaxBytes: 3}, "abc\r\n", []string{"abc"}, []int64{1000}, 5, Counts{}},
		{"a long line is cut", Lines{MaxBytes: 3}, "abcd\nx\n", []string{"abc", "x"}, []int64{1000, 1005}, 7, Counts{Cut: 1}},
		{"a long line is dropped", Lines{MaxBytes: 3, DropLong: true}, "abcd\nx\n", []string{"x"}, []int64{1005}, 7, Counts{Dropped: 1}},
		{"only dropped lines move the offset too", Lines{MaxBytes: 3, DropLong: true}, "abcd\n", nil, nil, 5, Counts{Dropped: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			recs, used, counts := c.lines.Append(nil, []byte(c.in), offset, 100)
			require.Equal(t, c.want, values(recs))
			var at []int64
			for _, r := range recs {
				at = append(at, r.Offset)
			}
			require.Equal(t, c.at, at)
			require.Equal(t, c.used, used)
			require.Equal(t, c.count, counts)
		})
	}
}

func TestAppendStopsAtTheMostRecordsAndGoesOnFromThere(t *testing.T) {
	l := Lines{MaxBytes: 10}
	buf := []byte("a\nb\nc\n")
	recs, used, _ := l.Append(nil, buf, 0, 2)
	require.Equal(t, []string{"a", "b"}, values(recs))
	require.Equal(t, 4, used)
	recs, used, _ = l.Append(recs[:0], buf[used:], int64(used), 2)
	require.Equal(t, []string{"c"}, values(recs))
	require.Equal(t, int64(4), recs[0].Offset)
	require.Equal(t, 2, used)
}

func TestACutLineTellsItsFullLength(t *testing.T) {
	l := Lines{MaxBytes: 4}
	recs, _, _ := l.Append(nil, []byte("0123456789\nab\n"), 0, 10)
	require.Equal(t, []record.Header{{Key: record.HeaderTruncated, Value: []byte("10")}}, recs[0].Extra.Headers)
	require.Nil(t, recs[1].Extra)
}

func TestRecordsAreSlicesOfTheBuffer(t *testing.T) {
	buf := []byte("abc\n")
	recs, _, _ := Lines{MaxBytes: 10}.Append(nil, buf, 0, 10)
	require.Same(t, &buf[0], &recs[0].Value[0])
}

func TestOneMakesARecordOfALineThatHasNoNewline(t *testing.T) {
	for _, c := range []struct {
		name   string
		lines  Lines
		line   string
		length int
		want   []string
		count  Counts
	}{
		{"whole", Lines{MaxBytes: 10}, "abc", 3, []string{"abc"}, Counts{}},
		{"its CR goes", Lines{MaxBytes: 10}, "abc\r", 4, []string{"abc"}, Counts{}},
		{"the CR does not count", Lines{MaxBytes: 3}, "abc\r", 4, []string{"abc"}, Counts{}},
		{"only the head was read", Lines{MaxBytes: 3}, "abcd", 400, []string{"abc"}, Counts{Cut: 1}},
		{"a CR at the end of the head is content", Lines{MaxBytes: 3}, "abc\r", 400, []string{"abc"}, Counts{Cut: 1}},
		{"dropped", Lines{MaxBytes: 3, DropLong: true}, "abcd", 400, nil, Counts{Dropped: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			recs, counts := c.lines.One(nil, []byte(c.line), 7, c.length)
			require.Equal(t, c.want, values(recs))
			require.Equal(t, c.count, counts)
			if c.count.Cut > 0 {
				require.Equal(t, "400", string(recs[0].Extra.Headers[0].Value))
			}
		})
	}
}

// FuzzAppend cuts one stream in pieces anywhere and holds the records against
// those of the whole, and those against a plain split.
func FuzzAppend(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nfour"), uint8(3), uint8(4), false, false)
	f.Add([]byte("\r\n\r\n\n"), uint8(1), uint8(1), true, true)
	f.Add([]byte(strings.Repeat("x", 40)+"\nshort\n"), uint8(7), uint8(9), false, true)
	f.Fuzz(func(t *testing.T, data []byte, step, bound uint8, keepCR, drop bool) {
		l := Lines{MaxBytes: int(bound) + 1, KeepCR: keepCR, DropLong: drop}
		whole, used, counts := l.Append(nil, data, 0, len(data)+1)
		require.Equal(t, bytes.LastIndexByte(data, '\n')+1, used)
		require.Equal(t, split(l, data[:used]), described(whole))

		var torn []record.Record
		var tornCounts Counts
		off := 0
		for end := 0; end < len(data); {
			end = min(end+int(step)+1, len(data))
			for {
				recs, n, c := l.Append(nil, data[off:end], int64(off), 2)
				torn = append(torn, recs...)
				tornCounts.Cut, tornCounts.Dropped = tornCounts.Cut+c.Cut, tornCounts.Dropped+c.Dropped
				off += n
				if n == 0 {
					break
				}
			}
		}
		require.Equal(t, used, off)
		require.Equal(t, described(whole), described(torn))
		require.Equal(t, counts, tornCounts)
	})
}

// split is the oracle: what the records of complete lines must be.
func split(l Lines, data []byte) []string {
	var out []string
	off := 0
	for _, line := range strings.SplitAfter(string(data), "\n") {
		if line == "" {
			continue
		}
		at := strconv.Itoa(off)
		off += len(line)
		line = strings.TrimSuffix(line, "\n")
		if !l.KeepCR {
			line = strings.TrimSuffix(line, "\r")
		}
		switch {
		case len(line) <= l.MaxBytes:
			out = append(out, at+":"+line)
		case !l.DropLong:
			out = append(out, at+":"+line[:l.MaxBytes]+"|"+strconv.Itoa(len(line)))
		}
	}
	return out
}

func described(recs []record.Record) []string {
	var out []string
	for _, r := range recs {
		s := strconv.FormatInt(r.Offset, 10) + ":" + string(r.Value)
		if r.Extra != nil {
			s += "|" + string(r.Extra.Headers[0].Value)
		}
		out = append(out, s)
	}
	return out
}

func values(recs []record.Record) []string {
	var out []string
	for _, r := range recs {
		out = append(out, string(r.Value))
	}
	return out
}

func BenchmarkAppend(b *testing.B) {
	buf := bytes.Repeat([]byte(strings.Repeat("x", 188)+"\n"), 1300)
	recs := make([]record.Record, 0, 4096)
	l := Lines{MaxBytes: 1 << 20}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		recs, _, _ = l.Append(recs[:0], buf, 0, 4096)
	}
}
