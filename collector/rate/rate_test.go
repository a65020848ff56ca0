package rate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func taken(l *Limiter, tries, bytes int) (n int) {
	for range tries {
		if l.Take(bytes) {
			n++
		}
	}
	return n
}

func TestLinesBeyondTheRateDoNotPassAndWhatIsSavedUpDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Lines: 10, Burst: 2 * time.Second})
		require.Equal(t, 20, taken(l, 100, 1<<20), "bytes do not count")
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, 5, taken(l, 100, 1))
		time.Sleep(time.Hour)
		require.Equal(t, 20, taken(l, 100, 1))
	})
}

func TestALineLongerThanTheBurstPassesAndWhatFollowsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Bytes: 100, Burst: time.Second})
		require.Equal(t, 1, taken(l, 3, 1000))
		time.Sleep(9 * time.Second)
		require.Zero(t, taken(l, 1, 1))
		time.Sleep(time.Second)
		require.Equal(t, 100, taken(l, 200, 1))
	})
}

func TestWaitingPaysWhatIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Lines: 10, Bytes: 1000, Burst: time.Second})
		begin := time.Now()
		require.NoError(t, l.Wait(t.Context()))
		require.Zero(t, time.Since(begin))
		l.Spend(30, 0)
		require.NoError(t, l.Wait(t.Context()))
		require.InDelta(t, 2, time.Since(begin).Seconds(), 0.001)
		l.Spend(0, 6000)
		require.NoError(t, l.Wait(t.Context()))
		require.InDelta(t, 7, time.Since(begin).Seconds(), 0.001)

		l.Spend(1000000, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, l.Wait(ctx), context.DeadlineExceeded)
	})
}
