package etcdsource

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"logferry/test/etcdtest"
)

// opened counts the connections through a proxy.
func (p *proxy) opened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

func TestAnAgentIsConnectedToOneMemberAndGoesToTheNextWhenThatFails(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.WithMembers(3))
	e.Put(t, "/logferry/tasks/web", text("one"))
	var proxies []*proxy
	var endpoints []string
	for _, at := range e.Endpoints() {
		p := newProxy(t, at)
		proxies, endpoints = append(proxies, p), append(endpoints, p.address())
	}
	m := join(t, e, testConfig(t, endpoints...), Agent{ID: "a"})
	m.registered("a")
	r := run(t, testConfig(t, endpoints...))
	r.until(map[string]string{"web": "one"})
	r.connected(true)
	mine := func() (at []*proxy, all int) {
		for _, p := range proxies {
			if n := p.opened(); n > 0 {
				at, all = append(at, p), all+n
			}
		}
		return at, all
	}
	at, all := mine()
	require.Equal(t, 2, all, "two agents, one connection each, for tasks and registration")
	for _, p := range at {
		p.cut()
	}
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"})
	require.Eventually(t, func() bool { return m.Status().Registered }, patience, 5*time.Millisecond)
}

func TestAfterABrokenConnectionTheWatchGoesOnWhereItWas(t *testing.T) {
	e := etcdtest.Start(t)
	p := newProxy(t, e.Endpoints()[0])
	e.Put(t, "/logferry/tasks/web", text("one"))
	e.Put(t, "/logferry/tasks/db", text("one"))
	r := run(t, testConfig(t, p.address()))
	r.until(map[string]string{"web": "one", "db": "one"})
	r.connected(true)
	listed := r.Status().Synced

	p.cut()
	r.connected(false)
	e.Put(t, "/logferry/tasks/web", text("two"))
	e.Delete(t, "/logferry/tasks/db")
	p.open()
	r.until(map[string]string{"web": "two"})
	require.Equal(t, listed, r.Status().Synced, "nothing was listed again")

	r.connected(true)
	p.cut()
	r.connected(false)
	e.Put(t, "/logferry/tasks/web", text("three"))
	e.Compact(t)
	p.open()
	r.until(map[string]string{"web": "three"})
	require.NotEqual(t, listed, r.Status().Synced, "what etcd has forgotten is listed")
}

func TestAnAgentThatFindsItsLeaseAgainWritesNothing(t *testing.T) {
	e := etcdtest.Start(t)
	p := newProxy(t, e.Endpoints()[0])
	m := join(t, e, testConfig(t, p.address()), Agent{ID: "a"})
	m.registered("a")
	m.says("running")
	last := e.Put(t, "/last", "")
	p.cut()
	require.Eventually(t, func() bool { return !m.Status().Registered }, patience, 5*time.Millisecond)
	p.open()
	m.registered("a")
	require.Equal(t, last+1, e.Put(t, "/last", ""), "a fleet that comes back together is no storm of writes")
	m.report(TaskReport{Name: "web", State: "failing"})
	m.says("failing")
}

func TestAgentsThatLoseEtcdTogetherComeBackOneAfterAnotherAndSlowlyWhenItIsBusy(t *testing.T) {
	var first, refused, late time.Duration
	for range 1000 {
		first = max(first, pauseAfter(errConnection, 0))
		refused = max(refused, pauseAfter(errConnection, 20))
		late = max(late, pauseAfter(fmt.Errorf("list: %w", context.DeadlineExceeded), 20))
		require.Less(t, pauseAfter(errConnection, 0), returnSpread)
		require.GreaterOrEqual(t, pauseAfter(errConnection, 20), retryMax/2)
		require.GreaterOrEqual(t, pauseAfter(status.Error(codes.DeadlineExceeded, ""), 20), retryBusy/2)
	}
	require.Greater(t, first, returnSpread/2)
	require.LessOrEqual(t, refused, retryMax)
	require.LessOrEqual(t, late, retryBusy)
}
