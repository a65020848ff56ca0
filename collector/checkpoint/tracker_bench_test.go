package checkpoint

import (
	"testing"
	"time"
)

// Five requests in flight that are answered in reverse: each acknowledgement
// but the last of a round waits for one before it.
func BenchmarkTrackerOutOfOrder(b *testing.B) {
	const inFlight = 5
	tr := NewTracker(0)
	now := time.Now()
	var tokens [inFlight]uint64
	end := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		for i := range tokens {
			end += 256 << 10
			tokens[i] = tr.Add(end, now)
		}
		for i := range tokens {
			tr.Resolve(tokens[inFlight-1-i])
		}
	}
	if tr.Committed() != end {
		b.Fatal("not everything is committed")
	}
}

// Ten thousand files with one batch each, as when many quiet files wake.
func BenchmarkTrackerOfManyFiles(b *testing.B) {
	const files = 10_000
	now := time.Now()
	trackers := make([]*Tracker, files)
	for i := range trackers {
		trackers[i] = NewTracker(0)
	}
	end := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		end += 189
		for _, tr := range trackers {
			tr.Resolve(tr.Add(end, now))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/batch")
}
