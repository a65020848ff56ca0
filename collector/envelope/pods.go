package envelope

import "strings"

// Pod is what the Kubernetes API tells of a pod. It is never changed.
type Pod struct {
	Labels, Annotations map[string]string
}

// Pods knows pods. It may be used from several goroutines.
type Pods interface {
	// Find returns what is known of a pod now; nil: nothing. The same is the same
	// pointer. It is asked for each batch.
	Find(k Kubernetes) *Pod
	// Await is Find that may wait for a moment. It is asked once for a file, by who
	// is about to read it.
	Await(k Kubernetes) *Pod
}

func (p *Pod) labels() map[string]string {
	if p == nil {
		return nil
	}
	return p.Labels
}

func (p *Pod) annotations() map[string]string {
	if p == nil {
		return nil
	}
	return p.Annotations
}

// asksForPods reports whether a template names labels or annotations of pods.
func asksForPods(parts []part) bool {
	for _, p := range parts {
		if strings.HasPrefix(p.field, kubeLabels+".") || strings.HasPrefix(p.field, kubeAnnotations+".") {
			return true
		}
	}
	return false
}

// renew takes up what has changed of the pod. What is forgotten of it stays.
func (f *Form) renew() {
	if now := f.pods.Find(f.file.kube); now != nil && now != f.file.pod {
		f.file.pod = now
		f.prepare()
	}
}
