package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"logferry/collector/envelope"
)

const patience = time.Minute

// api is an API server that knows pods, as far as an agent asks for them.
type api struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	version int
	oldest  int // of the versions that a watch can begin at
	pods    map[string]metav1.PartialObjectMetadata
	past    []metav1.WatchEvent // that of version i+1 at place i
	changed chan struct{}       // closed at the next event, or when watches are to end
	cuts    int
	status  int           // of all answers; 0: fine
	hang    chan struct{} // not nil: nothing is answered before it is closed
	behind  int           // events that a list knows nothing of yet
	lists   int
	watches int
	selects map[string]bool
}

func newAPI(t *testing.T) *api {
	a := &api{t: t, pods: map[string]metav1.PartialObjectMetadata{}, changed: make(chan struct{}), selects: map[string]bool{}}
	a.server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() {
		a.set(func() { a.hang = nil })
		a.cut()
		a.server.CloseClientConnections()
		a.server.Close()
	})
	return a
}

func (a *api) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// happen makes an event of a pod.
func (a *api) happen(kind watch.EventType, uid, name string, labels map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	m := metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Name: name, Namespace: "shop", Labels: labels, ResourceVersion: strconv.Itoa(a.version),
			Annotations: map[string]string{"team": "a", "large": string(make([]byte, 2000)), hashAnnotation: "hash-" + uid}},
	}
	if a.pods[uid] = m; kind == watch.Deleted {
		delete(a.pods, uid)
	}
	a.past = append(a.past, metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Object: &m}})
	close(a.changed)
	a.changed = make(chan struct{})
}

// cut ends all watches.
func (a *api) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cuts++
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	hang, status := a.hang, a.status
	a.selects[r.URL.Query().Get("fieldSelector")] = true
	a.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case status != 0:
		refuse(w, status)
	case r.URL.Query().Get("watch") != "":
		a.stream(w, r)
	default:
		a.list(w)
	}
}

func refuse(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure",
		Code: int32(status), Reason: map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 410: metav1.StatusReasonExpired, 401: metav1.StatusReasonUnauthorized}[status]})
}

func (a *api) list(w http.ResponseWriter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lists++
	list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
	at := a.version - a.behind
	list.ResourceVersion = strconv.Itoa(at)
	for _, p := range a.pods {
		if version, _ := strconv.Atoi(p.ResourceVersion); version <= at {
			list.Items = append(list.Items, p)
		}
	}
	_ = json.NewEncoder(w).Encode(list)
}

func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	at, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	require.NoError(a.t, err)
	a.mu.Lock()
	a.watches++
	cuts, gone := a.cuts, at < a.oldest
	a.mu.Unlock()
	if gone {
		refuse(w, http.StatusGone)
		return
	}
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		a.mu.Lock()
		events, changed, cut := a.past[at:], a.changed, a.cuts != cuts
		a.mu.Unlock()
		if cut {
			return
		}
		for _, e := range events {
			if json.NewEncoder(w).Encode(e) != nil {
				return
			}
			at++
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// run is a Pods that runs.
type run struct {
	*Pods
	t   *testing.T
	log *journal
}

type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func start(t *testing.T, a *api, change func(*Config)) *run {
	t.Helper()
	cfg := Config{Node: "node-1", Wait: patience, Keep: time.Hour}
	if a != nil {
		cfg.API = &rest.Config{Host: a.server.URL}
	}
	if change != nil {
		change(&cfg)
	}
	r := &run{t: t, log: &journal{}}
	r.Pods = New(cfg, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(r.log, nil)))
	r.retry = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			require.ErrorIs(t, err, context.Canceled)
		case <-time.After(patience):
			require.FailNow(t, "it does not end")
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

func named(uid string) envelope.Kubernetes {
	return envelope.Kubernetes{Namespace: "shop", Pod: "pod-" + uid, Container: "c", UID: uid}
}

func (r *run) until(what string, ok func() bool) {
	r.t.Helper()
	require.Eventually(r.t, ok, patience, time.Millisecond, "%s\n%s", what, r.log)
}

// app waits until a pod has this label.
func (r *run) app(uid, want string) {
	r.t.Helper()
	r.until("the label "+want, func() bool { p := r.Find(named(uid)); return p != nil && p.Labels["app"] == want })
}

func (r *run) unlabelled() float64 { return testutil.ToFloat64(r.unknown) }
