package main

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTapShowsWhatAnAgentSends(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "a.log")
	p := start(t, "run", "--path", filepath.Join(dir, "*.log"), "--topic", "web", "--dry-run", "--http", "127.0.0.1:0")
	addr := p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	p.awaitMetric(t, `logferry_tasks\{state="running"\} 1`)
	opened := 0
	tap := func(args ...string) *process {
		t.Helper()
		opened++
		tap := start(t, append([]string{"tap", "flags", "--agent", addr}, args...)...)
		p.awaitLog(t, fmt.Sprintf(`(?s)(tap started.*){%d}`, opened))
		return tap
	}

	text := tap("--max", "3", "--rate", "3")
	appendTo(t, log, "one\n\x1b[31mtwo\n3\n4\n5\n")
	require.Regexp(t, `^\d{4}-\S+Z `+log+`@0 one$`, text.readLine(t))
	require.Regexp(t, `@4 "\\x1b\[31mtwo"$`, text.readLine(t))
	require.Regexp(t, `^… 1 record not shown$`, text.readLine(t))
	require.Regexp(t, `@15 4$`, text.readLine(t))
	require.NoError(t, text.cmd.Wait())

	value := tap("-o", "value")
	appendTo(t, log, "six\n")
	require.Equal(t, "six", value.readLine(t))
	require.Equal(t, exitOK, value.end(t, syscall.SIGINT), value.logText())

	json := tap("-o", "json")
	appendTo(t, log, "seven\n")
	require.Regexp(t, `"topic":"web","path":"`+log+`",.*"value":"seven","bytes":5\}`, json.readLine(t))

	for _, args := range [][]string{{"tap", "wbe"}, {"tap", "flags", "--agent", "127.0.0.1:1"}} {
		out, code := runOnce(t, append([]string{args[0], "--agent", addr}, args[1:]...)...)
		require.Equal(t, exitFailed, code, out)
	}
	out, _ := runOnce(t, "tap", "wbe", "--agent", addr)
	require.Contains(t, out, `the agent answers 404 Not Found: this agent has no task "wbe"; it has flags`)
	out, code := runOnce(t, "tap", "flags", "--rate", "0")
	require.Equal(t, exitUsage, code, out)

	out, _ = runOnce(t, "__complete", "tap", "--agent", addr, "")
	require.Contains(t, out, "flags\n:4\n")

	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
	_ = json.cmd.Wait()
	require.Equal(t, exitFailed, json.cmd.ProcessState.ExitCode())
	require.Contains(t, json.logText(), "logferry: no more is shown: the agent is stopping")
}
