package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"logferry/agent/etcdsource"
)

// host is one agent's process.
type host struct {
	id     string
	config string
	binary string
	cmd    *exec.Cmd
	addr   string // of its HTTP
	done   chan struct{}
	logged string // file with all that it logged
}

// addHost configures an agent and starts it.
func (w *world) addHost(binary, id, labels string) (*host, error) {
	h := &host{id: id, config: filepath.Join(w.dir, id+".yaml"), binary: binary, logged: filepath.Join(w.dir, id+".log")}
	text := fmt.Sprintf(`
id: %s
labels: {%s}
state_dir: %s
shutdown_timeout: 2s
allow_paths: [%s]
http: {listen: 127.0.0.1:0}
kafka:
  brokers: [%s]
  create_topics: {partitions: 1, replication_factor: 1}
clusters:
  elsewhere: {brokers: ["127.0.0.1:1"]}
tasks:
  etcd: {endpoints: [%s]}
`, id, labels, filepath.Join(w.dir, id), filepath.Join(w.dir, "logs", "**"), quoted(w.brokers), quoted(w.etcd.Endpoints()))
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	w.hosts = append(w.hosts, h)
	return h, h.start()
}

// start runs the agent and returns when it serves HTTP.
func (h *host) start() error {
	h.cmd = exec.Command(h.binary, "run", "--config", h.config, "--log-format", "json")
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := h.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := h.cmd.Start(); err != nil {
		return fmt.Errorf("start agent %s: %w", h.id, err)
	}
	h.done = make(chan struct{})
	addr := make(chan string, 1)
	go h.read(stderr, addr)
	select {
	case h.addr = <-addr:
		return nil
	case <-h.done:
		return fmt.Errorf("agent %s ended at once%s", h.id, h.tail())
	case <-time.After(startTimeout):
		return fmt.Errorf("agent %s did not say where its HTTP is%s", h.id, h.tail())
	}
}

func (h *host) read(stderr io.Reader, addr chan<- string) {
	defer close(h.done)
	file, err := os.OpenFile(h.logged, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		file = nil
	}
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Msg, HTTP string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "agent started" {
			addr <- line.HTTP
		}
		if file != nil {
			fmt.Fprintln(file, lines.Text())
		}
	}
	_ = h.cmd.Wait()
	if file != nil {
		_ = file.Close()
	}
}

// tail is the end of what the agent logged.
func (h *host) tail() string {
	data, err := os.ReadFile(h.logged)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return ":\n" + strings.Join(lines[max(0, len(lines)-15):], "\n")
}

func (h *host) signal(sig syscall.Signal) error {
	if err := h.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to agent %s: %w", sig, h.id, err)
	}
	return nil
}

// stop ends the agent as a service manager does.
func (h *host) stop() error {
	if err := h.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-h.done:
	case <-time.After(startTimeout):
		return fmt.Errorf("agent %s does not stop", h.id)
	}
	if code := h.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("agent %s ended with exit code %d%s", h.id, code, h.tail())
	}
	return nil
}

func (h *host) kill() {
	if h.done == nil {
		return
	}
	_ = h.cmd.Process.Kill()
	<-h.done
}

// view is what an agent's API says of its tasks.
type view struct {
	Tasks []struct {
		Name     string
		State    string
		Revision int64
		Lag      int64     `json:"lag_bytes"`
		Started  time.Time `json:"started"`
		Files    int
	}
}

func (h *host) tasks(ctx context.Context) (v view, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.addr+"/api/v1/tasks", nil)
	if err != nil {
		return v, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return v, err
	}
	defer func() { _ = resp.Body.Close() }()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

// output is what a command printed, and its exit code.
type output struct {
	text string
	code int
}

// logferry runs a command of the binary under test on the fleet.
func (w *world) logferry(ctx context.Context, args ...string) (output, error) {
	cmd := exec.CommandContext(ctx, w.hosts[0].binary, args...)
	cmd.Env = append(os.Environ(), "LOGFERRY_ETCD_ENDPOINTS="+strings.Join(w.etcd.Endpoints(), ","))
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return output{}, fmt.Errorf("logferry %s: %w", strings.Join(args, " "), err)
	}
	return output{string(text), cmd.ProcessState.ExitCode()}, nil
}

// status is what `logferry status` says of a task.
func (w *world) status(ctx context.Context, name string) (o etcdsource.TaskOverview, err error) {
	out, err := w.logferry(ctx, "status", name, "--json")
	if err != nil {
		return o, err
	}
	var v struct{ Tasks []etcdsource.TaskOverview }
	if err := json.Unmarshal([]byte(out.text), &v); err != nil || len(v.Tasks) != 1 {
		return o, fmt.Errorf("logferry status %s says %q", name, out.text)
	}
	return v.Tasks[0], nil
}
