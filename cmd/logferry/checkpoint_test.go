package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// TestAnAgentGoesOnWhereItsCheckpointWasSet ships three lines, and again what
// set and rm make of them, with list before, while and after an agent runs.
func TestAnAgentGoesOnWhereItsCheckpointWasSet(t *testing.T) {
	brokers := startKafka(t, kfake.SeedTopics(1, "web_log"))
	dir := t.TempDir()
	state, log := filepath.Join(dir, "state"), filepath.Join(dir, "a.log")
	appendTo(t, log, "one\ntwo\nthree\n")
	var addr string
	arrived := []string{}
	// ship runs an agent until these lines came besides those before.
	ship := func(lines ...string) {
		t.Helper()
		p := start(t, "run", "--path", filepath.Join(dir, "*.log"), "--topic", "web_log", "--brokers", strings.Join(brokers, ","), "--state-dir", state, "--http", "127.0.0.1:0")
		addr = p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
		arrived = append(arrived, lines...)
		require.Equal(t, arrived, read(t, brokers, "web_log", int64(len(arrived))))
		p.awaitMetric(t, `logferry_buffered_bytes\{task="flags"\} 0`)

		out, code := runOnce(t, "checkpoint", "list", "--state-dir", state, "--agent", addr)
		require.Equal(t, exitOK, code, out)
		require.Regexp(t, `flags +`+log+` +\S+ +\d+ +\d+ +(quiet|reading)`, out)
		for _, change := range [][]string{{"set", log, "end"}, {"rm", log}} {
			out, code = runOnce(t, append([]string{"checkpoint", "--state-dir", state}, change...)...)
			require.Equal(t, exitFailed, code)
			require.Contains(t, out, "an agent runs on "+state+"; stop it first")
		}
		require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
	}
	checkpoint := func(code int, want string, args ...string) {
		t.Helper()
		out, got := runOnce(t, append([]string{"checkpoint", "--state-dir", state}, args...)...)
		require.Equal(t, code, got, out)
		require.Contains(t, out, want)
	}

	checkpoint(exitFailed, state+" holds no checkpoints; name the agent's state_dir with --state-dir or --config", "list")
	ship("one", "two", "three")
	checkpoint(exitOK, " 14         14    current ", "list")
	checkpoint(exitOK, `"committed_bytes": 14`, "list", log, "-o", "json")
	out, _ := runOnce(t, "__complete", "checkpoint", "rm", "--state-dir", state, "")
	require.Contains(t, out, log+"\n:4\n")
	checkpoint(exitFailed, "the offset is in the middle of a line: lines of "+log+" start at 4 and 8; take one of them, or --force", "set", log, "6")
	checkpoint(exitFailed, "has 14 bytes: 15 is not in it", "set", log, "15", "--force")
	checkpoint(exitUsage, `OFFSET: "middle" is no place in a file`, "set", log, "middle")
	checkpoint(exitFailed, "there is no checkpoint of "+dir+"/b.log", "set", dir+"/b.log", "end")
	checkpoint(exitFailed, `task "web" has no checkpoint of `+log, "rm", log, "--task", "web")

	checkpoint(exitOK, "task flags goes on at byte 8 of "+log+" and sends 6 bytes again", "set", log, "8")
	ship("three")
	checkpoint(exitOK, " and sends 10 bytes again", "set", log, "4")
	appendTo(t, log, "four\nfi")
	checkpoint(exitOK, "at byte 19 of "+log+" and skips 15 bytes", "set", log, "end")
	appendTo(t, log, "ve\n")
	ship("five")
	checkpoint(exitOK, " and sends 16 bytes again", "set", log, "8", "--force")
	checkpoint(exitOK, " and skips 1 byte", "set", log, "9", "--force")
	ship("hree", "four", "five")
	checkpoint(exitOK, "task flags forgot 1 file of "+log, "rm", log)
	checkpoint(exitOK, "TASK  PATH", "list")
	ship("one", "two", "three", "four", "five")
	checkpoint(exitOK, " and sends 24 bytes again", "set", log, "beginning")
	ship("one", "two", "three", "four", "five")
}

func TestTheTaskIsAskedForWhereSeveralHaveACheckpointOfAPath(t *testing.T) {
	brokers := startKafka(t, kfake.SeedTopics(1, "web_log"))
	dir := t.TempDir()
	log := filepath.Join(dir, "a.log")
	appendTo(t, log, "one\n")
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".yaml"), fmt.Appendf(nil, "paths: [%s]\ntopic: web_log\n", log), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "agent.yaml"),
		fmt.Appendf(nil, "kafka: {brokers: [%s]}\ntasks: {files: [%q]}\nstate_dir: state\nhttp: {listen: 127.0.0.1:0}\n", brokers[0], dir+"/[ab].yaml"), 0o600))
	p := start(t, "run", "--config", filepath.Join(dir, "agent.yaml"))
	read(t, brokers, "web_log", 2)
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))

	out, code := runOnce(t, "checkpoint", "set", log, "beginning", "--config", filepath.Join(dir, "agent.yaml"))
	require.Equal(t, exitUsage, code)
	require.Contains(t, out, log+" is collected by a and b; name one with --task")
	out, code = runOnce(t, "checkpoint", "set", log, "beginning", "--task", "b", "--config", filepath.Join(dir, "agent.yaml"))
	require.Equal(t, exitOK, code, out)
	out, code = runOnce(t, "checkpoint", "set", log, "end", "--task", "c", "--force", "--config", filepath.Join(dir, "agent.yaml"))
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "nothing was committed before")
	out, _ = runOnce(t, "checkpoint", "list", "--config", filepath.Join(dir, "agent.yaml"))
	require.Regexp(t, `(?s)a +\S+ +\S+ +4 .*b +\S+ +\S+ +0 .*c +\S+ +\S+ +4 `, out)
}
