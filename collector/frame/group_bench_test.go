package frame

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

func TestGroupingAllocatesNothingForALine(t *testing.T) {
	block := blockOf(189)
	l, g := Lines{MaxBytes: 1 << 20}, &Groups{Start: Preset("java"), MaxLines: 500, MaxBytes: 1 << 20}
	recs := make([]record.Record, 0, 4096)
	l.AppendGroups(g, recs[:0], block, 0, 4096, true)
	// a pattern's machine is taken from a pool, which may be emptied at any time
	require.Less(t, testing.AllocsPerRun(10, func() { l.AppendGroups(g, recs[:0], block, 0, 4096, true) }), float64(len(block)/189))
}

var regexpDate = MustCompile(`^\d{4}-\d\d-\d\d`)

func BenchmarkGrouping(b *testing.B) {
	for _, c := range []struct {
		name   string
		groups Groups
	}{
		{"a preset", Groups{Continue: Preset("java")}},
		{"start", Groups{Start: regexpDate}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.groups.MaxLines, c.groups.MaxBytes = 500, 1<<20
			block := bytes.Repeat([]byte("2026-03-01 08:00:01 INFO "+strings.Repeat("x", 163)+"\n"), blockBytes/189)
			recs := make([]record.Record, 0, 4096)
			l := Lines{MaxBytes: 1 << 20}
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			for b.Loop() {
				recs, _, _, _ = l.AppendGroups(&c.groups, recs[:0], block, 0, 4096, true)
			}
		})
	}
}
