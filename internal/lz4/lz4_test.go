package lz4

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	library "github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"logferry/bench/gen"
)

// unpack is what any reader makes of frames.
func unpack(t testing.TB, frames []byte) []byte {
	t.Helper()
	out, err := io.ReadAll(library.NewReader(bytes.NewReader(frames)))
	require.NoError(t, err)
	return out
}

// logLines returns access-log lines, n bytes of them.
func logLines(n int) []byte {
	var b []byte
	lines := gen.New(1, 1)
	for i := uint64(0); len(b) < n; i++ {
		b = append(lines.Append(b, i), '\n')
	}
	return b[:n]
}

func noise(n int) []byte {
	r, b := rand.New(rand.NewPCG(1, 2)), make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestAnyReaderUnpacksAFrame(t *testing.T) {
	inputs := map[string][]byte{
		"nothing": nil, "a byte": {7}, "zeros": make([]byte, 3*maxBlock+5), "noise": noise(2*maxBlock + 77),
		"log lines": logLines(1_000_000), "one block": logLines(maxBlock), "a byte more": logLines(maxBlock + 1),
		"a match that ends the block": append(append(noise(500), make([]byte, 900)...), noise(500)...),
		"literals of every length":    everyLength(),
	}
	for n := range 100 {
		inputs[fmt.Sprintf("%d equal bytes", n)] = bytes.Repeat([]byte("a"), n)
		inputs[fmt.Sprintf("%d bytes of lines", n)] = logLines(n)
	}
	for name, in := range inputs {
		prefix := []byte("before")
		out := AppendFrame(slices.Clone(prefix), in)
		require.Equal(t, prefix, out[:len(prefix)], name)
		require.True(t, bytes.Equal(in, unpack(t, out[len(prefix):])), name)
		blocks := (len(in) + maxBlock - 1) / maxBlock
		require.LessOrEqual(t, len(out)-len(prefix), len(in)+4*blocks+len(frameStart)+len(frameEnd), "%s grows by no more than its frame", name)
	}
}

// everyLength has runs without and with matches of lengths around those where
// the format changes.
func everyLength() []byte {
	var b []byte
	fresh := noise(100_000)
	for _, n := range []int{1, 4, 13, 14, 15, 16, 17, 18, 19, 20, 254, 255, 256, 269, 270, 271, 524, 525, 526} {
		b = append(append(b, fresh[:n]...), b[:min(len(b), n)]...)
		fresh = fresh[n:]
	}
	return b
}

func TestLogLinesBecomeAsSmallAsWithTheLibrary(t *testing.T) {
	in := logLines(1_000_000)
	var out bytes.Buffer
	w := library.NewWriter(&out)
	require.NoError(t, w.Apply(library.BlockSizeOption(library.Block64Kb), library.ChecksumOption(false)))
	_, err := w.Write(in)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Less(t, float64(len(AppendFrame(nil, in))), 1.02*float64(out.Len()))
}

func TestPackingIntoABufferThatIsLargeEnoughAllocatesNothing(t *testing.T) {
	in := logLines(1_000_000)
	dst := AppendFrame(nil, in)
	require.Zero(t, testing.AllocsPerRun(20, func() { dst = AppendFrame(dst[:0], in) }))
}

func FuzzAppendFrame(f *testing.F) {
	f.Add([]byte("a line\nand a line\nand a line\n"), uint16(0))
	f.Add(logLines(3000), uint16(40000))
	f.Add(make([]byte, 300), uint16(65530))
	f.Fuzz(func(t *testing.T, in []byte, pad uint16) {
		in = append(noise(int(pad)), in...) // so that matches and ends fall on every place of a block
		in = append(in, in[len(in)/2:]...)
		in = in[:len(in):len(in)]
		require.True(t, bytes.Equal(in, unpack(t, AppendFrame(nil, in))))
	})
}

func BenchmarkLogLines(b *testing.B) {
	in := logLines(1_000_000)
	b.Run("own", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			dst = AppendFrame(dst[:0], in)
		}
		b.ReportMetric(float64(len(in))/float64(len(dst)), "ratio")
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		w, out := library.NewWriter(nil), new(bytes.Buffer)
		require.NoError(b, w.Apply(library.BlockSizeOption(library.Block64Kb), library.ChecksumOption(false), library.ConcurrencyOption(1)))
		for b.Loop() {
			out.Reset()
			w.Reset(out)
			_, err := w.Write(in)
			require.NoError(b, err)
			require.NoError(b, w.Close())
		}
		b.ReportMetric(float64(len(in))/float64(out.Len()), "ratio")
	})
}
