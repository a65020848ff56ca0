package deploy_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"logferry/agent"
	"logferry/agent/task"
)

// cluster is all that deploy/kubernetes holds.
type cluster struct {
	namespace corev1.Namespace
	account   corev1.ServiceAccount
	config    corev1.ConfigMap
	tasks     corev1.ConfigMap
	daemons   appsv1.DaemonSet
	network   networkingv1.NetworkPolicy
	role      rbacv1.ClusterRole
	binding   rbacv1.ClusterRoleBinding
}

// loadCluster decodes every manifest strictly, in the order in which kubectl
// applies the files.
func loadCluster(t *testing.T) cluster {
	t.Helper()
	var c cluster
	targets := map[string]any{
		"v1/Namespace/logferry": &c.namespace, "v1/ServiceAccount/logferry": &c.account,
		"v1/ConfigMap/logferry": &c.config, "v1/ConfigMap/logferry-tasks": &c.tasks, "apps/v1/DaemonSet/logferry": &c.daemons,
		"networking.k8s.io/v1/NetworkPolicy/logferry":       &c.network,
		"rbac.authorization.k8s.io/v1/ClusterRole/logferry": &c.role, "rbac.authorization.k8s.io/v1/ClusterRoleBinding/logferry": &c.binding,
	}
	files, err := filepath.Glob("kubernetes/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		for doc := range strings.SplitSeq(read(t, file), "\n---\n") {
			var head struct {
				metav1.TypeMeta `json:",inline"`
				Metadata        metav1.ObjectMeta `json:"metadata"`
			}
			require.NoError(t, yaml.Unmarshal([]byte(doc), &head), file)
			id := head.APIVersion + "/" + head.Kind + "/" + head.Metadata.Name
			require.Contains(t, targets, id, file)
			require.NoError(t, yaml.UnmarshalStrict([]byte(doc), targets[id]), file)
			delete(targets, id)
			if !strings.HasPrefix(head.Kind, "ClusterRole") && head.Kind != "Namespace" {
				require.NotContains(t, targets, "v1/Namespace/logferry", "the namespace must be applied first")
				require.Equal(t, "logferry", head.Metadata.Namespace, file)
			}
		}
	}
	require.Empty(t, targets)
	return c
}

func (c cluster) container(t *testing.T) corev1.Container {
	t.Helper()
	require.Len(t, c.daemons.Spec.Template.Spec.Containers, 1)
	return c.daemons.Spec.Template.Spec.Containers[0]
}

// loadAgentConfig writes the agent.yaml of the ConfigMap to a file and loads it.
func (c cluster) loadAgentConfig(t *testing.T) agent.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	require.NoError(t, os.WriteFile(path, []byte(c.config.Data["agent.yaml"]), 0o600))
	return loadAgent(t, path, map[string]string{"NODE_NAME": "node-1"})
}

func TestDaemonSetHoldsTogether(t *testing.T) {
	c := loadCluster(t)
	pod := c.daemons.Spec.Template
	require.Equal(t, c.account.Name, pod.Spec.ServiceAccountName)
	for key, value := range c.daemons.Spec.Selector.MatchLabels {
		require.Equal(t, value, pod.Labels[key])
	}
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v
		if v.ConfigMap != nil {
			require.Contains(t, []string{c.config.Name, c.tasks.Name}, v.ConfigMap.Name)
		}
	}
	container := c.container(t)
	require.Len(t, container.VolumeMounts, len(volumes))
	for _, m := range container.VolumeMounts {
		require.Contains(t, volumes, m.Name)
		require.Equal(t, m.Name != "state", m.ReadOnly, m.Name)
	}
	require.NotEmpty(t, pod.Spec.Tolerations)
	require.False(t, container.Resources.Requests.Memory().IsZero())
	require.False(t, container.Resources.Limits.Memory().IsZero())
}

func TestDaemonSetGivesTheAgentNoMoreThanReading(t *testing.T) {
	c := loadCluster(t)
	pod := c.daemons.Spec.Template.Spec
	require.False(t, *c.account.AutomountServiceAccountToken, "the token is for the agent's pods alone")
	require.True(t, *pod.AutomountServiceAccountToken, "pods.yaml asks for labels of pods")
	require.Equal(t, []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}}}, c.role.Rules)
	require.Equal(t, rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: c.role.Name}, c.binding.RoleRef)
	require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: c.account.Name, Namespace: c.namespace.Name}}, c.binding.Subjects)
	require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	security := c.container(t).SecurityContext
	require.Nil(t, security.Privileged)
	require.False(t, *security.AllowPrivilegeEscalation)
	require.True(t, *security.ReadOnlyRootFilesystem)
	require.Equal(t, []corev1.Capability{"ALL"}, security.Capabilities.Drop)
	require.Equal(t, []corev1.Capability{"DAC_READ_SEARCH"}, security.Capabilities.Add)
}

