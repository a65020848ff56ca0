// Package faults breaks the world around the agent and counts what arrives.
//
// A scenario gets a world: a directory of logs, a topic on a real broker, and
// the agent's binary. It writes lines, breaks something, mends it. At its end
// every line that was written must be in the topic, whole, and in the order of its
// file; none twice, unless the agent was killed.
package faults

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// world is what a scenario acts on.
type world struct {
	*testing.T
	dir   string // of the scenario; logs and state lie below it
	kafka *kafkatest.Cluster
	topic string
	args  []string // flags of `logferry run` beyond the usual
	task  string   // further keys of the task; empty: the task comes from flags alone
	under []string // command through which the agent is started, such as prlimit
	agent *agenttest.Process

	brokers []string // what the agent is told; the cluster's own when empty

	logs   []*agenttest.LogWriter
	gone   map[*agenttest.LogWriter]uint64 // lines that went with their topic, by an operator's will
	aside  uint64                          // lines that belong to the dead letters
	twice  int64                           // how many may come twice although nothing is killed
	healed time.Time                       // when the fault was over
	kills  int
	row    row
}

func newWorld(t *testing.T) *world { return &world{T: t, dir: t.TempDir()} }

// shared uses the broker that all scenarios share; for those that leave it alone.
func (w *world) shared() { w.kafka = kafkatest.Shared(w.T) }

// broker starts a cluster of the scenario's own.
func (w *world) broker(opts ...kafkatest.Option) { w.kafka = kafkatest.Start(w.T, opts...) }

// path is a path below the directory of logs.
func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir, "logs"}, elem...)...)
}

func (w *world) stateDir() string { return filepath.Join(w.dir, "state") }

// log opens a file of lines, a stream of its own.
func (w *world) log(elem ...string) *agenttest.LogWriter {
	w.Helper()
	l := agenttest.NewLogWriter(w.T, w.path(elem...), uint16(len(w.logs)+1))
	w.logs = append(w.logs, l)
	return l
}

// start starts the agent on logs/*.log, or on the globs given, below the logs
// directory. The first start brings up what the scenario did not ask for.
func (w *world) start(globs ...string) {
	w.Helper()
	if w.kafka == nil {
		w.shared()
	}
	if w.topic == "" {
		w.topic = w.kafka.NewTopic(w.T, 3)
	}
	if len(globs) == 0 {
		globs = []string{"*.log"}
	}
	if *producer != "" {
		w.Setenv("LOGFERRY_KAFKA_PRODUCER", *producer)
	}
	brokers := w.brokers
	if len(brokers) == 0 {
		brokers = w.kafka.Brokers()
	}
	args := []string{"--brokers", strings.Join(brokers, ","), "--state-dir", w.stateDir()}
	if w.task != "" {
		args = append(args, "--config", w.config(globs))
	} else {
		args = append(args, "--topic", w.topic)
		for _, g := range globs {
			args = append(args, "--path", w.path(g))
		}
	}
	w.agent = agenttest.StartUnder(w.T, w.under, append(args, w.args...)...)
	w.found()
}

// config writes a configuration with the task and returns its path. The task
// has the name of the one that flags make.
func (w *world) config(globs []string) string {
	w.Helper()
	text := w.task + "\ntopic: " + w.topic + "\npaths:\n"
	for _, g := range globs {
		text += "  - " + w.path(g) + "\n"
	}
	file, config := filepath.Join(w.dir, "flags.yaml"), filepath.Join(w.dir, "agent.yaml")
	require.NoError(w, os.WriteFile(file, []byte(text), 0o600))
	require.NoError(w, os.WriteFile(config, []byte("tasks: {files: ["+file+"]}\n"), 0o600))
	return config
}

// found waits until the agent has seen every log that exists: what is rotated
// away before the first look ever is history, and nobody asked for it.
func (w *world) found() {
	w.Helper()
	agenttest.Eventually(w.T, "the logs are found", agenttest.Patience, func() bool {
		known := map[string]bool{}
		for _, f := range w.agent.Files("flags") {
			known[f.Path] = f.File != ""
		}
		for _, l := range w.logs {
			if _, err := os.Stat(l.Path); err == nil && !known[l.Path] {
				return false
			}
		}
		return w.agent.Metric("logferry_checkpoint_flushes_total") > 0 || len(w.logs) == 0
	})
}

// rename rotates a log.
func (w *world) rename(l *agenttest.LogWriter) {
	w.Helper()
	w.tick()
	l.Rename()
}

// tick waits until the clock that stamps files has moved on, so that the next
// file is younger than the last.
func (w *world) tick() {
	w.Helper()
	now := func() unix.Timespec {
		var ts unix.Timespec
		require.NoError(w, unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts))
		return ts
	}
	for begin := now(); now() == begin; {
		runtime.Gosched()
	}
}

// stop ends the agent as a service manager does.
func (w *world) stop() {
	w.Helper()
	w.agent.Terminate()
}

// kill ends it with SIGKILL. What was read since the last checkpoint may then
// arrive again.
func (w *world) kill() {
	w.Helper()
	w.kills++
	w.agent.Kill()
}

// heal notes that the fault is over; recovery is counted from here.
func (w *world) heal() { w.healed = time.Now() }

// arrived waits until every line that was written so far is in the topic.
func (w *world) arrived() {
	w.Helper()
	c := w.checker()
	r, err := kafkaread.Open(w.kafka.Brokers(), w.topic)
	require.NoError(w, err)
	defer func() { require.NoError(w, r.Close()) }()
	var last verify.Report
	deadline := time.Now().Add(agenttest.Patience)
	for {
		err := r.Drain(w.Context(), func(rec kafkaread.Record) error {
			c.Add(rec.Partition, rec.Offset, rec.Value)
			return nil
		})
		if last = c.Report(); err == nil && last.Complete() {
			return
		}
		require.True(w, time.Now().Before(deadline), "not every line arrived: %s (%v)\n%s", last, err, w.agent.Log())
		<-time.After(10 * time.Millisecond)
	}
}

func (w *world) checker() *verify.Checker {
	c := verify.New()
	for i, l := range w.logs {
		c.Expect(uint16(i+1), w.gone[l], l.Next)
	}
	return c
}

// maxDoubled bounds what may come again after a kill: what is delivered between
// two checkpoints, which is a second or 8 MiB, and what is in flight, 16 MiB.
const maxDoubledBytes = 24 << 20

const bytesPerLine = 189

// conclude waits for the last line, stops the agent, and fills the row.
func (w *world) conclude() {
	w.Helper()
	if w.agent == nil || len(w.logs) == 0 {
		return
	}
	w.arrived()
	if !w.healed.IsZero() {
		w.row.recovery = time.Since(w.healed)
	}
	w.stop()
	c := w.checker()
	w.kafka.Each(w.T, w.topic, func(r kafkaread.Record) { c.Add(r.Partition, r.Offset, r.Value) })
	rep := c.Report()
	w.row = row{
		written: w.aside, arrived: rep.Delivered + int64(w.aside), lost: rep.Lost, garbled: rep.Garbled, doubled: rep.Doubled,
		outOfOrder: rep.OutOfOrder, recovery: w.row.recovery,
		allowed: int64(w.kills)*maxDoubledBytes/bytesPerLine + w.twice,
	}
	for _, l := range w.logs {
		w.row.written += l.Next - w.gone[l]
	}
	require.NoError(w, rep.Err(w.row.allowed))
}
