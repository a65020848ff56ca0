package kubernetes

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"

	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/internal/record"
)

func app(name string) map[string]string { return map[string]string{"app": name} }

func TestNothingIsAskedBeforeSomebodyNeedsIt(t *testing.T) {
	a := newAPI(t)
	r := start(t, a, func(c *Config) { c.Wait = time.Millisecond })
	require.Nil(t, r.Await(named("1")))
	require.Zero(t, a.lists)
	r.Need()
	r.Need()
	r.until("the list", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.lists == 1 })
}

func TestLabelsAreListedWatchedAndKeptAfterADeletion(t *testing.T) {
	a := newAPI(t)
	a.happen(watch.Added, "1", "pod-1", app("web"))
	r := start(t, a, nil)
	r.Need()
	first := r.Await(named("1"))
	require.Equal(t, app("web"), first.Labels)
	require.Equal(t, "a", first.Annotations["team"])
	require.NotContains(t, first.Annotations, "large")
	require.Same(t, first, r.Find(envelope.Kubernetes{Namespace: "shop", Pod: "pod-1"}), "paths below /var/log/containers have no uid")
	require.Same(t, first, r.Find(named("hash-1")), "of a static pod the path has the hash of its manifest")
	require.Nil(t, r.Find(envelope.Kubernetes{Namespace: "other", Pod: "pod-1"}))

	a.happen(watch.Modified, "1", "pod-1", app("web"))
	a.happen(watch.Added, "2", "pod-2", app("db"))
	require.Equal(t, app("db"), r.Await(named("2")).Labels)
	require.Same(t, first, r.Find(named("1")), "nothing has changed of it")
	a.happen(watch.Modified, "1", "pod-1", app("shop"))
	r.app("1", "shop")
	require.Equal(t, app("web"), first.Labels)

	a.happen(watch.Deleted, "1", "pod-1", app("shop"))
	a.happen(watch.Added, "3", "pod-3", app("x"))
	r.app("3", "x")
	r.app("1", "shop")
	require.Zero(t, r.unlabelled())
	require.Equal(t, map[string]bool{"spec.nodeName=node-1": true}, a.selects)
}

func TestADeletedPodIsForgottenAfterAWhile(t *testing.T) {
	a := newAPI(t)
	a.happen(watch.Added, "1", "pod-1", app("web"))
	r := start(t, a, func(c *Config) { c.Keep = time.Nanosecond })
	r.Need()
	r.app("1", "web")
	a.happen(watch.Deleted, "1", "pod-1", app("web"))
	r.until("it is forgotten", func() bool { return r.Find(named("1")) == nil })
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(t, r.byUID)
	require.Empty(t, r.byName)
}

func TestAPodThatAListFromAnOlderCacheLacksIsNotForgotten(t *testing.T) {
	a := newAPI(t)
	r := start(t, a, nil)
	r.Need()
	r.until("a watch", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.watches == 1 })
	a.happen(watch.Added, "1", "pod-1", app("web"))
	r.app("1", "web")
	a.set(func() { a.status = http.StatusServiceUnavailable })
	a.cut()
	r.until("the trouble is said", func() bool { return strings.Contains(r.log.String(), "cannot be followed") })
	a.happen(watch.Added, "2", "pod-2", app("db"))
	a.set(func() { a.status, a.behind = 0, 2 }) // a server that knows of neither yet, and then of both
	r.app("2", "db")
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Zero(t, r.byUID["1"].deleted)
}

func TestAWatchThatIsCutGoesOnWhereItWas(t *testing.T) {
	a := newAPI(t)
	r := start(t, a, nil)
	r.Need()
	for i, name := range []string{"a", "b", "c", "d"} {
		r.until("a watch", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.watches >= i+1 })
		a.happen(watch.Added, "1", "pod-1", app(name))
		r.app("1", name)
		a.cut()
		r.until("another watch", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.watches >= i+2 })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Equal(t, 1, a.lists)
}

