package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/test/etcdtest"
)

// window is a terminal of tmux with a shell in it.
type window struct {
	t      *testing.T
	socket string
}

func openWindow(t *testing.T, columns, rows int) *window {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("CI") == "true" {
			require.FailNow(t, "tmux is not installed; .ci/run installs it where it may")
		}
		t.Skip("NOT TESTED: tmux is not installed, so nobody looks at top and status --watch in a real terminal; apt-get install tmux")
	}
	dir, err := os.MkdirTemp("", "tmux") // a socket's path must be short
	require.NoError(t, err)
	w := &window{t: t, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", w.socket, "kill-server").Run()
		require.NoError(t, os.RemoveAll(dir))
	})
	cmd := exec.Command("tmux", "-S", w.socket, "-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows), "sh")
	cmd.Env = append(os.Environ(), endAtOnce, "ENV=", "TMUX=", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	w.shows("a prompt", func(l []string) bool { return l[0] != "" })
	return w
}

func (w *window) tmux(args ...string) string {
	w.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", w.socket}, args...)...).CombinedOutput()
	require.NoError(w.t, err, "tmux %v: %s", args, out)
	return string(out)
}

// types a text, and keys by their names.
func (w *window) types(text string, keys ...string) {
	w.t.Helper()
	if text != "" {
		w.tmux("send-keys", "-l", text)
	}
	for _, k := range keys {
		w.tmux("send-keys", k)
	}
}

func (w *window) lines() []string {
	w.t.Helper()
	return strings.Split(strings.TrimSuffix(w.tmux("capture-pane", "-p"), "\n"), "\n")
}

func (w *window) shows(what string, fits func(lines []string) bool) {
	w.t.Helper()
	if !eventually(w.t, func() bool { return fits(w.lines()) }) {
		require.FailNow(w.t, "never shown: "+what, "%s", strings.Join(w.lines(), "\n"))
	}
}

func eventually(t *testing.T, ok func() bool) bool {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

func contains(what string) func([]string) bool {
	return func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), what) }
}

func (w *window) resize(columns, rows int) {
	w.t.Helper()
	w.tmux("resize-window", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows))
}

// runs types a command, after the terminal's settings were written to a file.
func (w *window) runs(command string) {
	w.t.Helper()
	w.types("stty -a | grep -v rows >"+w.socket+".before; clear; echo mark-$((40+2))", "Enter")
	w.shows("the shell", contains("mark-42\n"))
	w.types(command, "Enter")
}

// restored ends the command with a key, and looks whether shell, screen and settings
// are as before: all is done that a command may have left undone.
func (w *window) restored(key string, code int, cleared bool) {
	w.t.Helper()
	w.types("", key)
	require.True(w.t, eventually(w.t, func() bool {
		return strings.TrimSpace(w.tmux("display-message", "-p", "#{pane_current_command}")) == "sh"
	}), "it never ended")
	w.types("echo code-$? cursor-$((40+3))", "Enter")
	w.shows("the shell again", contains(fmt.Sprintf("code-%d cursor-43", code)))
	if !cleared {
		require.True(w.t, contains("mark-42\n")(w.lines()), "the screen that was there before:\n%s", strings.Join(w.lines(), "\n"))
	}
	require.Equal(w.t, "1", strings.TrimSpace(w.tmux("display-message", "-p", "#{cursor_flag}")), "the cursor is seen")
	require.Equal(w.t, "0", strings.TrimSpace(w.tmux("display-message", "-p", "#{alternate_on}")))
	w.types("stty -a | grep -v rows | cmp - "+w.socket+".before && echo same-$((40+4))", "Enter")
	w.shows("the same settings", contains("same-44"))
}

func last(lines []string) string { return lines[len(lines)-1] }

