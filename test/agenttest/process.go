// Package agenttest runs the agent's binary as users run it: as a process of
// its own that is stopped, killed and looked at from outside.
//
// A package that uses it has one line in its tests:
//
//	func TestMain(m *testing.M) { agenttest.Main(m) }
package agenttest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience bounds each wait.
const Patience = time.Minute

// binary is what Start runs; Main sets it.
var binary string

// build builds the binary as users get it, static and stripped, into dir.
func build(dir string) error {
	bin := filepath.Join(dir, "logferry")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "logferry/cmd/logferry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	binary = bin
	return nil
}

// Process is one run of the agent's binary.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string // of its HTTP
	done chan struct{}

	mu    sync.Mutex
	lines []string
}

// Start starts `logferry run` and waits until it has logged its HTTP
// address. The process is killed at the end of the test if it still runs.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return StartUnder(t, nil, args...)
}

// StartUnder is Start through a command that changes the surroundings of the
// process and then becomes the agent, such as "prlimit --nofile=100".
func StartUnder(t testing.TB, under []string, args ...string) *Process {
	t.Helper()
	args = append([]string{"run", "--log-format", "json", "--http", "127.0.0.1:0"}, args...)
	command := append(append([]string{}, under...), binary)
	cmd := exec.Command(command[0], append(command[1:], args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &Process{t: t, cmd: cmd, done: make(chan struct{})}
	addr := make(chan string, 1)
	go p.read(stderr, addr)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of the agent (%s):\n%s", strings.Join(args, " "), p.Log())
		}
	})
	select {
	case p.addr = <-addr:
	case <-p.done:
		require.FailNow(t, "the agent ended at once", p.Log())
	case <-time.After(Patience):
		require.FailNow(t, "the agent did not log its HTTP address", p.Log())
	}
	return p
}

func (p *Process) read(stderr io.Reader, addr chan<- string) {
	defer close(p.done)
	sc := bufio.NewScanner(stderr)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var line struct {
			Msg  string `json:"msg"`
			HTTP string `json:"http"`
		}
		if json.Unmarshal(sc.Bytes(), &line) == nil && line.Msg == "agent started" {
			addr <- line.HTTP
		}
		p.mu.Lock()
		p.lines = append(p.lines, sc.Text())
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
}

// Log is what the agent has logged so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Signal sends a signal.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// Terminate asks the agent to stop and waits until it has.
func (p *Process) Terminate() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	p.WaitExit()
	require.Equal(p.t, 0, p.cmd.ProcessState.ExitCode(), p.Log())
}

// Kill sends SIGKILL and waits until the process is gone.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	p.WaitExit()
}

// ExitCode is how the process ended, which it must have.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// WaitExit waits until the process is gone.
func (p *Process) WaitExit() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		require.FailNow(p.t, "the agent did not end", p.Log())
	}
}

// Eventually waits for a condition; what says what is waited for.
func Eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, limit, 10*time.Millisecond, what)
}

// Get reads JSON from the agent's HTTP.
func (p *Process) Get(path string, into any) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + path)
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(p.t, http.StatusOK, resp.StatusCode, path)
	require.NoError(p.t, json.NewDecoder(resp.Body).Decode(into))
}

// Task is what the API says of a task.
type Task struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Error   string `json:"error"`
	Refused bool   `json:"refused"`
	// NotCollected is the first path that matches and is not collected, with the reason.
	NotCollected string    `json:"not_collected_example"`
	Started      time.Time `json:"started"`
	Task         struct {
		Topic   string   `json:"topic"`
		Cluster string   `json:"cluster"`
		Paths   []string `json:"paths"`
	} `json:"task"`
}

// Tasks asks /api/v1/tasks, by name.
func (p *Process) Tasks() map[string]Task {
	p.t.Helper()
	var body struct {
		Tasks []Task `json:"tasks"`
	}
	p.Get("/api/v1/tasks", &body)
	out := map[string]Task{}
	for _, t := range body.Tasks {
		out[t.Name] = t
	}
	return out
}

// File is what the API says of a file.
type File struct {
	Task      string    `json:"task"`
	Path      string    `json:"path"`
	File      string    `json:"file"`
	State     string    `json:"state"`
	Size      int64     `json:"size_bytes"`
	Read      int64     `json:"read_bytes"`
	Committed int64     `json:"committed_bytes"`
	LagBytes  int64     `json:"lag_bytes"`
	Started   time.Time `json:"started"`
}

// Files asks /api/v1/files for one task.
func (p *Process) Files(task string) []File {
	p.t.Helper()
	var body struct {
		Files []File `json:"files"`
	}
	p.Get("/api/v1/files?task="+task, &body)
	return body.Files
}

// NotCollected asks /api/v1/files for the paths that match one task and are
// not collected, with the reason of each.
func (p *Process) NotCollected(task string) map[string]string {
	p.t.Helper()
	var body struct {
		NotCollected []struct {
			Path  string `json:"path"`
			Error string `json:"error"`
		} `json:"not_collected"`
	}
	p.Get("/api/v1/files?task="+task, &body)
	out := map[string]string{}
	for _, f := range body.NotCollected {
		out[f.Path] = f.Error
	}
	return out
}

// Metric sums the series of a metric.
func (p *Process) Metric(name string) float64 {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + "/metrics")
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	sum := 0.0
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if series, value, ok := strings.Cut(sc.Text(), " "); ok && strings.Split(series, "{")[0] == name {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(p.t, err)
			sum += v
		}
	}
	return sum
}

// PeakRSS is the most memory that the process has held, in bytes.
func (p *Process) PeakRSS() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			require.NoError(p.t, err)
			return kib << 10
		}
	}
	require.FailNow(p.t, "no VmHWM")
	return 0
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// WaitCommitted waits until a task has files and no lag: everything in them
// is acknowledged.
func (p *Process) WaitCommitted(task string) {
	p.t.Helper()
	Eventually(p.t, "everything is committed", 2*Patience, func() bool {
		files := p.Files(task)
		for _, f := range files {
			if f.LagBytes > 0 {
				return false
			}
		}
		return len(files) > 0
	})
}

// Body reads what the agent's HTTP answers, whatever it is.
func (p *Process) Body(path string) string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + path)
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	require.NoError(p.t, err)
	return string(b)
}

// Command runs another command of the agent's binary and returns all that it
// prints, whatever its exit code.
func Command(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return string(out)
}
