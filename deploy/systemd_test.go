package deploy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unitKeys are the directives that the unit may use, by section, as
// systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5) and
// systemd.resource-control(5) define them.
var unitKeys = map[string][]string{
	"Unit": {"Description", "After", "Wants", "StartLimitIntervalSec"},
	"Service": {
		"Type", "ExecStart", "ExecReload", "EnvironmentFile", "Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec",
		"DynamicUser", "StateDirectory", "StateDirectoryMode", "ConfigurationDirectory", "ReadOnlyPaths", "LimitNOFILE", "MemoryMax",
		"TasksMax", "AmbientCapabilities", "CapabilityBoundingSet", "NoNewPrivileges", "LockPersonality", "MemoryDenyWriteExecute",
		"PrivateDevices", "PrivateTmp", "ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
		"ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "RemoveIPC", "RestrictAddressFamilies",
		"RestrictNamespaces", "PrivateMounts", "TimerSlackNSec", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallErrorNumber",
		"SystemCallFilter", "UMask",
	},
	"Install": {"WantedBy"},
}

// parseUnit returns the values of each "Section.Key".
func parseUnit(t *testing.T, text string) map[string][]string {
	t.Helper()
	values, section := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
			require.Contains(t, unitKeys, section)
		default:
			key, value, found := strings.Cut(line, "=")
			require.True(t, found, line)
			require.Contains(t, unitKeys[section], key)
			values[section+"."+key] = append(values[section+"."+key], value)
		}
	}
	return values
}

func TestUnitGivesTheAgentNoMoreThanReading(t *testing.T) {
	unit := parseUnit(t, read(t, "logferry.service"))
	for key, want := range map[string]string{
		"DynamicUser": "yes", "StateDirectory": "logferry", "ProtectSystem": "strict", "ReadOnlyPaths": "/var/log", "NoNewPrivileges": "yes",
		"AmbientCapabilities": "CAP_DAC_READ_SEARCH", "CapabilityBoundingSet": "CAP_DAC_READ_SEARCH",
		"Restart": "on-failure", "ExecReload": "/bin/kill -HUP $MAINPID",
	} {
		require.Equal(t, []string{want}, unit["Service."+key], key)
	}
	require.True(t, slices.Contains(unit["Service.SystemCallFilter"], "@system-service"))
}

func TestUnitWaitsLongerThanTheAgentNeedsToStop(t *testing.T) {
	unit := parseUnit(t, read(t, "logferry.service"))
	timeout, err := time.ParseDuration(unit["Service.TimeoutStopSec"][0])
	require.NoError(t, err)
	cfg := loadAgent(t, "../configs/agent.yaml", nil)
	require.Greater(t, timeout, cfg.ShutdownTimeout)
	require.Equal(t, "/var/lib/"+unit["Service.StateDirectory"][0], cfg.StateDir)
}

// exposure is systemd's own measure of what a unit can do, from 0 (nothing) to 10
// (anything). docs/security.md states it.
const exposure = "1.5"

func TestSystemdRatesTheUnitAsDocumented(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "logferry.service").CombinedOutput()
	if err != nil && bytes.Contains(out, []byte("--offline")) {
		t.Skip("this systemd-analyze rates only what runs")
	}
	require.NoError(t, err, string(out))
	found := regexp.MustCompile(`Overall exposure level for logferry.service: (\d+\.\d+)`).FindSubmatch(out)
	require.NotNil(t, found, string(out))
	rated, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(t, err)
	stated, err := strconv.ParseFloat(exposure, 64)
	require.NoError(t, err)
	require.LessOrEqual(t, rated, stated, string(out))
	require.Contains(t, read(t, "../docs/security.md"), "rates the unit "+exposure)
}

func TestSystemdAcceptsTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "logferry.service")
	// systemd looks for the binary, which is not installed where tests run.
	text := strings.ReplaceAll(read(t, "logferry.service"), "/usr/bin/logferry", self)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
	require.NoError(t, err, string(out))
	require.False(t, bytes.Contains(out, []byte("logferry.service")), string(out))
}
