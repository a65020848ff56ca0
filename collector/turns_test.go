package collector

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTurnsAreTakenInTheOrderOfAsking(t *testing.T) {
	turns := newTurns(2)
	var began []int
	ask := func(who int, takes bool) {
		turns.begin(func() bool { began = append(began, who); return takes })
	}
	ask(1, true)
	ask(2, true)
	ask(3, true)
	ask(4, false)
	ask(5, true)
	require.Equal(t, []int{1, 2}, began)
	turns.end()
	require.Equal(t, []int{1, 2, 3}, began)
	turns.end()
	require.Equal(t, []int{1, 2, 3, 4, 5}, began, "4 does not want its turn any more")
	turns.end()
	turns.end()
	ask(6, false)
	ask(7, true)
	ask(8, true)
	ask(9, true)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8}, began)
}

func TestWhoYieldsIsServedBehindThoseThatWait(t *testing.T) {
	turns := newTurns(1)
	order := make(chan string, 3)
	asked := make(chan struct{})
	turns.begin(func() bool {
		go func() {
			order <- "first"
			<-asked
			turns.yield()
			order <- "first again"
			turns.end()
		}()
		return true
	})
	turns.begin(func() bool { order <- "second"; go turns.end(); return true })
	close(asked)
	require.Equal(t, []string{"first", "second", "first again"}, []string{<-order, <-order, <-order})
	turns.resume() // nobody holds one any more
}