func TestAfterTheAPIForgotWhereTheWatchWasAllIsListedAgain(t *testing.T) {
	a := newAPI(t)
	a.happen(watch.Added, "1", "pod-1", app("web"))
	a.happen(watch.Added, "2", "pod-2", app("db"))
	r := start(t, a, nil)
	r.Need()
	r.app("2", "db")
	a.set(func() { a.status = http.StatusServiceUnavailable })
	a.cut()
	r.until("the trouble is said", func() bool { return strings.Contains(r.log.String(), "cannot be followed") })
	a.happen(watch.Deleted, "1", "pod-1", app("web"))
	a.happen(watch.Modified, "2", "pod-2", app("new"))
	a.set(func() { a.status, a.oldest = 0, a.version })
	r.app("2", "new")
	r.app("1", "web")
	r.mu.Lock()
	require.False(t, r.byUID["1"].deleted.IsZero())
	r.mu.Unlock()

	a.happen(watch.Added, "3", "pod-3", app("x"))
	a.set(func() { a.oldest = a.version + 1 }) // 410 at once
	a.cut()
	a.happen(watch.Added, "4", "pod-4", app("y"))
	r.app("4", "y")
}

func TestAnAPIThatRefusesIsToldOnceWithItsRemedyAndIsNotWaitedFor(t *testing.T) {
	for status, remedy := range map[int]string{
		http.StatusForbidden: "deploy/kubernetes/15-rbac.yaml", http.StatusUnauthorized: "mount the token",
	} {
		a := newAPI(t)
		a.status = status
		r := start(t, a, nil)
		r.Need()
		r.until("the remedy", func() bool { return len(r.log.String()) > 0 })
		require.Contains(t, r.log.String(), remedy)
		began := time.Now()
		require.Nil(t, r.Await(named("1")))
		require.Less(t, time.Since(began), patience/2)
		require.Equal(t, 1.0, r.unlabelled())
		a.happen(watch.Added, "1", "pod-1", app("web"))
		a.set(func() { a.status = 0 })
		r.app("1", "web")
	}
}

func TestAnAPIThatNeverAnswersIsWaitedForOnce(t *testing.T) {
	a := newAPI(t)
	hang := make(chan struct{})
	a.hang = hang
	a.happen(watch.Added, "1", "pod-1", app("web"))
	r := start(t, a, func(c *Config) { c.Wait = 50 * time.Millisecond })
	r.Need()
	require.Nil(t, r.Await(named("1")))
	r.cfg.Wait = patience
	began := time.Now()
	for range 100 {
		require.Nil(t, r.Await(named("1")))
	}
	require.Less(t, time.Since(began), patience/2)
	require.Equal(t, 101.0, r.unlabelled())
	a.set(func() { a.hang = nil })
	close(hang)
	r.app("1", "web")
}

func TestAPodThatNobodyKnowsIsWaitedForOnce(t *testing.T) {
	a := newAPI(t)
	r := start(t, a, func(c *Config) { c.Wait = 20 * time.Millisecond })
	r.Need()
	r.until("the list", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.synced })
	require.Nil(t, r.Await(named("gone")))
	r.mu.Lock()
	require.Len(t, r.missed, 1)
	r.mu.Unlock()
	r.cfg.Wait = patience
	require.Nil(t, r.Await(named("gone")))
}

func TestWithoutAClusterOrANodeItSaysSo(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	r := start(t, nil, nil)
	r.Need()
	r.until("the remedy", func() bool { return len(r.log.String()) > 0 })
	require.Contains(t, r.log.String(), "run the agent in a pod")
	require.Nil(t, r.Await(named("1")))
	r = start(t, newAPI(t), func(c *Config) { c.Node = "" })
	r.Need()
	r.until("the remedy", func() bool { return len(r.log.String()) > 0 })
	require.Contains(t, r.log.String(), "set NODE_NAME")
}

func TestRecordsOfAPodThatIsGoneStillCarryItsLabels(t *testing.T) {
	a := newAPI(t)
	r := start(t, a, nil)
	r.Need()
	r.until("the list", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.synced })
	a.happen(watch.Added, "1", "job-1", app("job"))
	r.app("1", "job")
	a.happen(watch.Deleted, "1", "job-1", app("job"))
	a.happen(watch.Added, "2", "job-2", app("next"))
	r.app("2", "next")
	e, err := envelope.New(envelope.Config{Headers: map[string]string{"app": "{{.kubernetes.labels.app}}"}, Pods: r.Pods})
	require.NoError(t, err)
	recs := []record.Record{{Value: []byte("bye")}}
	e.For(&record.Source{Path: "/var/log/pods/shop_job-1_1/c/0.log"}).Apply(recs, time.Now(), &frame.Space{})
	require.Equal(t, []record.Header{{Key: "app", Value: []byte("job")}}, recs[0].Extra.Headers)
}
