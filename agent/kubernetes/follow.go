package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	listTimeout = 10 * time.Second
	maxRetry    = 30 * time.Second
	// A watch ends after five to ten minutes, and goes on where it was.
	watchSeconds = 300
)

// errStale says that the API does not remember where the watch was.
var errStale = errors.New("the watch is too old")

// follow lists and watches, again and again.
func (p *Pods) follow(ctx context.Context) {
	wait := p.retry
	for ctx.Err() == nil {
		began := time.Now()
		err := p.listAndWatch(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errStale):
			if wait = p.retry; time.Since(began) < p.retry {
				pause(ctx, p.retry)
			}
			continue
		}
		p.trouble(explained(err))
		if time.Since(began) > maxRetry {
			wait = p.retry
		}
		pause(ctx, wait+rand.N(wait))
		wait = min(2*wait, maxRetry)
	}
}

// listAndWatch returns when the watch cannot go on where it was.
func (p *Pods) listAndWatch(ctx context.Context) error {
	listing, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := p.resource.List(listing, metav1.ListOptions{FieldSelector: "spec.nodeName=" + p.cfg.Node, ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	p.replace(list.Items)
	failures := 0
	for at := list.ResourceVersion; ctx.Err() == nil; {
		began, from := time.Now(), at
		if at, err = p.watch(ctx, at); err != nil {
			if failures++; errors.Is(err, errStale) || refused(err) || failures > 3 {
				return err
			}
		} else {
			failures = 0
		}
		if at == from && time.Since(began) < p.retry {
			pause(ctx, p.retry)
		}
	}
	return ctx.Err()
}

// watch follows what happens behind a resource version, and returns up to where it did.
func (p *Pods) watch(ctx context.Context, at string) (until string, err error) {
	seconds := int64(watchSeconds + rand.IntN(watchSeconds))
	w, err := p.resource.Watch(ctx, metav1.ListOptions{
		FieldSelector: "spec.nodeName=" + p.cfg.Node, ResourceVersion: at, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	})
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return at, errStale
		}
		return at, fmt.Errorf("watch pods: %w", err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			err := apierrors.FromObject(e.Object)
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				return at, errStale
			}
			return at, fmt.Errorf("watch pods: %w", err)
		}
		m, ok := e.Object.(*metav1.PartialObjectMetadata)
		if !ok {
			return at, fmt.Errorf("watch pods: the API sends %T", e.Object)
		}
		at = m.ResourceVersion
		switch e.Type {
		case watch.Added, watch.Modified:
			p.put(m)
		case watch.Deleted:
			p.remove(string(m.UID))
		}
	}
	return at, nil // its time is over, or it was cut
}

func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// explained adds what to do.
func explained(err error) error {
	var status apierrors.APIStatus
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; let the agent's service account list and watch pods, as deploy/kubernetes/15-rbac.yaml does", err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w; mount the token of the agent's service account", err)
	case errors.As(err, &status) && status.Status().Code >= http.StatusInternalServerError:
		return fmt.Errorf("%w; it is tried again", err)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
