package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
)

// A user and a group that no host gives to anybody.
const (
	agentUser = 54321
	logGroup  = 54322
)

// rights are what one way to run the agent gives it.
type rights struct {
	under        []string // setpriv with its arguments
	capabilities string   // of the process, as /proc tells
	mode         os.FileMode
	refusals     map[string]string // of a link to /etc/shadow, by task
	forbidden    bool              // there are logs that it must not be able to read
}

func setpriv(args ...string) []string {
	return append([]string{"setpriv", "--reuid", strconv.Itoa(agentUser), "--regid", strconv.Itoa(agentUser), "--no-new-privs"}, args...)
}

// needRoot ends a test that has to become somebody else. Where it must run (CI)
// that is a failure.
func needRoot(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("setpriv")
	if os.Geteuid() == 0 && err == nil {
		return
	}
	const why = "needs root and setpriv, to run the agent as a user with fewer rights"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	fmt.Fprintf(os.Stderr, "SKIPPED: %s %s (an error with CI=true)\n", t.Name(), why)
	t.Skip(why)
}

func TestAnAgentWithoutOtherRightsShipsLogsOfRootAndNothingThatIsForbidden(t *testing.T) {
	needRoot(t)
	for name, r := range map[string]rights{
		"one capability": {
			under:        setpriv("--clear-groups", "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search"),
			capabilities: "0000000000000004", mode: 0o600, refusals: map[string]string{"web": "/etc/shadow is outside of allow_paths", "local": "a symbolic link leads to /etc/shadow"},
		},
		"a group": {
			under:        setpriv("--groups", strconv.Itoa(logGroup), "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"),
			capabilities: "0000000000000000", mode: 0o640, refusals: map[string]string{"web": "evil.log: permission denied", "local": "evil.log: permission denied"}, forbidden: true,
		},
	} {
		t.Run(name, func(t *testing.T) { shipWith(t, r) })
	}
}

func shipWith(t *testing.T, r rights) {
	k, etcd, dir := kafkatest.Shared(t), etcdtest.Start(t), t.TempDir()
	remote, local := k.NewTopic(t, 1), k.NewTopic(t, 1)
	logs, state := filepath.Join(dir, "logs"), filepath.Join(dir, "state")
	if r.forbidden { // without capabilities the way must be open
		for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
			require.NoError(t, os.Chmod(d, 0o755))
		}
	}
	require.NoError(t, os.Mkdir(state, 0o700))
	require.NoError(t, os.Chown(state, agentUser, agentUser))
	require.NoError(t, os.Mkdir(logs, 0o750))
	require.NoError(t, os.Chown(logs, 0, logGroup))
	logOfRoot := func(name, text string, mode os.FileMode) {
		path := filepath.Join(logs, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chown(path, 0, logGroup))
		require.NoError(t, os.Chmod(path, mode))
	}
	logOfRoot("app.log", "one\n", r.mode)
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(logs, "evil.log")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tasks"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tasks", "local.yaml"), fmt.Appendf(nil, "paths: [%s/*.log]\ntopic: %s\n", logs, local), 0o644))
	config := writeConfig(t, dir, k.Brokers()[0], etcd.Endpoints())
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, append(text, "  files: [tasks/*.yaml]\n"...), 0o600))
	require.NoError(t, os.Chown(config, agentUser, agentUser))
	putTask(t, etcd, "web", fmt.Sprintf(`{"paths": ["%s/*.log"], "topic": %q}`, logs, remote))
	putTask(t, etcd, "shadow", fmt.Sprintf(`{"paths": ["/etc/shadow"], "topic": %q}`, remote))

	agent := agenttest.StartUnder(t, r.under, "--config", config)
	requireRights(t, agent.PID(), r.capabilities)
	if r.forbidden {
		logOfRoot("private.log", "forbidden\n", 0o600)
	}
	for task, topic := range map[string]string{"web": remote, "local": local} {
		k.WaitCount(t, topic, 1, agenttest.Patience)
		agenttest.Eventually(t, "the link is refused: by the agent if it may read what it leads to", agenttest.Patience, func() bool {
			return strings.Contains(agent.NotCollected(task)[filepath.Join(logs, "evil.log")], r.refusals[task])
		})
		if r.forbidden {
			agenttest.Eventually(t, "the private log is refused", agenttest.Patience, func() bool {
				return strings.Contains(agent.NotCollected(task)[filepath.Join(logs, "private.log")], "permission denied")
			})
		}
		require.Contains(t, agent.Tasks()[task].NotCollected, "evil.log")
	}
	require.Equal(t, "refused", agent.Tasks()["shadow"].State)
	require.Contains(t, agent.Tasks()["shadow"].Error, `"/etc/shadow" reaches outside of allow_paths`)
	agenttest.Eventually(t, "the fleet is told", 2*agenttest.Patience, func() bool {
		status := etcd.Get(t, "/logferry/status/")["/logferry/status/host-1"]
		return strings.Contains(status, `/etc/shadow\" reaches outside of allow_paths`) && strings.Contains(status, r.refusals["local"])
	})

	require.NoError(t, os.Rename(filepath.Join(logs, "app.log"), filepath.Join(logs, "app.log.1")))
	logOfRoot("app.log", "two\n", r.mode)
	for _, topic := range []string{remote, local} {
		k.WaitCount(t, topic, 2, agenttest.Patience)
	}
	agent.Terminate()
	for _, topic := range []string{remote, local} {
		require.Equal(t, []string{"one", "two"}, values(t, k, topic))
	}
}

// requireRights holds a process against what it should be.
func requireRights(t *testing.T, pid int, capabilities string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
		require.Contains(t, string(status), set+":\t"+capabilities+"\n")
	}
	require.Regexp(t, fmt.Sprintf(`(?m)^Uid:(\s+%d){4}$`, agentUser), string(status))
	require.Regexp(t, `(?m)^NoNewPrivs:\s+1$`, string(status))
}
