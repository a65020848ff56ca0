package gen

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// combined is nginx's log_format combined.
var combined = regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] ` +
	`"(GET|POST|PUT|DELETE|HEAD) /[^ "]*\?rid=[0-9a-f]{4}-\d{10}-[0-9a-f]{8} HTTP/1\.1" \d{3} \d+ "[^"]*" "[^"]+"$`)

func lines(t *testing.T, l *Lines, first, n uint64) [][]byte {
	t.Helper()
	var b bytes.Buffer
	written, err := l.Write(&b, first, n)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), written)
	out := bytes.SplitAfter(b.Bytes(), []byte("\n"))
	require.Empty(t, out[len(out)-1], "the last line ends with a newline")
	return out[:len(out)-1]
}

func TestEveryLineIsCombinedFormatAndNamesItself(t *testing.T) {
	for _, stream := range []uint16{0, 1, 0xabcd, 0xffff} {
		for i, line := range lines(t, New(stream, 1), 100, 5000) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			require.Regexp(t, combined, string(line))
			id, err := Parse(line)
			require.NoError(t, err)
			require.Equal(t, ID{Stream: stream, Seq: 100 + uint64(i)}, id)
		}
	}
}

func TestALineDependsOnSeedStreamAndNumberOnly(t *testing.T) {
	whole := lines(t, New(3, 7), 0, 20_000)
	require.Equal(t, whole[12_345:12_400], lines(t, New(3, 7), 12_345, 55))
	require.Equal(t, whole[19_999], New(3, 7).Append(nil, 19_999))
	require.NotEqual(t, whole[0], New(3, 8).Append(nil, 0))
	require.NotEqual(t, whole[0], New(4, 7).Append(nil, 0))
}

func TestTheBytesOfALineNeverChange(t *testing.T) {
	const want = `203.0.113.17 - - [10/Oct/2025:13:55:36 +0000] "GET /api/v1/items/search?rid=0001-0000000042-e4077c69 HTTP/1.1" 200 37267 ` +
		`"https://shop.example.net/cart" "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"` + "\n"
	require.Equal(t, want, string(New(1, 1).Append(nil, 42)))
}

func TestThreeMillionLinesAre567MB(t *testing.T) {
	n := uint64(3_000_000)
	if testing.Short() {
		n = 300_000
	}
	written, err := New(1, 1).Write(io.Discard, 0, n)
	require.NoError(t, err)
	require.InDelta(t, 189, float64(written)/float64(n), 0.2)
}

func TestALineThatWasDamagedInAnyWayIsGarbled(t *testing.T) {
	l := New(1, 1)
	line := bytes.TrimSuffix(l.Append(nil, 42), []byte("\n"))
	other := bytes.TrimSuffix(l.Append(nil, 43), []byte("\n"))
	_, err := Parse(line)
	require.NoError(t, err)

	for i := range line {
		flipped := bytes.Clone(line)
		flipped[i] ^= 1
		for name, damaged := range map[string][]byte{
			"flipped": flipped,
			"cut":     line[:i],
			"tail":    line[i+1:],
			"doubled": slices.Insert(bytes.Clone(line), i, line[i]),
			"spliced": append(bytes.Clone(line[:i]), other[min(i, len(other)):]...),
		} {
			if bytes.Equal(damaged, line) || bytes.Equal(damaged, other) {
				continue
			}
			_, err := Parse(damaged)
			require.ErrorIs(t, err, ErrGarbled, "%s at %d: %s", name, i, damaged)
		}
	}
	for name, damaged := range map[string][]byte{
		"empty":   nil,
		"newline": append(bytes.Clone(line), '\n'),
		"cr":      append(bytes.Clone(line), '\r'),
		"merged":  append(bytes.Clone(line), other...),
		"zeros":   make([]byte, len(line)),
	} {
		_, err := Parse(damaged)
		require.ErrorIs(t, err, ErrGarbled, name)
	}
}

func TestANumberThatDoesNotFitIsRefused(t *testing.T) {
	_, err := Parse(bytes.TrimSuffix(New(1, 1).Append(nil, MaxSeq-1), []byte("\n")))
	require.NoError(t, err)
	require.Panics(t, func() { New(1, 1).Append(nil, MaxSeq) })
}

type failingWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *failingWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestAFailedWriteTellsWhatWasWritten(t *testing.T) {
	l := New(1, 1)
	n, err := l.Write(&failingWriter{left: 100_000}, 0, 10_000)
	require.ErrorIs(t, err, errFull)
	require.EqualValues(t, 100_000, n)
	require.Equal(t, New(1, 1).Append(nil, 0), lines(t, l, 0, 1)[0], "nothing of the failed write is left")
}

func TestMakingAndParsingALineAllocatesNothing(t *testing.T) {
	l := New(1, 1)
	buf := make([]byte, 0, 1024)
	seq := uint64(0)
	require.Zero(t, testing.AllocsPerRun(20_000, func() {
		buf = l.Append(buf[:0], seq)
		if _, err := Parse(buf[:len(buf)-1]); err != nil {
			t.Error(err)
		}
		seq++
	}))
}

func FuzzParseNeverTakesAnotherLineForOneOfOurs(f *testing.F) {
	f.Add([]byte("?rid=0001-0000000042-00000000"))
	f.Add(New(1, 1).Append(nil, 42))
	f.Fuzz(func(t *testing.T, line []byte) {
		id, err := Parse(line)
		if err != nil {
			require.ErrorIs(t, err, ErrGarbled)
			require.Zero(t, id)
			return
		}
		require.Less(t, id.Seq, uint64(MaxSeq))
	})
}

func BenchmarkWrite(b *testing.B) {
	l := New(1, 1)
	b.SetBytes(189)
	b.ReportAllocs()
	if _, err := l.Write(io.Discard, 0, uint64(b.N)); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkParse(b *testing.B) {
	line := bytes.TrimSuffix(New(1, 1).Append(nil, 42), []byte("\n"))
	b.SetBytes(189)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(line); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
