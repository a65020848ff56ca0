package agent

import (
	"context"
	"fmt"
	"time"

	"logferry/agent/task"
	"logferry/sink/kafka/admin"
)

// How long a new version's cluster is given to answer while the old version runs
// on, and how long is waited between two attempts. The first one is short: the
// fleet is to hear soon of a cluster that cannot be reached.
const (
	firstVet    = 1500 * time.Millisecond
	laterVet    = 20 * time.Second
	vetPauseMin = time.Second
	vetPauseMax = 15 * time.Second
)

// vetting looks whether a version could deliver, again and again until it could,
// while the version before it runs on.
type vetting struct {
	news chan error // each failure; nil: it could
	stop func()     // ends it, and waits for that
}

func startVetting(ctx context.Context, t task.Task, reach func(context.Context, task.Task) error) *vetting {
	ctx, cancel := context.WithCancel(ctx)
	v, ended := &vetting{news: make(chan error)}, make(chan struct{})
	v.stop = func() { cancel(); <-ended }
	go func() {
		defer close(ended)
		limit, pause := firstVet, vetPauseMin
		for ctx.Err() == nil {
			attempt, end := context.WithTimeout(ctx, limit)
			err := reach(attempt, t)
			end()
			select {
			case v.news <- err:
			case <-ctx.Done():
				return
			}
			if err == nil {
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			limit, pause = laterVet, min(2*pause, vetPauseMax)
		}
	}()
	return v
}

// toVet says whether a version has to show that it can deliver before the one that
// runs is stopped for it: it goes to another cluster, and what runs delivers.
func (k *keeper) toVet(running want, p *pipeline) (next want, needed bool) {
	w := k.current()
	if w == nil || k.s.reach == nil || w.task.Cluster == running.task.Cluster || p.sink.Err() != nil {
		return want{}, false
	}
	return *w, true
}

// hold notes why the version that is wanted does not run; empty: it is not held.
func (k *keeper) hold(err error) {
	text := ""
	if err != nil {
		text = err.Error() + "; the last good version runs on until then"
	}
	k.mu.Lock()
	first := text != "" && k.held == ""
	k.held = text
	k.mu.Unlock()
	if first {
		k.s.log.Error("a new version cannot deliver, the last good one runs on", "task", k.name, "error", err)
	}
}

// reachCluster asks a task's cluster for its brokers.
func (r *rooms) reachCluster(ctx context.Context, t task.Task) error {
	cluster, err := r.cluster(t)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		cluster.RequestTimeout = min(cluster.RequestTimeout, time.Until(deadline))
	}
	topics, err := admin.New(ctx, cluster)
	if err != nil {
		return fmt.Errorf("cluster %q: %w; start its brokers, or correct them under clusters in agent.yaml", t.Cluster, err)
	}
	return topics.Close()
}
