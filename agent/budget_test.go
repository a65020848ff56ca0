package agent

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func blocked(t *testing.T, a *Account, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, a.Acquire(ctx, n), context.DeadlineExceeded)
}

func TestOneTaskMayUseTheWholeBudget(t *testing.T) {
	a := NewBudget(1000).Open()
	require.NoError(t, a.Acquire(t.Context(), 600))
	require.NoError(t, a.Acquire(t.Context(), 400))
	blocked(t, a, 1)
	a.Release(400)
	require.NoError(t, a.Acquire(t.Context(), 400))
	require.Equal(t, 1000, a.Used())
}

func TestWhoCannotWaitIsRefusedWhatIsNotFree(t *testing.T) {
	a := NewBudget(1000).Open()
	require.True(t, a.TryAcquire(600))
	require.False(t, a.TryAcquire(401))
	require.Equal(t, 600, a.Used())
	a.Release(600)
	require.True(t, a.TryAcquire(401))
}

func TestATaskThatCannotDeliverLeavesTheOthersTheirShare(t *testing.T) {
	b := NewBudget(1000)
	stuck, healthy := b.Open(), b.Open() // 250 each, 500 to lend
	require.NoError(t, stuck.Acquire(t.Context(), 750))
	blocked(t, stuck, 1)
	for range 10 {
		require.NoError(t, healthy.Acquire(t.Context(), 250))
		healthy.Release(250)
	}
	require.NoError(t, healthy.Acquire(t.Context(), 250))
	blocked(t, healthy, 1)
}

func TestABatchLargerThanTheBudgetPassesAlone(t *testing.T) {
	a := NewBudget(10).Open()
	require.NoError(t, a.Acquire(t.Context(), 5000))
	blocked(t, a, 1)
	a.Release(5000)
	require.NoError(t, a.Acquire(t.Context(), 5000))
}

func TestWaitersAreServedWhenBytesComeBack(t *testing.T) {
	b := NewBudget(100)
	a, other := b.Open(), b.Open()
	require.NoError(t, other.Acquire(t.Context(), 75))
	require.NoError(t, a.Acquire(t.Context(), 25))
	got := make(chan error, 1)
	go func() { got <- a.Acquire(t.Context(), 20) }()
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(a.waiters) == 1
	}, time.Minute, time.Millisecond)
	other.Close() // what it held is free again
	require.NoError(t, <-got)
	require.Equal(t, 45, a.Used())
}

func TestAbandonedWaitersHoldNothing(t *testing.T) {
	b := NewBudget(1 << 20)
	accounts := []*Account{b.Open(), b.Open(), b.Open()}
	var wg sync.WaitGroup
	for i := range 24 {
		a, rnd := accounts[i%3], rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for range 2000 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(50))*time.Microsecond)
				n := 1 + rnd.IntN(300<<10)
				if a.Acquire(ctx, n) == nil {
					a.Charge(n / 10)
					a.Release(n + n/10)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for _, a := range accounts {
		require.Zero(t, a.Used())
		require.Empty(t, a.waiters)
	}
	require.Zero(t, b.lent)
}
