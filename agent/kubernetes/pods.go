// Package kubernetes knows the labels and annotations of this node's pods: it
// lists them at the Kubernetes API and watches them, as metadata alone.
//
// It never keeps a line from being shipped. What it does not know in time is
// left out of the records, and counted.
package kubernetes

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"logferry/collector/envelope"
)

const (
	// longestValue is the longest annotation that is kept, in bytes. Those of tools
	// hold whole manifests.
	longestValue = 1 << 10
	// mostMissed bounds the pods that are remembered as unknown.
	mostMissed = 1000
	// hashAnnotation holds the uid that the kubelet uses in the paths of a pod
	// from a manifest on the node.
	hashAnnotation = "kubernetes.io/config.hash"
)

// Config says which pods are watched.
type Config struct {
	Node string        // the node's name
	Wait time.Duration // how long the first lines of a pod wait until it is known
	Keep time.Duration // how long a deleted pod is remembered
	API  *rest.Config  // nil: that of the cluster that the agent runs in
}

// Pods is what is known of the node's pods. Nothing is asked of the API before
// Need. All methods may be called from any goroutine; Run is called once.
type Pods struct {
	cfg      Config
	log      *slog.Logger
	needed   chan struct{}
	once     sync.Once
	resource metadata.ResourceInterface
	retry    time.Duration // after a first failure
	ended    chan struct{} // closed when Run has ended
	unknown  prometheus.Counter

	mu      sync.Mutex
	byUID   map[string]*pod
	byName  map[string]*pod // namespace/name; the newest of its name
	missed  map[string]bool // waited for in vain
	changed chan struct{}   // closed when something is learnt
	synced  bool            // the list is there, and the watch follows it
	late    bool            // somebody waited in vain for that
	err     string          // that was logged last
}

type pod struct {
	envelope.Pod
	uid, hash, name string
	deleted         time.Time // zero: it is there
}

// New prepares it. The API is not contacted.
func New(cfg Config, reg prometheus.Registerer, log *slog.Logger) *Pods {
	p := &Pods{
		cfg: cfg, log: log, needed: make(chan struct{}), ended: make(chan struct{}), changed: make(chan struct{}), retry: time.Second,
		byUID: map[string]*pod{}, byName: map[string]*pod{}, missed: map[string]bool{},
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "logferry_kubernetes_unknown_pods_total",
			Help: "Files whose first records were sent without the labels and annotations of their pod, which was not known in time.",
		}),
	}
	reg.MustRegister(p.unknown, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "logferry_kubernetes_connected",
		Help: "1 while the node's pods are watched at the Kubernetes API, 0 while they are not, or need not be.",
	}, func() float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.synced {
			return 1
		}
		return 0
	}))
	return p
}

// Need says that some task asks for labels or annotations.
func (p *Pods) Need() { p.once.Do(func() { close(p.needed) }) }

// Run watches until ctx ends, once there is a need.
func (p *Pods) Run(ctx context.Context) error {
	defer close(p.ended)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.needed:
	}
	if err := p.connect(); err != nil {
		p.trouble(err)
		<-ctx.Done()
		return ctx.Err()
	}
	p.follow(ctx)
	return ctx.Err()
}

func (p *Pods) connect() error {
	api := p.cfg.API
	if api == nil {
		var err error
		if api, err = rest.InClusterConfig(); err != nil {
			return fmt.Errorf("find the Kubernetes API: %w; run the agent in a pod whose service account token is mounted", err)
		}
	}
	if p.cfg.Node == "" {
		return fmt.Errorf("the node's name is not known; set NODE_NAME from spec.nodeName, or kubernetes.node in agent.yaml")
	}
	client, err := metadata.NewForConfig(api)
	if err != nil {
		return fmt.Errorf("prepare the client of the Kubernetes API: %w", err)
	}
	p.resource = client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"})
	return nil
}

// Find returns what is known of a pod now; nil: nothing.
func (p *Pods) Find(k envelope.Kubernetes) *envelope.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.findLocked(k)
}

