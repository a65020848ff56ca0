package frame

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

const blockBytes = 256 << 10 // what the tailer reads at once

// blockOf is a full block of lines of one length, their newline included.
func blockOf(size int) []byte {
	return bytes.Repeat([]byte(strings.Repeat("x", size-1)+"\n"), blockBytes/size)
}

func TestCuttingAllocatesNothingForALine(t *testing.T) {
	for _, l := range []Lines{{MaxBytes: 1 << 20}, {MaxBytes: 1 << 20, KeepCR: true}, {MaxBytes: 10, DropLong: true}} {
		for _, size := range []int{1, 64, 20_000} {
			block := blockOf(size)
			recs := make([]record.Record, 0, blockBytes)
			used := 0
			allocs := testing.AllocsPerRun(10, func() {
				recs, used, _ = l.Append(recs[:0], block, 0, cap(recs))
			})
			require.Zero(t, allocs, "lines of %d bytes", size)
			require.Equal(t, len(block), used)
		}
	}
}

func BenchmarkCutting(b *testing.B) {
	for _, size := range []int{64, 189, 2000, 20_000} {
		b.Run(fmt.Sprintf("lines of %d bytes", size), func(b *testing.B) {
			block := blockOf(size)
			recs := make([]record.Record, 0, 4096)
			l := Lines{MaxBytes: 1 << 20}
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			for b.Loop() {
				recs, _, _ = l.Append(recs[:0], block, 0, 4096)
			}
			b.ReportMetric(float64(len(recs))*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
