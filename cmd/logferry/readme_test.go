package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/test/etcdtest"
)

var (
	shellLine = regexp.MustCompile(`(?m)^\$ (.*)$`)
	comment   = regexp.MustCompile(`\s+# .*$`)
	shellWord = regexp.MustCompile(`'[^']*'|\S+`)
)

// readmeCommands returns the commands of the section "Manage tasks", up to its
// first heading, as words.
func readmeCommands(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Manage tasks\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n### ")
	return commandsOf(section)
}

// commandsOf returns the lines behind prompts as words.
func commandsOf(section string) [][]string {
	var commands [][]string
	for _, m := range shellLine.FindAllStringSubmatch(section, -1) {
		var words []string
		for _, w := range shellWord.FindAllString(comment.ReplaceAllString(m[1], ""), -1) {
			files, _ := filepath.Glob(w)
			switch {
			case strings.HasPrefix(w, "'"):
				words = append(words, strings.Trim(w, "'"))
			case strings.Contains(w, "*") && len(files) > 0:
				words = append(words, files...)
			default:
				words = append(words, w)
			}
		}
		commands = append(commands, words)
	}
	return commands
}

// TestTheCommandsThatREADMEShowsForTasksWork runs them in their order beside an
// agent, from the top of the tree.
func TestTheCommandsThatREADMEShowsForTasksWork(t *testing.T) {
	seen := runShown(t, func() [][]string { return readmeCommands(t) })
	require.Greater(t, len(seen), 18)
	for _, command := range []string{"put", "get", "list", "validate", "try", "diff", "history", "rollback", "pause", "resume", "rm"} {
		require.Contains(t, strings.Join(seen, "\n"), "bin/logferry task "+command, "README.md shows no task %s", command)
	}
}

func TestTheCommandsThatTheFleetPageShowsWork(t *testing.T) {
	seen := runShown(t, func() [][]string {
		text, err := os.ReadFile(filepath.Join("docs", "fleet.md"))
		require.NoError(t, err)
		return commandsOf(string(text))
	})
	require.Greater(t, len(seen), 10)
}

// runShown runs commands of a document beside an agent, and returns them.
func runShown(t *testing.T, commands func() [][]string) []string {
	t.Helper()
	e := etcdtest.Start(t)
	brokers := startKafka(t, kfake.SeedTopics(1, "web_log"))
	state := t.TempDir()
	t.Chdir(filepath.Join("..", ".."))
	agent := start(t, "run", "--id", "web-1", "--etcd", e.Endpoints()[0], "--brokers", strings.Join(brokers, ","), "--state-dir", state, "--http", "127.0.0.1:0")
	agent.awaitLog(t, "registered in etcd")

	env := map[string]string{}
	run := func(words ...string) (code int, out, said string) {
		var stdout, stderr bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &stdout, err: &stderr, getenv: func(name string) string { return env[name] }}
		code = a.execute(t.Context(), words)
		return code, stdout.String(), stderr.String()
	}
	first, seen := "", []string{}
	for _, words := range commands() {
		line := strings.Join(words, " ")
		switch {
		case words[0] == "make": // has a test of its own
		case words[0] == "export":
			name, value, _ := strings.Cut(words[1], "=")
			require.Equal(t, "127.0.0.1:2379", value)
			env[name] = e.Endpoints()[0]
		case words[0] == "etcdctl":
			require.Equal(t, "put", words[1])
			first = fmt.Sprint(e.Put(t, words[2], words[3]))
			agent.awaitMetric(t, `logferry_tasks\{state="running"\} 1`)
		case slices.Contains(words, "--watch"):
			out := &screen{}
			stop := startCommand(t, out, append(words[1:], "--etcd", e.Endpoints()[0])...)
			out.shows(t, "AGENT")
			code, said := stop()
			require.Zero(t, code, "%s: %s", line, said)
		default:
			require.Equal(t, "bin/logferry", words[0])
			for i := range words {
				if words[i] == "42" {
					words[i] = first
				}
			}
			code, out, said := run(words[1:]...)
			want := 0
			if slices.Contains(words, "diff") && slices.Contains(words, "--revision") {
				want = exitFailed // they differ
			}
			require.Equal(t, want, code, "%s: %s%s", line, out, said)
			require.Empty(t, said, line)
		}
		seen = append(seen, line)
	}
	agent.awaitMetric(t, `logferry_tasks\{state="running"\} 0`)
	require.Zero(t, agent.end(t, syscall.SIGTERM))
	_, out, _ := run("agents")
	require.Equal(t, 1, strings.Count(out, "\n"), out)
	return seen
}
