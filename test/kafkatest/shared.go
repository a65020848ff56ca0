package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"logferry/test/kafkatest/localkafka"
)

// ReportEnv names a file to which each test binary appends what it prints on
// stderr: how many tests had real brokers, and what was skipped. `go test`
// shows the stderr of a passing package only with -v; a Makefile shows this.
const ReportEnv = "LOGFERRY_TEST_REPORT"

// IgnoreSarama is for goleak: sarama's metrics library starts one goroutine
// for the life of the process.
func IgnoreSarama() goleak.Option {
	return goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")
}

// Main runs a package's tests, stops the shared cluster, fails on goroutines
// that are left, and exits. It takes the place of goleak.VerifyTestMain.
func Main(m goleak.TestingM, opts ...goleak.Option) {
	goleak.VerifyTestMain(stopAfter{m}, append(opts, IgnoreSarama())...)
}

type stopAfter struct{ m goleak.TestingM }

func (s stopAfter) Run() int {
	shared.enable()
	code := s.m.Run()
	if err := StopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "kafkatest:", err)
		code = max(code, 1)
	}
	used.print()
	return code
}

// sharedCluster is the one cluster of this test binary.
type sharedCluster struct {
	mu      sync.Mutex
	enabled bool // somebody will stop it
	cluster *localkafka.Cluster
	failed  error // a start that failed is not tried again by each test
}

var shared sharedCluster

func (s *sharedCluster) enable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enabled = true
}

func (s *sharedCluster) get(ctx context.Context) (*localkafka.Cluster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.enabled:
		return nil, errors.New("kafkatest.Shared needs kafkatest.Main in TestMain, which stops the cluster")
	case s.cluster == nil && s.failed == nil:
		s.cluster, s.failed = localkafka.Start(ctx, localkafka.Config{})
	}
	return s.cluster, s.failed
}

// Shared returns the single-node cluster that all tests of this binary share.
// It is started at the first call and stopped by Main. A test that pauses or
// stops its node may not run in parallel with others; what it leaves paused or
// down is mended at its end.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := shared.get(ctx)
	if err != nil {
		unavailable(t, err)
	}
	used.add(t)
	return &Cluster{Cluster: c, shared: true}
}

// StopShared stops the shared cluster if it was started. Main does it; it is
// for a TestMain that does not use Main.
func StopShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil {
		return nil
	}
	err := shared.cluster.Close()
	shared.cluster = nil
	return err
}

// unavailable ends the test: skipped loudly when the machine lacks what Kafka
// needs and nothing demands it, failed otherwise.
func unavailable(t testing.TB, err error) {
	t.Helper()
	if !maySkip(err) {
		t.Fatal(err)
	}
	report(os.Stderr, skipLine(t.Name(), err))
	t.Skip(err)
}

func maySkip(err error) bool {
	return errors.Is(err, localkafka.ErrUnavailable) && !localkafka.Required()
}

func skipLine(test string, err error) string {
	return fmt.Sprintf("SKIPPED (no Java): %s: %v", test, err)
}

// counter knows which tests had a real broker.
type counter struct {
	mu    sync.Mutex
	tests map[string]bool
}

var used counter

func (c *counter) add(t testing.TB) {
	t.Helper()
	t.Logf("using real Apache Kafka %s", localkafka.Version) // test/report counts these lines
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tests == nil {
		c.tests = map[string]bool{}
	}
	c.tests[t.Name()] = true
}

func (c *counter) print() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.tests); n > 0 {
		report(os.Stderr, fmt.Sprintf("kafkatest: real Kafka %s, %d tests", localkafka.Version, n))
	}
}

// report writes one line to w and to the file that ReportEnv names.
func report(w io.Writer, line string) {
	line += "\n"
	_, _ = io.WriteString(w, line)
	path := os.Getenv(ReportEnv)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		_, _ = fmt.Fprintln(w, "kafkatest: write report:", err)
		return
	}
	_, _ = f.WriteString(line)
	_ = f.Close()
}
