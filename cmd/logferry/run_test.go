package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
	"logferry/sink/kafka/console"
)

const patience = time.Minute

// process is a running logferry whose log can be waited for.
type process struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	mu     sync.Mutex
	log    bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// awaitLog returns the match's first group.
func (p *process) awaitLog(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	require.Eventually(t, func() bool {
		found = re.FindStringSubmatch(p.logText())
		return found != nil
	}, patience, 5*time.Millisecond, "no %s in the log", pattern)
	return found[len(found)-1]
}

// awaitMetric waits until what the agent tells Prometheus matches.
func (p *process) awaitMetric(t *testing.T, pattern string) {
	t.Helper()
	url, re := "http://"+p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)+"/metrics", regexp.MustCompile(pattern)
	require.Eventually(t, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		metrics, err := io.ReadAll(resp.Body)
		return err == nil && re.Match(metrics)
	}, patience, 5*time.Millisecond, "no %s in the metrics", pattern)
	http.DefaultClient.CloseIdleConnections()
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("logferry", args...)}
	p.cmd.Env = append(os.Environ(), "LOGFERRY_SHUTDOWN_TIMEOUT=20s", endAtOnce)
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("log of logferry %s:\n%s", strings.Join(args, " "), p.logText())
		}
	})
	return p
}

// end sends a signal and returns the exit code.
func (p *process) end(t *testing.T, s os.Signal) int {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
	_, _ = io.Copy(io.Discard, p.stdout)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) readLine(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\n")
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func createTopic(t *testing.T, brokers []string, name string) {
	t.Helper()
	topics, err := admin.New(t.Context(), kafka.Config{Brokers: brokers})
	require.NoError(t, err)
	require.NoError(t, topics.Create(t.Context(), name, 1, 1, nil))
	require.NoError(t, topics.Close())
}

// read returns the first n values of a topic.
func read(t *testing.T, brokers []string, topic string, n int64) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	err := console.Consume(ctx, kafka.Config{Brokers: brokers}, console.ConsumeOptions{Topic: topic, From: console.FromOldest, Max: n},
		func(m console.Message) error { got = append(got, string(m.Value)); return nil }, quiet)
	require.NoError(t, err)
	return got
}

func TestRunShipsWithFlagsAloneAndResumesAfterSIGTERM(t *testing.T) {
	brokers := startKafka(t)
	createTopic(t, brokers, "web")
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	args := []string{
		"run", "--path", filepath.Join(dir, "*.log"), "--exclude", "skip*", "--topic", "web", "--brokers", strings.Join(brokers, ","),
		"--state-dir", state, "--http", "127.0.0.1:0",
	}
	appendTo(t, filepath.Join(dir, "a.log"), "one\ntwo\n")
	appendTo(t, filepath.Join(dir, "skip.log"), "never\n")
	p := start(t, args...)
	require.Equal(t, []string{"one", "two"}, read(t, brokers, "web", 2))
	appendTo(t, filepath.Join(dir, "a.log"), "three\n")
	require.Equal(t, []string{"one", "two", "three"}, read(t, brokers, "web", 3))
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))

	appendTo(t, filepath.Join(dir, "a.log"), "four\n")
	p = start(t, args...)
	require.Equal(t, []string{"one", "two", "three", "four"}, read(t, brokers, "web", 4))
	require.Equal(t, exitOK, p.end(t, syscall.SIGINT))
}

func TestRunCreatesTopicsWhenAskedTo(t *testing.T) {
	brokers, dir := startKafka(t), t.TempDir()
	appendTo(t, filepath.Join(dir, "a.log"), "one\n")
	p := start(t, "run", "--path", filepath.Join(dir, "*.log"), "--topic", "fresh", "--brokers", strings.Join(brokers, ","),
		"--state-dir", t.TempDir(), "--http", "127.0.0.1:0", "--create-topic", "2:1")
	topics, err := admin.New(t.Context(), kafka.Config{Brokers: brokers})
	require.NoError(t, err)
	defer func() { _ = topics.Close() }()
	require.Eventually(t, func() bool {
		d, err := topics.Describe(t.Context(), "fresh")
		return err == nil && d.Partitions == 2 && d.Layout[0].Newest+d.Layout[1].Newest == 1
	}, patience, 20*time.Millisecond)
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
}

