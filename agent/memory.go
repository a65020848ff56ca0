package agent

import (
	"math"
	"os"
	"runtime/debug"
)

// How much of its live heap the agent may leave uncollected, in percent. Its
// live heap is buffers, which cost nothing to mark, so collecting twice as
// often as Go does by itself costs little and halves the garbage. Under a limit
// the limit bounds the garbage, and collecting seldom is cheaper.
const (
	gcPercent        = 50
	gcPercentLimited = 200
)

// tuneMemory sets the Go runtime's collector by the configuration. GOGC and
// GOMEMLIMIT, where they are set, stay as they are unless memory.limit is given.
func tuneMemory(m MemoryConfig) {
	percent := gcPercent
	if m.Limit > 0 {
		debug.SetMemoryLimit(int64(m.Limit))
	}
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		percent = gcPercentLimited
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