func (p *Pods) findLocked(k envelope.Kubernetes) *envelope.Pod {
	found := p.byUID[k.UID]
	if k.UID == "" {
		found = p.byName[k.Namespace+"/"+k.Pod]
	}
	if found == nil {
		return nil
	}
	return &found.Pod
}

// Await is Find that waits a moment for a pod that may have begun just now. It
// does not while the API is out of reach.
func (p *Pods) Await(k envelope.Kubernetes) *envelope.Pod {
	limit := time.NewTimer(p.cfg.Wait)
	defer limit.Stop()
	for {
		p.mu.Lock()
		found, changed, key := p.findLocked(k), p.changed, k.UID+"/"+k.Namespace+"/"+k.Pod
		give := found != nil || p.missed[key] || p.late || p.err != ""
		p.mu.Unlock()
		if !give {
			select {
			case <-changed:
				continue
			case <-limit.C:
				p.miss(key)
			case <-p.ended:
			}
		}
		if found == nil {
			p.unknown.Inc()
		}
		return found
	}
}

// miss remembers that a pod was waited for in vain, or that all are.
func (p *Pods) miss(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.synced {
		p.late = true
		return
	}
	if len(p.missed) >= mostMissed {
		clear(p.missed)
	}
	p.missed[key] = true
}

// trouble notes why the API does not answer, and says so once.
func (p *Pods) trouble(err error) {
	p.mu.Lock()
	said := p.err
	p.err, p.synced = err.Error(), false
	p.wakeLocked()
	p.mu.Unlock()
	if said != err.Error() {
		p.log.Warn("the labels of pods cannot be followed, records are sent without those that are not known", "node", p.cfg.Node, "error", err)
	}
}

func (p *Pods) wakeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// replace takes a whole list. Pods that are not in it are deleted.
func (p *Pods) replace(list []metav1.PartialObjectMetadata) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := make(map[string]bool, len(list))
	for i := range list {
		there[string(list[i].UID)] = true
		p.putLocked(&list[i])
	}
	for _, known := range p.byUID {
		if !there[known.uid] && known.deleted.IsZero() {
			known.deleted = time.Now()
		}
	}
	p.forgetLocked()
	if p.err != "" || !p.synced {
		p.log.Info("the labels of pods are followed", "node", p.cfg.Node, "pods", len(list))
	}
	p.synced, p.late, p.err = true, false, ""
	p.wakeLocked()
}

func (p *Pods) putLocked(m *metav1.PartialObjectMetadata) {
	n := &pod{uid: string(m.UID), hash: m.Annotations[hashAnnotation], name: m.Namespace + "/" + m.Name}
	n.Labels, n.Annotations = m.Labels, m.Annotations
	maps.DeleteFunc(n.Annotations, func(_, value string) bool { return len(value) > longestValue })
	if old := p.byUID[n.uid]; old != nil && maps.Equal(old.Labels, n.Labels) && maps.Equal(old.Annotations, n.Annotations) {
		old.deleted = time.Time{} // a list from a cache that is behind may have lacked it
		return                    // what was made of it stays as it is
	}
	p.byUID[n.uid], p.byName[n.name] = n, n
	if n.hash != "" {
		p.byUID[n.hash] = n
	}
}

func (p *Pods) put(m *metav1.PartialObjectMetadata) {
	p.mu.Lock()
	p.putLocked(m)
	p.wakeLocked()
	p.mu.Unlock()
}

func (p *Pods) remove(uid string) {
	p.mu.Lock()
	if known := p.byUID[uid]; known != nil && known.deleted.IsZero() {
		known.deleted = time.Now()
	}
	p.forgetLocked()
	p.mu.Unlock()
}

// forgetLocked drops the pods that are deleted for long enough.
func (p *Pods) forgetLocked() {
	old := func(_ string, known *pod) bool {
		return !known.deleted.IsZero() && time.Since(known.deleted) >= p.cfg.Keep
	}
	maps.DeleteFunc(p.byUID, old)
	maps.DeleteFunc(p.byName, old)
}
