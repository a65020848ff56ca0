package envelope

import "strings"

// Kubernetes is what the path of a container's log says about the container.
type Kubernetes struct {
	Namespace, Pod, Container string
	UID                       string // of the pod; empty where the path does not hold it
}

// KubernetesOf reads the names that the kubelet gives to logs:
//
//	/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log
//	/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log
//
// None of the names can hold an underscore. ok is false for any other path.
func KubernetesOf(path string) (k Kubernetes, ok bool) {
	if rest, found := strings.CutPrefix(path, "/var/log/pods/"); found {
		parts := strings.Split(rest, "/")
		if len(parts) < 3 {
			return k, false
		}
		names := strings.Split(parts[0], "_")
		if len(names) != 3 {
			return k, false
		}
		k = Kubernetes{Namespace: names[0], Pod: names[1], UID: names[2], Container: parts[1]}
	} else if rest, found := strings.CutPrefix(path, "/var/log/containers/"); found {
		names := strings.Split(rest, "_")
		if len(names) != 3 || strings.Contains(rest, "/") {
			return k, false
		}
		k = Kubernetes{Pod: names[0], Namespace: names[1]}
		if i := strings.LastIndexByte(names[2], '-'); i > 0 {
			k.Container = names[2][:i]
		}
	}
	return k, k.Namespace != "" && k.Pod != "" && k.Container != ""
}
