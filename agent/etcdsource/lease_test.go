package etcdsource

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/test/etcdtest"
)

// heldLease takes a lease over a proxy, and holds it.
func heldLease(t *testing.T, ttl time.Duration) (e *etcdtest.Cluster, p *proxy, client *clientv3.Client, lease clientv3.LeaseID, lost <-chan struct{}) {
	t.Helper()
	e = etcdtest.Start(t)
	p = newProxy(t, e.Endpoints()[0])
	client, err := dial(t.Context(), testConfig(t, p.address()), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	grant, err := client.Grant(t.Context(), int64(ttl/time.Second))
	require.NoError(t, err)
	lost, done := holdLease(t.Context(), client, grant.ID, ttl)
	t.Cleanup(done)
	return e, p, client, grant.ID, lost
}

// renewed waits until a lease has more time left than before.
func renewed(t *testing.T, e *etcdtest.Cluster, lease clientv3.LeaseID) {
	t.Helper()
	client, least := e.Client(t), int64(1<<62)
	require.Eventually(t, func() bool {
		resp, err := client.TimeToLive(t.Context(), lease)
		require.NoError(t, err)
		require.Positive(t, resp.TTL, "the lease has ended")
		least = min(least, resp.TTL)
		return resp.TTL > least
	}, patience, 20*time.Millisecond)
}

func TestALeaseThatIsHeldStays(t *testing.T) {
	e, _, _, lease, lost := heldLease(t, 6*time.Second)
	renewed(t, e, lease)
	renewed(t, e, lease)
	select {
	case <-lost:
		require.Fail(t, "it is there")
	default:
	}
}

func TestALeaseThatIsTakenAwayIsLost(t *testing.T) {
	e, _, _, lease, lost := heldLease(t, 5*time.Second)
	_, err := e.Client(t).Revoke(t.Context(), lease)
	require.NoError(t, err)
	closes(t, lost)
}

func TestALeaseIsLostWhenEtcdIsNotReachedForItsWholeTime(t *testing.T) {
	for name, fault := range map[string]func(*proxy){"silent": (*proxy).freeze, "refusing": (*proxy).cut} {
		t.Run(name, func(t *testing.T) {
			_, p, _, _, lost := heldLease(t, 3*time.Second)
			fault(p)
			closes(t, lost)
		})
	}
}

func TestALeaseIsLostWithItsClient(t *testing.T) {
	_, _, client, _, lost := heldLease(t, time.Hour)
	require.NoError(t, client.Close())
	closes(t, lost)
}

func TestALeaseStaysOverABrokenConnection(t *testing.T) {
	e, p, _, lease, lost := heldLease(t, 9*time.Second)
	renewed(t, e, lease)
	p.cut()
	p.open()
	renewed(t, e, lease)
	select {
	case <-lost:
		require.Fail(t, "it is there")
	default:
	}
}

func closes(t *testing.T, lost <-chan struct{}) {
	t.Helper()
	select {
	case <-lost:
	case <-time.After(patience):
		require.Fail(t, "the loss is not noticed")
	}
}
