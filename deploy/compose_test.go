package deploy_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"logferry/agent/task"
)

func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  ".",
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yaml"}},
		Environment: types.Mapping{},
	})
	require.NoError(t, err)
	return project
}

func service(t *testing.T, project *types.Project, name string) types.ServiceConfig {
	t.Helper()
	require.Contains(t, project.Services, name)
	return project.Services[name]
}

func TestComposeStartsEverythingTheAgentTalksTo(t *testing.T) {
	project := loadCompose(t)
	for _, name := range []string{"kafka", "etcd", "task", "logferry", "log-writer", "prometheus", "grafana", "kafka-ui"} {
		service(t, project, name)
	}
	for name, s := range project.Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				_, err := os.Stat(v.Source)
				require.NoError(t, err, name)
				require.True(t, v.ReadOnly, "%s must not write %s", name, v.Source)
			}
		}
		for _, p := range s.Ports {
			require.Equal(t, "127.0.0.1", p.HostIP, "%s is published beyond this machine", name)
		}
	}
	build := service(t, project, "logferry").Build
	require.FileExists(t, build.Context+"/"+build.Dockerfile)
}

func TestComposeAgentReachesItsNeighbours(t *testing.T) {
	project := loadCompose(t)
	cfg := loadAgent(t, "compose/agent.yaml", nil)
	kafka := service(t, project, "kafka").Environment
	require.Contains(t, *kafka["KAFKA_ADVERTISED_LISTENERS"], "INSIDE://"+cfg.Kafka.Brokers[0])
	require.Contains(t, *kafka["KAFKA_PROCESS_ROLES"], "controller", "Kafka runs without ZooKeeper")
	require.Equal(t, cfg.Kafka.Brokers[0], *service(t, project, "kafka-ui").Environment["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"])
	require.Equal(t, []string{"etcd:2379"}, cfg.Tasks.Etcd.Endpoints)

	logferry := service(t, project, "logferry")
	require.NotNil(t, logferry.StopGracePeriod)
	require.Greater(t, time.Duration(*logferry.StopGracePeriod), cfg.ShutdownTimeout)
	require.True(t, slices.ContainsFunc(logferry.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == cfg.StateDir }))
	require.Contains(t, strings.Join(logferry.Command, " "), "--config /etc/logferry/agent.yaml")
}

func TestComposePutsAValidTaskIntoEtcd(t *testing.T) {
	cfg := loadAgent(t, "compose/agent.yaml", nil)
	command := service(t, loadCompose(t), "task").Command
	key, value := command[len(command)-2], command[len(command)-1]
	name, found := strings.CutPrefix(key, cfg.Tasks.Etcd.Prefix+"/tasks/")
	require.True(t, found, key)
	got, err := task.DecodeOne([]byte(value), key, name)
	require.NoError(t, err)
	allow, err := task.NewAllowList(cfg.AllowPaths)
	require.NoError(t, err)
	require.NoError(t, got.ValidateRemote(allow))
}