// runFleet is an agent with an etcd and a Kafka, and a task that ships.
func runFleet(t *testing.T) (p *process, e *etcdtest.Cluster, log string) {
	t.Helper()
	e = etcdtest.Start(t)
	brokers := startKafka(t, kfake.SeedTopics(1, "web_log"))
	dir := t.TempDir()
	log = filepath.Join(dir, "web.log")
	appendTo(t, log, "one\n")
	config := filepath.Join(dir, "agent.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "id: web-1\nkafka: {brokers: [%s]}\nallow_paths: [%s/**]\ntasks: {etcd: {endpoints: [%s]}}\nstate_dir: %s/state\nhttp: {listen: 127.0.0.1:0}\n",
		brokers[0], dir, e.Endpoints()[0], dir), 0o600))
	e.Put(t, "/logferry/tasks/web", "paths: ["+log+"]\ntopic: web_log\n")
	p = start(t, "run", "--config", config)
	p.awaitLog(t, "registered in etcd")
	p.awaitMetric(t, `logferry_acked_records_total\{task="web",topic="web_log"\} 1`)
	return p, e, log
}

func TestTopOfOneAgentInATerminal(t *testing.T) {
	p, e, log := runFleet(t)
	addr := p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	w := openWindow(t, 120, 20)
	w.runs("logferry top -i 100ms --agent " + addr)
	w.shows("the task", func(l []string) bool {
		return len(l) == 20 && strings.HasPrefix(l[0], "agent web-1") && strings.HasPrefix(l[4], "web ") && last(l) == "q ends; sort by n name, r rate, l lag"
	})
	e.Put(t, "/logferry/tasks/app", "paths: ["+filepath.Dir(log)+"/app.log]\ntopic: app_log\n")
	w.shows("a new task, by name", func(l []string) bool { return strings.HasPrefix(l[4], "app ") && strings.HasPrefix(l[5], "web ") })
	appendTo(t, filepath.Join(filepath.Dir(log), "app.log"), "its topic does not exist\n")
	w.shows("what is wrong", contains(`app is failing: topic "app_log" does not exist; create it`))
	w.types("l")
	w.shows("the one behind first", func(l []string) bool { return strings.HasPrefix(l[4], "app ") && strings.Contains(l[4], " 25B ") })
	w.types("x") // no key
	w.resize(40, 7)
	w.shows("a small picture", func(l []string) bool {
		return len(l) == 7 && strings.HasSuffix(l[0], "…") && strings.Contains(l[5], "more")
	})
	w.resize(100, 12)
	w.shows("a larger one", func(l []string) bool { return len(l) == 12 && strings.HasPrefix(l[4], "app ") })
	p.end(t, syscall.SIGKILL)
	w.shows("that the agent is gone", func(l []string) bool { return strings.HasPrefix(last(l), "no answer since ") })
	w.restored("q", exitOK, false)

	w.runs("logferry top --agent " + addr) // it is not there from the beginning
	w.restored("Enter", exitFailed, false)
}

func TestTopOfTheFleetInATerminal(t *testing.T) {
	p, e, log := runFleet(t)
	w := openWindow(t, 130, 20)
	w.runs("logferry top -i 100ms --etcd " + e.Endpoints()[0])
	w.shows("the agent", func(l []string) bool {
		return len(l) == 20 && strings.HasPrefix(l[0], "1 agent, at ") && strings.HasPrefix(l[4], "web-1 ")
	})
	e.Put(t, "/logferry/agents/app-1", `{"id":"app-1","host":"app"}`)
	e.Put(t, "/logferry/status/app-1", `{"at":"2026-01-02T03:04:05Z","tasks":[{"name":"web","state":"failing","revision":99999,"error":"no such topic; create it","lag_bytes":2048,"records":10}]}`)
	w.shows("two agents, by name", func(l []string) bool {
		return strings.HasPrefix(l[0], "2 agents, at ") && strings.HasPrefix(l[4], "app-1 ") && strings.HasPrefix(l[5], "web-1 ") && contains("web is failing on app-1: no such topic; create it")(l)
	})
	e.Put(t, "/logferry/status/app-1", `{"at":"2026-01-02T03:04:15Z","tasks":[{"name":"web","state":"running","revision":99999,"records":2010,"bytes":4096}]}`)
	w.shows("its rate", func(l []string) bool { return strings.Contains(l[4], " 200 ") && !contains("is failing")(l) })
	e.Put(t, "/logferry/status/app-1", `{"at":"2026-01-02T03:04:16Z","tasks":[{"name":"web","state":"running","revision":99999,"records":2010,"bytes":4096,"lag_bytes":0}]}`)
	e.Put(t, "/logferry/agents/zoo-1", `{"id":"zoo-1"}`)
	e.Put(t, "/logferry/status/zoo-1", `{"at":"2026-01-02T03:04:05Z","tasks":[{"name":"web","state":"running","revision":99999,"lag_bytes":4096}]}`)
	w.types("l")
	w.shows("the one behind first", func(l []string) bool { return strings.HasPrefix(l[4], "zoo-1 ") })
	w.types("n")
	w.shows("by name again", func(l []string) bool { return strings.HasPrefix(l[4], "app-1 ") })
	w.resize(50, 8)
	w.shows("a small picture", func(l []string) bool { return len(l) == 8 && strings.HasSuffix(l[4], "…") })
	w.resize(120, 15)
	appendTo(t, log, "two\n")
	require.Zero(t, p.end(t, syscall.SIGTERM))
	w.shows("that an agent is gone", func(l []string) bool { return strings.HasPrefix(l[0], "2 agents, ") && !contains("web-1")(l) })
	e.Stop(t, 0)
	w.shows("that etcd is gone", func(l []string) bool { return strings.HasPrefix(last(l), "no answer since ") })
	e.Restart(t, 0)
	w.shows("that it is back", func(l []string) bool { return strings.HasPrefix(last(l), "q ends") })
	w.restored("C-c", exitOK, false)
}

func TestAWatchedStatusInATerminal(t *testing.T) {
	p, e, _ := runFleet(t)
	w := openWindow(t, 130, 20)
	w.runs("logferry status --watch --etcd " + e.Endpoints()[0])
	w.shows("the task", func(l []string) bool {
		return strings.HasPrefix(l[0], "logferry status at ") && strings.HasSuffix(l[0], ", 1 agent; Ctrl-C ends") && strings.HasPrefix(l[3], "web ")
	})
	e.Put(t, "/logferry/tasks/web", "paths: [/etc/passwd]\ntopic: web_log\n")
	w.shows("a refusal", contains("web is refused on web-1: "))
	w.resize(60, 10)
	e.Put(t, "/logferry/tasks/app", "paths: ["+t.TempDir()+"/*.log]\ntopic: web_log\n")
	w.shows("another task, in the new size", func(l []string) bool {
		return len(l) == 10 && strings.HasPrefix(l[0], "logferry status at ") && strings.HasPrefix(l[3], "app ") && strings.HasPrefix(l[4], "web ") &&
			strings.HasPrefix(l[6], "app is refused on web-1: ") && strings.HasPrefix(l[9], "… ")
	})
	w.resize(300, 20)
	w.shows("all of it, with no other change", func(l []string) bool { return !contains("…")(l) && strings.HasSuffix(l[6], "agent.yaml") })
	e.Stop(t, 0)
	w.shows("that etcd is gone", contains("no news since "))
	e.Restart(t, 0)
	e.Delete(t, "/logferry/tasks/app")
	w.shows("that it is back", func(l []string) bool { return strings.HasPrefix(l[3], "web ") && !contains("no news since ")(l) })
	p.end(t, syscall.SIGTERM)
	w.shows("that no agent runs", func(l []string) bool { return strings.HasSuffix(l[0], ", 0 agents; Ctrl-C ends") })
	w.restored("C-c", exitOK, true)
}
