package idle

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// limits records what the runtime was told; 0 stands for all processors.
type limits struct {
	mu    sync.Mutex
	told  []int
	freed int
}

func (l *limits) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freed++
}

func (l *limits) given() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freed
}

func (l *limits) set(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, n)
}

func (l *limits) all() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told)
}

func TestOneProcessorIsEnoughUntilMuchIsReadWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{}
		p := newProcessors(l.set, l.free)
		for range 100 { // less than a full window in each second
			p.Read(busyBytes - 1)
			time.Sleep(window)
		}
		synctest.Wait()
		require.Equal(t, []int{1}, l.all())
		p.Close()
	})
}

func TestAFullWindowGivesAllProcessorsAtOnceAndAQuietOneTakesThemBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{}
		p := newProcessors(l.set, l.free)
		for range 8 {
			p.Read(busyBytes / 8)
		}
		require.Equal(t, []int{1, 0}, l.all(), "at the very read that fills the window")

		time.Sleep(2*window + time.Millisecond)
		synctest.Wait()
		require.Equal(t, []int{1, 0, 1}, l.all())
		p.Read(busyBytes)
		require.Equal(t, []int{1, 0, 1, 0}, l.all())
		p.Close()
	})
}

func TestALoadThatGoesOnKeepsTheProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{}
		p := newProcessors(l.set, l.free)
		for range 600 {
			p.Read(busyBytes / 5) // twice the bound in each window
			time.Sleep(window / 10)
		}
		synctest.Wait()
		require.Equal(t, []int{1, 0}, l.all())
		p.Close()
	})
}

func TestCloseGivesTheProcessorsBackForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{}
		p := newProcessors(l.set, l.free)
		p.Read(busyBytes)
		p.Close()
		p.Read(busyBytes)
		time.Sleep(10 * window)
		synctest.Wait()
		require.Equal(t, []int{1, 0, 0}, l.all())
	})
}

func TestMemoryIsGivenBackSomeTimeAfterMuchWasReadAndNotMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{}
		p := newProcessors(l.set, l.free)
		for range 100 {
			p.Read(2 * busyBytes)
			time.Sleep(window)
		}
		synctest.Wait()
		require.Zero(t, l.given())
		time.Sleep(2 * restAfter)
		synctest.Wait()
		require.Equal(t, 1, l.given())
		for range 10_000 { // a little, for a day
			p.Read(busyBytes / 4000)
			time.Sleep(10 * window)
		}
		synctest.Wait()
		require.Equal(t, 1, l.given())
		p.Close()
	})
}

func TestReadDoesNotWaitWhileMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, end := make(chan struct{}), make(chan struct{})
		p := newProcessors(func(int) {}, func() { close(began); <-end })
		p.Read(busyBytes)
		<-began
		p.Read(1) // all goroutines would be asleep
		close(end)
		p.Close()
	})
}
