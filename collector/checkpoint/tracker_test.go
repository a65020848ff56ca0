package checkpoint

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTrackerCommitsOnlyTheContiguousPrefix(t *testing.T) {
	tr := NewTracker(100)
	now := time.Now()
	a, b, c := tr.Add(110, now), tr.Add(120, now.Add(1)), tr.Add(130, now.Add(2))
	require.Equal(t, int64(100), tr.Committed())
	require.Equal(t, int64(130), tr.Last())

	require.False(t, tr.Resolve(b))
	require.Equal(t, int64(100), tr.Committed())
	require.Equal(t, 3, tr.Pending(), "a resolved batch behind an open one still waits")

	require.True(t, tr.Resolve(a))
	require.Equal(t, int64(120), tr.Committed())
	at, ok := tr.Oldest()
	require.True(t, ok)
	require.Equal(t, now.Add(2), at)

	require.True(t, tr.Resolve(c))
	require.Equal(t, int64(130), tr.Committed())
	require.Zero(t, tr.Pending())
	_, ok = tr.Oldest()
	require.False(t, ok)
}

// The model keeps every batch for ever and walks from the beginning each time.
func TestTrackerAgreesWithASimpleModelOnAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		base := rnd.Int64N(1000)
		tr := NewTracker(base)
		var ends []int64
		var done []bool
		var open []int
		tokens := map[int]uint64{}
		end, last := base, base
		for range 400 {
			if len(open) == 0 || (rnd.IntN(100) < 55 && len(open) < 50) {
				end += rnd.Int64N(10)
				tokens[len(ends)] = tr.Add(end, time.Now())
				open = append(open, len(ends))
				ends, done = append(ends, end), append(done, false)
			} else {
				i := rnd.IntN(len(open))
				n := open[i]
				open = append(open[:i], open[i+1:]...)
				done[n] = true
				tr.Resolve(tokens[n])
			}
			want, resolved := base, 0
			for resolved < len(done) && done[resolved] {
				want = ends[resolved]
				resolved++
			}
			require.Equal(t, want, tr.Committed(), "seed %d", seed)
			require.GreaterOrEqual(t, tr.Committed(), last, "committed went back, seed %d", seed)
			require.Equal(t, end, tr.Last())
			require.Equal(t, len(done)-resolved, tr.Pending())
			last = want
		}
	}
}

func TestTrackerTakesAcknowledgementsFromManyGoroutines(t *testing.T) {
	tr := NewTracker(0)
	var wg sync.WaitGroup
	const n = 2000
	for i := range int64(n) {
		token := tr.Add(i+1, time.Now())
		wg.Go(func() { tr.Resolve(token) })
		_ = tr.Committed()
	}
	wg.Wait()
	require.Equal(t, int64(n), tr.Committed())
	require.Zero(t, tr.Pending())
}

func BenchmarkTracker(b *testing.B) {
	for _, c := range []struct {
		name   string
		window int
	}{{"one in flight", 1}, {"4096 in flight", 4096}} {
		b.Run(c.name, func(b *testing.B) {
			tr := NewTracker(0)
			now := time.Now()
			tokens := make([]uint64, c.window)
			n := 0
			for ; n < c.window-1; n++ {
				tokens[n%c.window] = tr.Add(int64(n), now)
			}
			b.ReportAllocs()
			for b.Loop() {
				tokens[n%c.window] = tr.Add(int64(n), now)
				n++
				tr.Resolve(tokens[n%c.window])
			}
		})
	}
}

func TestTrackerAllocatesNothingOnceItsWindowIsFull(t *testing.T) {
	tr := NewTracker(0)
	now := time.Now()
	var tokens [64]uint64
	for i := range tokens {
		tokens[i] = tr.Add(int64(i), now)
	}
	n := len(tokens)
	step := func() {
		tr.Resolve(tokens[n%len(tokens)])
		tokens[n%len(tokens)] = tr.Add(int64(n), now)
		n++
	}
	for range 1000 {
		step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, step))
}
