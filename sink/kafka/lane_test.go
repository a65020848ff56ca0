package kafka

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/internal/record"
)

func TestWhatAFlightLeavesBehindLingersForItsOwnTime(t *testing.T) {
	cameAgo := func(d time.Duration, from, to int) span {
		p := &parcel{batch: &record.Batch{Records: lines("/a", from, to)}, came: time.Now().Add(-d)}
		return span{p, 0, int32(to - from)}
	}
	newTestLane := func() *lane {
		s := &session{cfg: Config{Linger: time.Hour, MaxMessageBytes: 1 << 20}, flightBytes: 1000, log: quiet}
		return newLane(&outlet{s: s, log: quiet}, 0)
	}
	fill := func(l *lane) {
		l.put(cameAgo(2*time.Hour, 0, 20))
		l.put(cameAgo(0, 20, 44))
	}
	t.Run("batch", func(t *testing.T) {
		l := newBatchLane(newTestLane(), &batchWriter{window: maxWindow})
		fill(l.lane)
		require.Zero(t, l.due())
		l.flights = append(l.flights, l.take())
		require.Less(t, l.queued, 1000)
		require.Positive(t, l.due())
	})
	t.Run("async", func(t *testing.T) {
		l := newAsyncLane(newTestLane())
		fill(l.lane)
		wait, ok := l.due()
		require.True(t, ok)
		require.Zero(t, wait)
		l.take()
		require.Less(t, l.queued, 1000)
		wait, ok = l.due()
		require.True(t, ok)
		require.Positive(t, wait)
	})
}
