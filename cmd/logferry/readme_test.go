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
	"time"

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
	require.Greater(t, len(seen), 15)
	for _, command := range []string{"agents", "top --fleet", "status", "task put", "task pause", "task resume", "task history", "task rollback", "task rm"} {
		require.Contains(t, strings.Join(seen, "\n"), "bin/logferry "+command, "docs/fleet.md shows no %s", command)
	}
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

// section returns a part of README.md, which tests find at the top of the tree.
func section(t *testing.T, title string) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, part, found := strings.Cut(string(text), "\n## "+title+"\n")
	require.True(t, found, title)
	part, _, _ = strings.Cut(part, "\n## ")
	return part
}

// TestTheCommandsThatREADMEShowsBesideTasksWork runs those that look at an agent, move
// its place in a file, and use Kafka by hand.
func TestTheCommandsThatREADMEShowsBesideTasksWork(t *testing.T) {
	e := etcdtest.Start(t)
	brokers := startKafka(t, kfake.SeedTopics(1, "nginx"))
	dir, state := t.TempDir(), t.TempDir()
	log := filepath.Join(dir, "access.log")
	appendTo(t, log, "one\n")
	t.Chdir(filepath.Join("..", ".."))
	t.Setenv("LOGFERRY_ALLOW_PATHS", dir+"/**")
	p := start(t, "run", "--id", "web-1", "--etcd", e.Endpoints()[0], "--brokers", brokers[0], "--state-dir", state, "--http", "127.0.0.1:0")
	p.awaitLog(t, "registered in etcd")
	addr := p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	e.Put(t, "/logferry/tasks/web", "paths: ["+log+"]\ntopic: nginx\n")
	p.awaitMetric(t, `logferry_acked_records_total\{task="web",topic="nginx"\} 1`)

	seen, ended := map[string]bool{}, false
	for _, title := range []string{"See what it does", "Move an agent's place in a file", "Kafka by hand"} {
		for _, words := range commandsOf(section(t, title)) {
			in := ""
			if words[0] == "echo" {
				in, words = words[1]+"\n", words[slices.Index(words, "|")+1:]
			}
			if words[0] == "sudo" {
				words = words[1:]
			}
			require.Equal(t, "bin/logferry", words[0])
			if slices.Contains(words, "--ca-file") {
				continue // of an agent that speaks TLS; TestCommandsShowATokenOrACertificateToAnAgentThatSpeaksTLS has those
			}
			name := words[1]
			seen[name] = true
			for i, w := range words {
				words[i] = map[string]string{"127.0.0.1:9092": brokers[0], "/var/log/nginx/access.log": log}[w]
				if words[i] == "" {
					words[i] = w
				}
			}
			live := name == "tap" || name == "consume" || name == "top" && !slices.Contains(words, "--once")
			switch {
			case slices.Contains(words, "--fleet"):
				words = append(words, "--etcd", e.Endpoints()[0])
			case name == "top", name == "tap":
				words = append(words, "--agent", addr)
			case name == "checkpoint":
				words = append(words, "--state-dir", state)
				if words[2] == "list" {
					words = append(words, "--agent", addr)
				} else if !ended {
					ended = true
					require.Zero(t, p.end(t, syscall.SIGTERM))
				}
			}
			if live {
				out := &screen{}
				stop := startCommand(t, out, words[1:]...)
				require.Eventually(t, func() bool {
					if name == "tap" {
						appendTo(t, log, "live\n")
					}
					return out.String() != ""
				}, patience, 50*time.Millisecond, "%v shows nothing", words)
				code, said := stop()
				require.Zero(t, code, "%v: %s", words, said)
				continue
			}
			var stdout, stderr bytes.Buffer
			a := &app{in: strings.NewReader(in), out: &stdout, err: &stderr, getenv: func(string) string { return "" }}
			require.Zero(t, a.execute(t.Context(), words[1:]), "%v: %s%s", words, stdout.String(), stderr.String())
		}
	}
	for _, name := range []string{"top", "tap", "checkpoint", "topic", "produce", "consume"} {
		require.True(t, seen[name], "README.md shows no %s", name)
	}
}
