package etcdsource

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/etcdtest"
)

func openTestStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := OpenStore(cfg, quiet())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestAFleetIsReadAtOneMoment(t *testing.T) {
	e := etcdtest.Start(t)
	s := openTestStore(t, testConfig(t, e.Endpoints()...))
	f, err := s.Fleet(t.Context())
	require.NoError(t, err)
	require.Empty(t, f.Members)
	require.Empty(t, f.Tasks)

	e.Put(t, "/logferry/tasks/web", text("web"))
	e.Put(t, "/logferry/agents/b", `{"id":"b","host":"b.example","revision":2}`)
	e.Put(t, "/logferry/agents/a", `{"id":"a","host":"a.example","revision":2}`)
	e.Put(t, "/logferry/status/a", `{"id":"a","revision":3,"tasks":[{"name":"web","state":"running"}]}`)
	e.Put(t, "/logferry/status/gone", `{"id":"gone"}`)
	e.Put(t, "/logferryx/agents/c", `{"id":"c"}`)
	last := e.Put(t, "/logferry/agents/broken", `nonsense`)
	f, err = s.Fleet(t.Context())
	require.NoError(t, err)
	require.Equal(t, last, f.Revision)
	require.Len(t, f.Tasks, 1)
	require.Len(t, f.Members, 3)
	require.Equal(t, "a", f.Members[0].Name)
	require.EqualValues(t, 3, f.Members[0].Applied())
	require.Equal(t, "web", f.Members[0].Report.Tasks[0].Name)
	require.Equal(t, "b.example", f.Members[1].Agent.Host)
	require.EqualValues(t, 2, f.Members[1].Applied())
	require.Equal(t, "broken", f.Members[2].Agent.ID)
	require.Contains(t, f.Members[2].Error, "/logferry/agents/broken cannot be read")
}

// watched is a fleet that is being watched.
type watched struct {
	t     *testing.T
	shown chan Fleet
	errs  chan string
}

func watchFleet(t *testing.T, s *Store) *watched {
	t.Helper()
	w := &watched{t: t, shown: make(chan Fleet, 10000), errs: make(chan string, 10000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.WatchFleet(ctx, time.Millisecond, func(f Fleet, err error) {
			if err != nil {
				w.errs <- err.Error()
				return
			}
			w.shown <- f
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return w
}

func (w *watched) forgetErrors() {
	for {
		select {
		case <-w.errs:
		default:
			return
		}
	}
}

// until returns the first fleet that is as wanted.
func (w *watched) until(what string, ok func(Fleet) bool) Fleet {
	w.t.Helper()
	var last Fleet
	timeout := time.After(patience)
	for {
		select {
		case last = <-w.shown:
			if ok(last) {
				return last
			}
		case <-timeout:
			require.FailNow(w.t, "the fleet was never so: "+what, "%+v", last)
		}
	}
}

func TestAWatchedFleetIsShownAgainWhenItChanges(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/agents/a", `{"id":"a","host":"one"}`)
	w := watchFleet(t, openTestStore(t, testConfig(t, e.Endpoints()...)))
	f := <-w.shown
	require.Len(t, f.Members, 1)

	rev := e.Put(t, "/logferry/status/a", `{"id":"a","tasks":[{"name":"web","state":"failing"}]}`)
	f = w.until("it reports", func(f Fleet) bool { return f.Revision == rev })
	require.Equal(t, "failing", f.Members[0].Report.Tasks[0].State)
	e.Put(t, "/logferry/tasks/web", text("web"))
	w.until("a task", func(f Fleet) bool { return len(f.Tasks) == 1 })
	e.Put(t, "/logferry/agents/a", `{"id":"a","host":"two"}`)
	f = w.until("it moved", func(f Fleet) bool { return f.Members[0].Agent.Host == "two" })
	require.Len(t, f.Members[0].Report.Tasks, 1)
	e.Delete(t, "/logferry/agents/a")
	w.until("it is gone", func(f Fleet) bool { return len(f.Members) == 0 })
	require.Empty(t, w.errs)
}

func TestAWatchedFleetOutlivesItsConnection(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/agents/a", `{"id":"a"}`)
	p := newProxy(t, e.Endpoints()[0])
	cfg := testConfig(t, p.address())
	cfg.WatchTimeout = time.Second
	w := watchFleet(t, openTestStore(t, cfg))
	<-w.shown
	e.Put(t, "/logferry/agents/a", `{"id":"a","host":"seen"}`)
	w.until("it is watched", func(f Fleet) bool { return len(f.Members) == 1 && f.Members[0].Agent.Host == "seen" })
	for _, fault := range []func(){p.cut, p.freeze} {
		fault()
		require.NotEmpty(t, <-w.errs)
		e.Put(t, "/logferry/agents/b", `{"id":"b"}`)
		e.Compact(t)
		p.cut() // what is frozen is never thawed
		p.open()
		w.until("both", func(f Fleet) bool { return len(f.Members) == 2 })
		e.Delete(t, "/logferry/agents/b")
		w.until("one", func(f Fleet) bool { return len(f.Members) == 1 })
		w.forgetErrors()
	}
}

func TestAFleetThatCannotBeReachedIsAnErrorAtOnce(t *testing.T) {
	s := openTestStore(t, testConfig(t, "127.0.0.1:1"))
	err := s.WatchFleet(t.Context(), time.Second, func(Fleet, error) { t.Error("there is nothing to show") })
	require.ErrorContains(t, err, "list agents: cannot reach etcd at 127.0.0.1:1")
}
