package ports

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReservedPortsAreDistinctAndCanBeListenedOn(t *testing.T) {
	r, err := Reserve(20)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Release()) })

	seen := map[int]bool{}
	for _, p := range r.Ports {
		require.False(t, seen[p], "port %d handed out twice", p)
		seen[p] = true
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p))
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

func TestAReservedPortIsNotHandedOutAgainUntilItIsReleased(t *testing.T) {
	r, err := Reserve(1)
	require.NoError(t, err)
	port := r.Ports[0]

	_, err = take(port)
	require.Error(t, err)

	require.NoError(t, r.Release())
	lock, err := take(port)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
}

func TestAPortThatSomethingListensOnIsNotTaken(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })

	_, err = take(l.Addr().(*net.TCPAddr).Port)
	require.Error(t, err)
}
