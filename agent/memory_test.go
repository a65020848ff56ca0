package agent

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheCollectorIsTunedByTheMemoryLimit(t *testing.T) {
	oldPercent, oldLimit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() { debug.SetGCPercent(oldPercent); debug.SetMemoryLimit(oldLimit) }()
	percent := func() int { p := debug.SetGCPercent(100); debug.SetGCPercent(p); return p }
	for _, c := range []struct {
		name, gogc string
		config     MemoryConfig
		percent    int
		limit      int64
	}{
		{"without a limit, early", "", MemoryConfig{}, gcPercent, math.MaxInt64},
		{"with a limit, late", "", MemoryConfig{Limit: 128 << 20}, gcPercentLimited, 128 << 20},
		{"as GOGC says", "300", MemoryConfig{}, 100, math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GOGC", c.gogc)
			debug.SetGCPercent(100)
			debug.SetMemoryLimit(math.MaxInt64)
			runtime.GC() // what is alive is little again
			runtime.GC()
			defer tuneMemory(c.config)()
			require.Equal(t, c.percent, percent())
			require.Equal(t, c.limit, debug.SetMemoryLimit(-1))
		})
	}
}

func TestGarbageIsBoundedByBytesWhenMuchIsAlive(t *testing.T) {
	for live, want := range map[uint64]int{
		0:         gcPercent,
		1 << 20:   gcPercent,
		12 << 20:  gcPercent,
		24 << 20:  25,
		200 << 20: gcPercentLeast,
	} {
		require.Equal(t, want, garbagePercent(live), "%d MiB", live>>20)
	}
}

func TestTheBoundFollowsWhatIsAlive(t *testing.T) {
	old := debug.SetGCPercent(100)
	defer debug.SetGCPercent(old)
	t.Setenv("GOGC", "")
	runtime.GC() // what is alive is little again
	runtime.GC()
	end := tuneMemory(MemoryConfig{})
	percent := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	require.EqualValues(t, gcPercent, percent())

	large := make([]byte, 200<<20)
	collected := func(want int) func() bool {
		return func() bool {
			runtime.GC()
			return percent() == uint64(want)
		}
	}
	require.Eventually(t, collected(gcPercentLeast), 10*time.Second, 10*time.Millisecond)
	runtime.KeepAlive(large)
	require.Eventually(t, collected(gcPercent), 10*time.Second, 10*time.Millisecond)

	end()
	require.Eventually(t, func() bool { // the last mark is found, and no other is made
		debug.SetGCPercent(77)
		runtime.GC()
		runtime.GC()
		return percent() == 77
	}, 10*time.Second, 10*time.Millisecond)
}
