package etcdtest

import (
	"context"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"logferry/test/etcdtest/localetcd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Settle(m)) }

func TestWhatIsPutCanBeReadListedAndDeleted(t *testing.T) {
	e := Start(t)
	first := e.Put(t, "/a/1", "x")
	second := e.Put(t, "/a/2", "y")
	require.Greater(t, second, first)

	resp, err := e.Client(t).Get(t.Context(), "/a/1")
	require.NoError(t, err)
	require.Equal(t, "x", string(resp.Kvs[0].Value))

	e.Delete(t, "/a/1")
	require.Equal(t, map[string]string{"/a/2": "y"}, e.Get(t, "/a/"))
}

func TestAWatchFromBeforeACompactionIsRefused(t *testing.T) {
	e := Start(t)
	old := e.Put(t, "k", "1")
	e.Put(t, "k", "2")
	require.Greater(t, e.Compact(t), old)

	resp := <-e.Client(t).Watch(t.Context(), "k", clientv3.WithRev(old))
	require.ErrorIs(t, resp.Err(), rpctypes.ErrCompacted)
}

func TestARestartedMemberKeepsItsDataAndPort(t *testing.T) {
	e := Start(t)
	e.Put(t, "k", "v")
	endpoints := e.Endpoints()
	u, err := url.Parse(endpoints[0])
	require.NoError(t, err)

	e.Stop(t, 0)
	require.False(t, e.Running(0))
	_, err = net.Dial("tcp", u.Host)
	require.Error(t, err)

	e.Restart(t, 0)
	require.True(t, e.Running(0))
	require.Equal(t, endpoints, e.Endpoints())
	require.Equal(t, map[string]string{"k": "v"}, e.Get(t, "k"))
}

func TestStoppingAMemberDoesNotWaitForItsWatchers(t *testing.T) {
	e := Start(t)
	client := e.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := client.Watch(ctx, "k")
	lease, err := client.Grant(ctx, 60)
	require.NoError(t, err)
	_, err = client.KeepAlive(ctx, lease.ID)
	require.NoError(t, err)
	e.Put(t, "k", "1")
	require.Len(t, (<-events).Events, 1)

	began := time.Now()
	e.Stop(t, 0)
	t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))

	e.Restart(t, 0)
	e.Put(t, "k", "2")
	require.Equal(t, "2", string((<-events).Events[0].Kv.Value), "the client's watch goes on")
}

func TestThreeMembersServeWithOneStopped(t *testing.T) {
	e := Start(t, WithMembers(3))
	require.Len(t, e.Endpoints(), 3)
	e.Put(t, "k", "1")

	e.Stop(t, 0)
	e.Put(t, "k", "2")
	require.Equal(t, map[string]string{"k": "2"}, e.Get(t, "k"))

	e.Restart(t, 0)
	alone, err := clientv3.New(clientv3.Config{Endpoints: e.Endpoints()[:1]})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, alone.Close()) })
	resp, err := alone.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "2", string(resp.Kvs[0].Value))
}

func TestMembersThatCannotBeMeantAreRefused(t *testing.T) {
	c, err := localetcd.Start(t.Context(), localetcd.Config{})
	require.NoError(t, err)
	require.ErrorContains(t, c.Stop(1), "no etcd member 1")
	require.ErrorContains(t, c.Restart(t.Context(), 0), "it is running")
	require.NoError(t, c.Stop(0))
	require.ErrorContains(t, c.Stop(0), "it is not running")
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.ErrorContains(t, c.Restart(t.Context(), 0), "closed")

	_, err = localetcd.Start(t.Context(), localetcd.Config{Ports: []int{1}})
	require.ErrorContains(t, err, "2 a member")
}
