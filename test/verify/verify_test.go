package verify

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/bench/gen"
)

// line is the value of one delivered line.
func line(stream uint16, seq uint64) []byte {
	b := gen.New(stream, 1).Append(nil, seq)
	return b[:len(b)-1]
}

func TestEachFaultIsToldFromTheOthers(t *testing.T) {
	const garbled = 1 << 63 // a number that stands for a damaged value
	for _, tc := range []struct {
		name      string
		delivered []uint64
		want      Report
		ranges    []Range
		perfect   bool
	}{
		{name: "all in order", perfect: true, delivered: []uint64{0, 1, 2, 3}, want: Report{Delivered: 4}},
		{name: "nothing at all", want: Report{Lost: 4}, ranges: []Range{{0, 4}}},
		{name: "lost in the middle and at the end", delivered: []uint64{0, 2}, want: Report{Delivered: 2, Lost: 2}, ranges: []Range{{1, 2}, {3, 4}}},
		{name: "sent again after a restart", delivered: []uint64{0, 1, 2, 1, 2, 3}, want: Report{Delivered: 6, Doubled: 2}},
		{name: "two swapped", delivered: []uint64{0, 2, 1, 3}, want: Report{Delivered: 4, OutOfOrder: 1}},
		{name: "one late", delivered: []uint64{1, 2, 3, 0}, want: Report{Delivered: 4, OutOfOrder: 1}},
		{name: "one too many", delivered: []uint64{0, 1, 2, 3, 4}, want: Report{Delivered: 5, Unexpected: 1}},
		{name: "one damaged", delivered: []uint64{0, 1, garbled, 3}, want: Report{Delivered: 3, Garbled: 1, Lost: 1}, ranges: []Range{{2, 3}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := New()
			c.Expect(7, 0, 4)
			for i, seq := range tc.delivered {
				value := []byte("no line")
				if seq != garbled {
					value = line(7, seq)
				}
				c.Add(0, int64(i), value)
			}
			got := c.Report()
			require.Equal(t, tc.ranges, got.Streams[0].LostRanges)
			require.Equal(t, tc.want.Lost == 0, got.Complete())
			require.Equal(t, tc.perfect, got.Err(0) == nil, "%v", got.Err(0))

			got.Streams, got.Samples = nil, nil
			tc.want.Expected = 4
			require.Equal(t, tc.want, got)
		})
	}
}

func TestOrderIsJudgedWithinAPartitionAndAStream(t *testing.T) {
	c := New()
	c.Expect(1, 0, 4)
	c.Expect(2, 10, 12)
	c.Add(0, 0, line(1, 2))
	c.Add(1, 0, line(1, 0))
	c.Add(1, 1, line(2, 10))
	c.Add(0, 1, line(1, 3))
	c.Add(1, 2, line(1, 1))
	c.Add(1, 3, line(2, 11))
	require.NoError(t, c.Report().Err(0))
}

func TestWhatWasWrittenMayBeSaidLater(t *testing.T) {
	c := New()
	c.Add(0, 0, line(1, 0))
	c.Add(0, 1, line(1, 1))
	require.EqualValues(t, 2, c.Report().Unexpected)

	c.Expect(1, 0, 3)
	require.EqualValues(t, 1, c.Report().Lost)
	c.Add(0, 2, line(1, 2))
	require.NoError(t, c.Report().Err(0))
}

func TestDoubledLinesArePardonedUpToTheBound(t *testing.T) {
	c := New()
	c.Expect(1, 0, 2)
	for _, seq := range []uint64{0, 1, 0, 1} {
		c.Add(0, 0, line(1, seq))
	}
	require.NoError(t, c.Report().Err(2))
	require.Error(t, c.Report().Err(1))
}

func TestTheErrorNamesLinesAndShowsExamples(t *testing.T) {
	c := New()
	c.Expect(0xab, 0, 10_000)
	for seq := range uint64(10_000) {
		if seq >= 5000 && seq < 5119 {
			continue
		}
		c.Add(3, int64(seq), line(0xab, seq))
	}
	c.Add(3, 77, []byte("half a li"))
	for range 20 {
		c.Add(3, 99, line(0xab, 1))
	}

	err := c.Report().Err(0)
	require.ErrorContains(t, err, "10000 lines written, 9901 delivered: 119 lost, 1 garbled, 20 doubled, 0 out of order, 0 unexpected")
	require.ErrorContains(t, err, "stream 00ab: ")
	require.ErrorContains(t, err, "lost 119 lines: 5000 to 5118")
	require.ErrorContains(t, err, `garbled: partition 3, offset 77: "half a li"`)
	require.Len(t, c.Report().Streams[0].Samples, maxSamples)
}

func TestHugeNumbersDoNotEatTheMemory(t *testing.T) {
	c := New()
	c.Add(0, 0, line(1, gen.MaxSeq-1))
	require.EqualValues(t, 1, c.Report().Garbled)
	require.Empty(t, c.streams)
}

// The model keeps every number in a slice and counts the slow way.
func TestItAgreesWithASimpleModel(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			const n = 300
			var sent []uint64
			for range 400 {
				sent = append(sent, r.Uint64N(n+20))
			}
			c := New()
			c.Expect(1, 0, n)
			times := map[uint64]int64{}
			var highest, disordered int64 = -1, 0
			for i, seq := range sent {
				c.Add(0, int64(i), line(1, seq))
				if times[seq] == 0 && int64(seq) < highest {
					disordered++
				}
				times[seq]++
				highest = max(highest, int64(seq))
			}
			var lost, doubled, unexpected int64
			for seq := range uint64(n) {
				if times[seq] == 0 {
					lost++
				}
			}
			for seq, k := range times {
				doubled += k - 1
				if seq >= n {
					unexpected++
				}
			}
			got := c.Report()
			require.Equal(t, []int64{lost, doubled, unexpected, disordered},
				[]int64{got.Lost, got.Doubled, got.Unexpected, got.OutOfOrder})
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	const n = 100_000
	var lines [][]byte
	for seq := range uint64(n) {
		lines = append(lines, line(1, seq))
	}
	b.ReportAllocs()
	for b.Loop() {
		c := New()
		c.Expect(1, 0, n)
		for i, l := range lines {
			c.Add(0, int64(i), l)
		}
		if err := c.Report().Err(0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "lines/s")
}
