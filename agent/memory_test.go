package agent

import (
	"math"
	"runtime/debug"
	"testing"

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
			tuneMemory(c.config)
			require.Equal(t, c.percent, percent())
			require.Equal(t, c.limit, debug.SetMemoryLimit(-1))
		})
	}
}
