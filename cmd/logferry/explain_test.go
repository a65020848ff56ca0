package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplainAsksTheAgentWhatBecomesOfAFile(t *testing.T) {
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "a.log"), "one\n")
	p := start(t, "run", "--path", filepath.Join(dir, "*.log"), "--topic", "web", "--dry-run", "--http", "127.0.0.1:0")
	require.Contains(t, p.readLine(t), "one")
	addr := p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	p.awaitMetric(t, `logferry_buffered_bytes\{task="flags"\} 0`)

	out, code := runOnce(t, "explain", "--agent", addr, filepath.Join(dir, "a.log"))
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "task flags: collected, to topic web")
	require.Contains(t, out, "read to 4 of 4 bytes, delivered to 4")

	out, code = runOnce(t, "explain", "--agent", addr, filepath.Join(dir, "a.txt"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "task flags: not collected")
	require.Contains(t, out, "no pattern of the task matches it; its paths are "+filepath.Join(dir, "*.log"))
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))

	out, code = runOnce(t, "explain", "--agent", addr, "/a.log")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "give the address of its http.listen with --agent")
}

// runOnce runs logferry to its end and returns what it printed.
func runOnce(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command("logferry", args...)
	cmd.Env = append(os.Environ(), endAtOnce)
	text, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