func TestDaemonSetMountsTheHostsLogsForReadingOnly(t *testing.T) {
	c := loadCluster(t)
	pod := c.daemons.Spec.Template.Spec
	writable := []string{}
	for _, m := range c.container(t).VolumeMounts {
		if !m.ReadOnly {
			writable = append(writable, m.Name)
		}
		if m.Name == "logs" {
			require.Equal(t, corev1.RecursiveReadOnlyIfPossible, *m.RecursiveReadOnly)
		}
	}
	require.Equal(t, []string{"state"}, writable)
	require.False(t, pod.HostNetwork)
	require.False(t, pod.HostPID)
	require.False(t, pod.HostIPC)
}

func TestNetworkPolicyIsForTheAgentsAndWhatTheySpeakTo(t *testing.T) {
	c := loadCluster(t)
	cfg, spec := c.loadAgentConfig(t), c.network.Spec
	for key, value := range spec.PodSelector.MatchLabels {
		require.Equal(t, value, c.daemons.Spec.Template.Labels[key])
	}
	require.ElementsMatch(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, spec.PolicyTypes)
	require.Len(t, spec.Ingress, 1)
	require.NotEmpty(t, spec.Ingress[0].From)
	require.EqualValues(t, c.container(t).Ports[0].ContainerPort, spec.Ingress[0].Ports[0].Port.IntValue())
	allowed := func(port int) bool {
		for _, rule := range spec.Egress {
			for _, p := range rule.Ports {
				if *p.Protocol == corev1.ProtocolTCP && (port == p.Port.IntValue() || p.EndPort != nil && port >= p.Port.IntValue() && port <= int(*p.EndPort)) {
					return true
				}
			}
		}
		return false
	}
	for _, broker := range cfg.Kafka.Brokers {
		_, port, err := net.SplitHostPort(broker)
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		require.True(t, allowed(n), broker)
	}
	require.True(t, allowed(53))
	require.True(t, allowed(2379))
	require.False(t, allowed(80))
}

func TestDaemonSetAndItsConfigurationAgree(t *testing.T) {
	c := loadCluster(t)
	cfg, container := c.loadAgentConfig(t), c.container(t)
	require.Equal(t, "node-1", cfg.ID)
	require.Equal(t, "NODE_NAME", container.Env[0].Name)
	require.Equal(t, "spec.nodeName", container.Env[0].ValueFrom.FieldRef.FieldPath)

	mounts := map[string]string{}
	for _, m := range container.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	require.Equal(t, []string{"run", "--config", mounts["config"] + "/agent.yaml"}, container.Args)
	require.Equal(t, mounts["state"], cfg.StateDir)
	match, err := doublestar.Match(cfg.Tasks.Files[0], mounts["tasks"]+"/pods.yaml")
	require.NoError(t, err)
	require.True(t, match)

	require.Equal(t, "0.0.0.0:9600", cfg.HTTP.Listen)
	require.Equal(t, []string{"healthz", "readyz", "metrics"}, cfg.HTTP.Open, "what the kubelet and Prometheus ask, and no more")
	require.False(t, cfg.HTTP.Insecure)
	require.EqualValues(t, 9600, container.Ports[0].ContainerPort)
	require.Equal(t, "9600", c.daemons.Spec.Template.Annotations["prometheus.io/port"])
	for path, probe := range map[string]*corev1.Probe{
		"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe,
	} {
		require.Equal(t, path, probe.HTTPGet.Path)
		require.Equal(t, container.Ports[0].Name, probe.HTTPGet.Port.StrVal)
	}
	grace := time.Duration(*c.daemons.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	require.Greater(t, grace, cfg.ShutdownTimeout)
	require.Less(t, int64(cfg.Memory.Limit), container.Resources.Limits.Memory().Value())
}

func TestTasksOfTheConfigMapAreValid(t *testing.T) {
	c := loadCluster(t)
	require.NotEmpty(t, c.tasks.Data)
	for file, text := range c.tasks.Data {
		_, err := task.DecodeOne([]byte(text), file, strings.TrimSuffix(file, ".yaml"))
		require.NoError(t, err)
	}
}