func TestRunReadsTaskFilesAgainAtSIGHUP(t *testing.T) {
	brokers, dir := startKafka(t), t.TempDir()
	createTopic(t, brokers, "web")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tasks"), 0o755))
	appendTo(t, filepath.Join(dir, "a.log"), "one\n")
	appendTo(t, filepath.Join(dir, "agent.yaml"), fmt.Sprintf(
		"state_dir: state\nhttp: {listen: 127.0.0.1:0}\nkafka: {brokers: [%s]}\ntasks: {files: [tasks/*.yaml]}\n", strings.Join(brokers, ",")))
	p := start(t, "run", "--config", filepath.Join(dir, "agent.yaml"))
	addr := p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	appendTo(t, filepath.Join(dir, "tasks", "web.yaml"), fmt.Sprintf("paths: [%s/*.log]\ntopic: web\n", dir))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	require.Equal(t, []string{"one"}, read(t, brokers, "web", 1))
	p.awaitLog(t, `reloading`)
	resp, err := http.Get("http://" + addr + "/healthz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
}

func TestADryRunPrintsLinesAndKeepsNoCheckpoint(t *testing.T) {
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "a.log"), "one\ntwo\n")
	for range 2 {
		p := start(t, "run", "--path", filepath.Join(dir, "*.log"), "--topic", "web", "--dry-run", "--http", "127.0.0.1:0")
		require.Contains(t, p.readLine(t), "one")
		require.Contains(t, p.readLine(t), "two")
		require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
	}
}

func TestConsumeStopsCleanlyAtSIGTERMAndHasCommitted(t *testing.T) {
	brokers := startKafka(t)
	createTopic(t, brokers, "web")
	args := []string{"consume", "web", "--brokers", strings.Join(brokers, ","), "--group", "readers", "--from", "oldest"}
	produce := func(text string) {
		err := console.Produce(t.Context(), kafka.Config{Brokers: brokers}, console.ProduceOptions{Topic: "web"},
			strings.NewReader(text), func(console.Sent) error { return nil })
		require.NoError(t, err)
	}
	produce("one\ntwo\n")
	p := start(t, args...)
	require.Equal(t, "one", p.readLine(t))
	require.Equal(t, "two", p.readLine(t))
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))

	produce("three\n")
	p = start(t, args...)
	require.Equal(t, "three", p.readLine(t))
	require.Equal(t, exitOK, p.end(t, syscall.SIGINT))
}

func TestASecondSignalEndsAnAgentThatIsStillDelivering(t *testing.T) {
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "a.log"), "one\n")
	p := start(t, "run", "--path", filepath.Join(dir, "*.log"), "--topic", "web", "--brokers", "127.0.0.1:1",
		"--state-dir", t.TempDir(), "--http", "127.0.0.1:0")
	p.awaitMetric(t, `logferry_buffered_bytes\{task="flags"\} [1-9]`)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.awaitLog(t, `agent is stopping`)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, p.stdout)
	}()
	require.Eventually(t, func() bool {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}, patience, 100*time.Millisecond)
	_ = p.cmd.Wait()
	require.Equal(t, exitFailed, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.logText(), "again: stopping at once")
}

func TestCreateTopicReadsPartitionsAndReplication(t *testing.T) {
	for in, want := range map[string]*kafka.CreateTopics{
		"3": {Partitions: 3}, "3:2": {Partitions: 3, ReplicationFactor: 2}, "0": {}, "0:0": {},
		"": nil, "x": nil, "-1": nil, "3:": nil, "3:x": nil, "3:2:1": nil, "99999999999": nil, "1:99999": nil,
	} {
		got, err := parseCreateTopic(in)
		require.Equal(t, want, got, in)
		require.Equal(t, want == nil, err != nil, in)
	}
}
