package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"logferry/agent/rollout"
	"logferry/test/etcdtest"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"logferry": main})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	// sarama's metrics library keeps one ticking goroutine for the process.
	err := goleak.Find(goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

var quiet = slog.New(slog.DiscardHandler)

// world is one fake Kafka and one real etcd for all scripts of a test.
type world struct {
	brokers, etcd string
	client        *clientv3.Client // of the test itself
}

func startWorld(t *testing.T) world {
	t.Helper()
	e := etcdtest.Start(t)
	return world{brokers: strings.Join(startKafka(t), ","), etcd: strings.Join(e.Endpoints(), ","), client: e.Client(t)}
}

func startKafka(t *testing.T, opts ...kfake.Opt) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()
}

// endAtOnce spares each program the second that the race detector waits at
// its end.
const endAtOnce = "GORACE=atexit_sleep_ms=0"

// TestScriptsOffline needs nothing but the binary.
func TestScriptsOffline(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script/offline",
		Cmds:  scriptCommands,
		Setup: func(e *testscript.Env) error { e.Vars = append(e.Vars, endAtOnce); return nil },
	})
}

// TestScriptsOnline gives each script BROKERS, ETCD, and names of its own.
func TestScriptsOnline(t *testing.T) {
	w := startWorld(t)
	// The group of scripts ends before the servers do.
	t.Run("scripts", func(t *testing.T) { w.runScripts(t, "online") })
}

// TestScriptsAlone has an etcd that no other script sees.
func TestScriptsAlone(t *testing.T) {
	e := etcdtest.Start(t)
	w := world{etcd: strings.Join(e.Endpoints(), ","), client: e.Client(t)}
	t.Run("scripts", func(t *testing.T) { w.runScripts(t, "alone") })
}

func (w world) runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script/" + dir,
		Cmds: w.commands(),
		Setup: func(e *testscript.Env) error {
			name := strings.NewReplacer("/", "-", " ", "-").Replace(strings.TrimPrefix(e.WorkDir, os.TempDir()))
			name = strings.Trim(name, "-")
			e.Vars = append(e.Vars, endAtOnce)
			e.Setenv("BROKERS", w.brokers)
			e.Setenv("ETCD", w.etcd)
			e.Setenv("TOPIC", name)
			e.Setenv("PREFIX", "/"+name)
			return nil
		},
	})
}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":   exits,
	"lines":   lines,
	"capture": capture,
	"hash":    hash,

	"agent": startAgent, "endagent": endAgent,
}

// hash NAME FILE sets a variable to what a rollout calls the file's text.
func hash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hash NAME FILE")
	}
	ts.Setenv(args[0], rollout.HashOf([]byte(ts.ReadFile(args[1]))))
}

// capture NAME PATTERN sets a variable to the first group of what matches on
// the last program's standard output.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PATTERN")
	}
	match := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) != 2 {
		ts.Fatalf("standard output does not match %s with one group", args[1])
	}
	ts.Setenv(args[0], match[1])
}

// commands are those of scripts with an etcd.
func (w world) commands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	cmds := maps.Clone(scriptCommands)
	// put KEY FILE writes a key below the script's prefix.
	cmds["put"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: put KEY FILE")
		}
		_, err := w.client.Put(context.Background(), ts.Getenv("PREFIX")+"/"+args[0], ts.ReadFile(args[1]))
		ts.Check(err)
	}
	// expand KEY FILE is put of a text with variables.
	cmds["expand"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: expand KEY FILE")
		}
		_, err := w.client.Put(context.Background(), ts.Getenv("PREFIX")+"/"+args[0], os.Expand(ts.ReadFile(args[1]), ts.Getenv))
		ts.Check(err)
	}
	// compact makes etcd forget all that was before; for scripts that are alone.
	cmds["compact"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 0 {
			ts.Fatalf("usage: compact")
		}
		resp, err := w.client.Get(context.Background(), "any")
		ts.Check(err)
		_, err = w.client.Compact(context.Background(), resp.Header.Revision, clientv3.WithCompactPhysical())
		ts.Check(err)
	}
	return cmds
}

// exits CODE PROGRAM ARGS... runs a program that must end with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// lines N stdout|stderr counts the lines of the last program's output.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines N stdout|stderr")
	}
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); fmt.Sprint(got) != args[0] {
		ts.Fatalf("%d lines on %s, want %s", got, args[1], args[0])
	}
}

// agent ARGS... starts an agent beside the script and sets AGENT to where it
// answers.
func startAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || args[0] != "run" {
		ts.Fatalf("usage: agent run ARGS...")
	}
	p := &process{cmd: exec.Command("logferry", append(args, "--http", "127.0.0.1:0")...)}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "LOGFERRY_ETCD_ENDPOINTS", "LOGFERRY_ETCD_PREFIX", "LOGFERRY_KAFKA_BROKERS", "LOGFERRY_ALLOW_PATHS"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+ts.Getenv(name))
	}
	p.cmd.Stderr, p.cmd.Dir = p, ts.Getenv("WORK")
	ts.Check(p.cmd.Start())
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	at := regexp.MustCompile(`http=(127\.0\.0\.1:\d+)`)
	for deadline := time.Now().Add(patience); ; {
		if m := at.FindStringSubmatch(p.logText()); m != nil && strings.Contains(p.logText(), "registered in etcd") {
			ts.Setenv("AGENT", m[1])
			agents.Store(ts.Getenv("WORK"), p)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the agent did not start: %s", p.logText())
		}
		<-look.C
	}
}

// agents are those of the scripts that run, by their directories.
var agents sync.Map

// endagent CODE ends the script's agent, which must end with that code.
func endAgent(ts *testscript.TestScript, neg bool, args []string) {
	running, ok := agents.Load(ts.Getenv("WORK"))
	if neg || len(args) != 1 || !ok {
		ts.Fatalf("usage: endagent CODE, after agent")
	}
	p := running.(*process)
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait()
	if got := fmt.Sprint(p.cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s: %s", got, args[0], p.logText())
	}
}

// TestEachCommandHasScriptsForItsOutputAndItsExitCodes looks for a script that runs
// it well, and one that runs it in vain.
func TestEachCommandHasScriptsForItsOutputAndItsExitCodes(t *testing.T) {
	var all strings.Builder
	files, err := filepath.Glob("testdata/script/*/*.txtar")
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		all.Write(text)
	}
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }}
	root := a.newRoot()
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	commands := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() || c.Hidden {
			return
		}
		commands++
		path := regexp.QuoteMeta(c.CommandPath())
		well := `(?m)^exec (sh -c .*)?` + path + `\b`
		if c.Name() == "run" {
			well = `(?m)^agent run\b`
		}
		require.True(t, regexp.MustCompile(well).MatchString(all.String()), "no script runs %s to its end", c.CommandPath())
		if c.Name() != "help" && c.Parent().Name() != "completion" {
			require.True(t, regexp.MustCompile(`(?m)^exits [1-9]\d* `+path+`\b`).MatchString(all.String()), "no script runs %s in vain", c.CommandPath())
		}
	}
	walk(root)
	require.Greater(t, commands, 30)
}
