// Package etcdtest gives tests a real etcd, embedded in the test process.
//
//	e := etcdtest.Start(t)
//	e := etcdtest.Start(t, etcdtest.WithMembers(3))
//	e.Stop(t, 0)
//	e.Restart(t, 0)
//
// goleak needs no exceptions: a single member leaves no goroutine behind, and
// what several leave for some seconds is waited for by Settle.
package etcdtest

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"logferry/test/etcdtest/localetcd"
)

// patience bounds each single step: a start, a restart, a request.
const patience = time.Minute

// Cluster is a running etcd whose methods fail the test instead of returning
// errors. Its members are numbered from 0.
type Cluster struct {
	*localetcd.Cluster
	login clientv3.Config // user, password and TLS of the test's own clients
}

// Option changes what Start starts.
type Option func(testing.TB, *localetcd.Config)

// WithMembers asks for n members; default 1.
func WithMembers(n int) Option {
	return func(_ testing.TB, c *localetcd.Config) { c.Members = n }
}

// WithTokenTTL ends logins that are not used for so long, in whole seconds.
func WithTokenTTL(d time.Duration) Option {
	return func(_ testing.TB, c *localetcd.Config) { c.TokenTTL = d }
}

// WithLog writes etcd's warnings and errors to the test's log.
func WithLog() Option {
	return func(t testing.TB, c *localetcd.Config) { c.Log = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)) }
}

// Start starts an etcd for this test and stops it at the test's end. Its data
// lives in t.TempDir().
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	cfg := localetcd.Config{Dir: t.TempDir()}
	for _, o := range opts {
		o(t, &cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := localetcd.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("stop etcd: %v", err)
		}
	})
	t.Logf("using real etcd, %d member(s)", len(c.Endpoints())) // test/report counts these lines
	return &Cluster{Cluster: c, login: clientv3.Config{TLS: clientTLS(t, cfg.TLS)}}
}

// Stop stops a member at once: its clients' connections and watches break off.
func (c *Cluster) Stop(t testing.TB, member int) {
	t.Helper()
	if err := c.Cluster.Stop(member); err != nil {
		t.Fatal(err)
	}
}

// Wipe removes the data of a member that is stopped.
func (c *Cluster) Wipe(t testing.TB, member int) {
	t.Helper()
	if err := c.Cluster.Wipe(member); err != nil {
		t.Fatal(err)
	}
}

// Restart starts members that are stopped, on their data and ports, and
// returns when they serve.
func (c *Cluster) Restart(t testing.TB, members ...int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Cluster.Restart(ctx, members...); err != nil {
		t.Fatal(err)
	}
}

// Client returns a client of all members, which is closed at the test's end.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	client, err := c.dial(t.Context())
	if err != nil {
		t.Fatalf("connect to etcd: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Put writes a key and returns the revision.
func (c *Cluster) Put(t testing.TB, key, value string) int64 {
	t.Helper()
	var revision int64
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Put(ctx, key, value)
		if err == nil {
			revision = resp.Header.Revision
		}
		return err
	})
	return revision
}

// Delete removes a key.
func (c *Cluster) Delete(t testing.TB, key string) {
	t.Helper()
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Delete(ctx, key)
		return err
	})
}

// Get returns the values of all keys that begin with prefix.
func (c *Cluster) Get(t testing.TB, prefix string) map[string]string {
	t.Helper()
	out := map[string]string{}
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			out[string(kv.Key)] = string(kv.Value)
		}
		return nil
	})
	return out
}

// Compact forgets all revisions before the newest, so that a watch from an
// older one fails with ErrCompacted, and returns the newest.
func (c *Cluster) Compact(t testing.TB) int64 {
	t.Helper()
	var revision int64
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Get(ctx, "any")
		if err != nil {
			return err
		}
		revision = resp.Header.Revision
		_, err = client.Compact(ctx, revision, clientv3.WithCompactPhysical())
		return err
	})
	return revision
}

// dial returns a client that the cluster lets do everything.
func (c *Cluster) dial(ctx context.Context) (*clientv3.Client, error) {
	cfg := c.login
	cfg.Endpoints, cfg.Context, cfg.DialTimeout, cfg.Logger = c.Endpoints(), ctx, patience, zap.NewNop()
	return clientv3.New(cfg)
}

// do runs one operation with a client of its own, so that the test's clients
// see the cluster as they would see it alone.
func (c *Cluster) do(t testing.TB, op func(context.Context, *clientv3.Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := c.dial(ctx)
	if err != nil {
		t.Fatalf("connect to etcd: %v", err)
	}
	defer func() { _ = client.Close() }()
	if err := op(ctx, client); err != nil {
		t.Fatalf("ask etcd: %v", err)
	}
}

// Settle is for packages that start several members: members that have stopped
// hold on to the connections between them until a read timeout of 5 s ends,
// and goleak does not wait for so long.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(etcdtest.Settle(m)) }
func Settle(m goleak.TestingM) goleak.TestingM { return settled{m} }

type settled struct{ m goleak.TestingM }

func (s settled) Run() int {
	code := s.m.Run()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(15 * time.Second)
	for peersRead() {
		select {
		case <-tick.C:
		case <-timeout:
			return code // goleak tells what is left
		}
	}
	return code
}

// peersRead says whether a connection between members is still open in this
// process.
func peersRead() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Contains(stacks, []byte("etcd/client/pkg/v3/transport.timeoutConn"))
}
