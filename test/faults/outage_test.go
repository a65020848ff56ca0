package faults

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// flight is the most lines that are under way to one partition.
const flight = 8192

// recreateTopic deletes the topic under way and makes it anew later. What was
// acknowledged before has gone with it; everything else must be in the new one.
func (w *world) recreateTopic(before, after int32) {
	w.Helper()
	w.shared()
	w.topic = w.kafka.NewTopic(w.T, before)
	l := w.log("app.log")
	w.start()
	written := writeSteadily(l, 60_000)
	written.reach(w, 20_000)
	w.kafka.DeleteTopic(w.T, w.topic)
	w.trouble("does not exist")
	// One file is one partition: what is acknowledged, and gone, is its beginning.
	w.gone = map[*agenttest.LogWriter]uint64{l: uint64(w.agent.Metric("logferry_acked_records_total"))}
	written.reach(w, 40_000)
	w.kafka.CreateTopic(w.T, w.topic, after, 0, nil)
	w.heal()
	<-written.done
}

// killBroker kills the one broker of a cluster under way, and starts it again.
func (w *world) killBroker(args ...string) {
	w.Helper()
	w.args = append(w.args, args...)
	w.broker()
	w.outage(func() { w.kafka.Kill(w.T, 0) }, func() { w.kafka.Restart(w.T, 0) })
}

// outageUnderFullLoad has six busy files and no Kafka for a while. The agent
// must stand still then: what it may hold it holds, and it asks for Kafka
// now and then.
func outageUnderFullLoad(w *world) {
	const (
		files  = 6
		lines  = 450_000 // in each
		outage = 20 * time.Second
	)
	p := w.brokerBehindProxy()
	w.topic = w.kafka.NewTopic(w.T, files)
	var writers []*steady
	for i := range files {
		w.log(fmt.Sprintf("app-%d.log", i)).Write(linesPerWrite)
	}
	w.start()
	for _, l := range w.logs {
		writers = append(writers, writeSteadily(l, lines))
	}
	writers[0].reach(w, 20_000)
	w.kafka.Kill(w.T, 0)
	w.trouble("partitions, first")
	cpu, asked, retries := w.cpuTime(), p.accepted.Load(), w.agent.Metric("logferry_retries_total")
	<-time.After(outage)
	cpu, retries = w.cpuTime()-cpu, w.agent.Metric("logferry_retries_total")-retries
	attempts := p.accepted.Load() - asked
	w.Logf("in %v: %v of CPU, %d connections, %v retries, peak RSS %d MiB", outage, cpu, attempts, retries, w.agent.PeakRSS()>>20)
	require.Less(w, cpu, outage/20)
	require.LessOrEqual(w, attempts, int64(10*files))
	require.LessOrEqual(w, retries, float64(10*files))
	w.kafka.Restart(w.T, 0)
	w.heal()
	for _, s := range writers {
		<-s.done
	}
	agenttest.Eventually(w.T, "all is acknowledged", 3*agenttest.Patience, func() bool {
		return w.agent.Metric("logferry_acked_records_total") >= files*lines
	})
	require.LessOrEqual(w, p.accepted.Load()-asked, int64(20*files), "connections by the end of the recovery")
	require.Less(w, w.agent.PeakRSS(), int64(128<<20))
}

// blocked starts the agent with the world's own task, which cannot deliver and
// says so with text, and a second one on another topic. All of the second's
// lines must arrive while the first has more to hold than its share of memory.
func (w *world) blocked(k *kafkatest.Cluster, cluster, text string) {
	w.Helper()
	const neighbour = 999
	topic := k.NewTopic(w.T, 3)
	free := agenttest.NewLogWriter(w.T, filepath.Join(w.dir, "free", "app.log"), neighbour)
	w.write("tasks/free.yaml", "paths: [%s]\ntopic: %s\ncluster: %q\n", free.Path, topic, cluster)
	w.configure("tasks:\n  files: [tasks/*.yaml]\nclusters:\n  other:\n    brokers: [%s]\n", k.Brokers()[0])
	l := w.log("app.log")
	l.Write(150_000) // 28 MB
	w.start()
	w.trouble(text)
	began := time.Now()
	written := writeSteadily(free, 60_000)
	<-written.done
	k.WaitCount(w.T, topic, 60_000, agenttest.Patience)
	w.Logf("60,000 lines of the free task arrived in %v", time.Since(began).Round(time.Millisecond))
	require.Less(w, time.Since(began), 10*time.Second, "3 s of writing")
	require.Contains(w, w.agent.Tasks()["flags"].Error, text)
	require.Empty(w, w.agent.Tasks()["free"].Error)
	c := verify.New()
	c.Expect(neighbour, 0, free.Next)
	k.Each(w.T, topic, func(r kafkaread.Record) { c.Add(r.Partition, r.Offset, r.Value) })
	require.NoError(w, c.Report().Err(0))
}

// poisoned makes a topic for small messages, and a log of 5000 lines that ends
// with a record too large for it.
func (w *world) poisoned() (l *agenttest.LogWriter, poison string) {
	w.Helper()
	w.shared()
	w.topic = kafkatest.TopicName(w.T)
	w.kafka.CreateTopic(w.T, w.topic, 3, 0, map[string]string{"max.message.bytes": "100000"})
	l = w.log("app.log")
	l.Write(5000)
	noise := make([]byte, 200_000) // no codec makes this half as long
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	poison = hex.EncodeToString(noise)
	_, err := l.File.WriteString(poison + "\n")
	require.NoError(w, err)
	w.aside = 1
	return l, poison
}

// write writes a file below the scenario's directory.
func (w *world) write(name, format string, args ...any) {
	w.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(w, os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600))
}

// configure gives the agent an agent.yaml beside its flags.
func (w *world) configure(format string, args ...any) {
	w.Helper()
	w.write("agent.yaml", format, args...)
	w.args = append(w.args, "--config", filepath.Join(w.dir, "agent.yaml"))
}

// trouble waits until the agent says of its task why it does not deliver.
func (w *world) trouble(text string) {
	w.Helper()
	last := ""
	agenttest.Eventually(w.T, "the agent says: "+text, agenttest.Patience, func() bool {
		last = w.agent.Tasks()["flags"].Error
		return strings.Contains(last, text)
	})
	w.Logf("the agent says: %s", last)
}

// caughtUp waits until all is acknowledged that a writer has written by now.
func (w *world) caughtUp(s *steady) {
	w.Helper()
	n := float64(s.n.Load())
	agenttest.Eventually(w.T, "records flow", agenttest.Patience, func() bool {
		return w.agent.Metric("logferry_acked_records_total") >= n
	})
}

// cpuTime is what the agent has used so far.
func (w *world) cpuTime() time.Duration {
	w.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.agent.PID()))
	require.NoError(w, err)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')'):]))
	ticks := 0
	for _, f := range fields[12:14] { // utime and stime, of 10 ms
		n, err := strconv.Atoi(f)
		require.NoError(w, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
