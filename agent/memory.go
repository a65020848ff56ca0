package agent

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// How much garbage the agent leaves before it collects. Most of the live heap
// of a busy agent is buffers, which cost nothing to mark, so collecting twice as
// often as Go does by itself costs little and halves the garbage. With thousands of
// files the live heap is larger than any buffer, and garbage in proportion to
// it would only be a peak. Under a limit the limit bounds the garbage, and
// collecting seldom is cheaper.
const (
	gcPercent        = 50      // of the live heap, at most
	gcPercentLeast   = 20      // and at least, so that marking a large heap does not become the main work
	garbageBytes     = 6 << 20 // between the two
	gcPercentLimited = 200
)

// tuneMemory sets the Go runtime's collector by the configuration, until end is
// called. GOGC and GOMEMLIMIT, where they are set, stay as they are unless
// memory.limit is given.
func tuneMemory(m MemoryConfig) (end func()) {
	if m.Limit > 0 {
		debug.SetMemoryLimit(int64(m.Limit))
	}
	limited := debug.SetMemoryLimit(-1) != math.MaxInt64
	switch {
	case os.Getenv("GOGC") != "":
	case limited:
		debug.SetGCPercent(gcPercentLimited)
	default:
		g := &garbage{}
		g.bound()
		return func() { g.ended.Store(true) }
	}
	return func() {}
}

// garbage is bounded anew after each collection, by what that one has found
// alive.
type garbage struct {
	percent int
	ended   atomic.Bool
}

// bound is called after a collection: the mark that it leaves is garbage, which
// the next collection finds, or the one after it. It has to be larger than what the
// runtime packs together with other small objects.
func (g *garbage) bound() {
	if g.ended.Load() {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if p := garbagePercent(live[0].Value.Uint64()); p != g.percent {
		g.percent = p
		debug.SetGCPercent(p)
	}
	runtime.AddCleanup(new([64]byte), (*garbage).bound, g)
}

// garbagePercent is the collector's percentage for a live heap of so many
// bytes.
func garbagePercent(live uint64) int {
	if live == 0 {
		return gcPercent
	}
	return int(min(max(100*garbageBytes/live, gcPercentLeast), gcPercent))
}
