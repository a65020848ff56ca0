package e2e

import (
	"bufio"
	"encoding/json"
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

const patience = time.Minute

// buildAgent builds the binary as users get it: static and stripped.
func buildAgent(dir string) (string, error) {
	bin := filepath.Join(dir, "logferry")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "logferry/cmd/logferry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return bin, nil
}

// agentProcess is one run of the agent's binary.
type agentProcess struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string // of its HTTP
	done chan struct{}

	mu    sync.Mutex
	lines []string
}

// startAgent starts `logferry run` and waits until it has logged its HTTP
// address. The process is killed at the end of the test if it still runs.
func startAgent(t testing.TB, args ...string) *agentProcess {
	t.Helper()
	args = append([]string{"run", "--log-format", "json", "--http", "127.0.0.1:0"}, args...)
	cmd := exec.Command(agentBinary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &agentProcess{t: t, cmd: cmd, done: make(chan struct{})}
	addr := make(chan string, 1)
	go p.read(stderr, addr)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of the agent (%s):\n%s", strings.Join(args, " "), p.log())
		}
	})
	select {
	case p.addr = <-addr:
	case <-p.done:
		require.FailNow(t, "the agent ended at once", p.log())
	case <-time.After(patience):
		require.FailNow(t, "the agent did not log its HTTP address", p.log())
	}
	return p
}

func (p *agentProcess) read(stderr io.Reader, addr chan<- string) {
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

func (p *agentProcess) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

func (p *agentProcess) signal(sig syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// terminate asks the agent to stop and waits until it has.
func (p *agentProcess) terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.waitExit()
	require.Equal(p.t, 0, p.cmd.ProcessState.ExitCode(), p.log())
}

func (p *agentProcess) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.waitExit()
}

func (p *agentProcess) waitExit() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.FailNow(p.t, "the agent did not end", p.log())
	}
}

// eventually waits for a condition; what says what is waited for.
func eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, limit, 10*time.Millisecond, what)
}

func (p *agentProcess) get(path string, into any) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + path)
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(p.t, http.StatusOK, resp.StatusCode, path)
	require.NoError(p.t, json.NewDecoder(resp.Body).Decode(into))
}

type taskStatus struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Error   string    `json:"error"`
	Refused bool      `json:"refused"`
	Started time.Time `json:"started"`
	Task    struct {
		Topic string   `json:"topic"`
		Paths []string `json:"paths"`
	} `json:"task"`
}

func (p *agentProcess) tasks() map[string]taskStatus {
	p.t.Helper()
	var body struct {
		Tasks []taskStatus `json:"tasks"`
	}
	p.get("/api/v1/tasks", &body)
	out := map[string]taskStatus{}
	for _, t := range body.Tasks {
		out[t.Name] = t
	}
	return out
}

type fileStatus struct {
	Task      string    `json:"task"`
	Path      string    `json:"path"`
	State     string    `json:"state"`
	Size      int64     `json:"size_bytes"`
	Read      int64     `json:"read_bytes"`
	Committed int64     `json:"committed_bytes"`
	LagBytes  int64     `json:"lag_bytes"`
	Started   time.Time `json:"started"`
}

func (p *agentProcess) files(task string) []fileStatus {
	p.t.Helper()
	var body struct {
		Files []fileStatus `json:"files"`
	}
	p.get("/api/v1/files?task="+task, &body)
	return body.Files
}

// metric sums the series of a metric.
func (p *agentProcess) metric(name string) float64 {
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

// peakRSS is the most memory that the process has held, in bytes.
func (p *agentProcess) peakRSS() int64 {
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
