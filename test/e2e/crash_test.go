package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// A log of 200,000 lines is written in chunks while the world around it
// breaks. The writer never waits for the agent.
const (
	chunks        = 200
	linesPerChunk = 1000
	chunkEvery    = 40 * time.Millisecond
	renameEvery   = 20 // chunks: ten renames
)

// writeChunks writes in the background and closes reached[n] after chunk n.
func writeChunks(w *agenttest.LogWriter) (reached []chan struct{}) {
	reached = make([]chan struct{}, chunks+1)
	for i := range reached {
		reached[i] = make(chan struct{})
	}
	go func() {
		tick := time.NewTicker(chunkEvery)
		defer tick.Stop()
		for i := 1; i <= chunks; i++ {
			<-tick.C
			w.Write(linesPerChunk)
			if i%renameEvery == 0 {
				w.Rename()
			}
			close(reached[i])
		}
	}()
	return reached
}

// delivered checks a topic against the 200,000 lines of stream 1.
func delivered(t testing.TB, k *kafkatest.Cluster, topic string) verify.Report {
	t.Helper()
	c := verify.New()
	c.Expect(1, 0, chunks*linesPerChunk)
	k.Each(t, topic, func(r kafkaread.Record) { c.Add(r.Partition, r.Offset, r.Value) })
	return c.Report()
}

func TestEachLineArrivesAcrossRotationsRestartsAKillAndAnOutage(t *testing.T) {
	k := kafkatest.Start(t)
	topic := k.NewTopic(t, 3)
	dir := t.TempDir()
	args := []string{
		"--path", filepath.Join(dir, "logs", "*.log"), "--topic", topic,
		"--brokers", strings.Join(k.Brokers(), ","), "--state-dir", filepath.Join(dir, "state"),
	}
	w := agenttest.NewLogWriter(t, filepath.Join(dir, "logs", "app.log"), 1)
	reached := writeChunks(w)
	agent := agenttest.Start(t, args...)

	// A clean stop; the file is renamed while the agent is down.
	<-reached[55]
	agent.Terminate()
	<-reached[65]
	agent = agenttest.Start(t, args...)

	// A kill; the file is renamed while the agent is down. Sent again is what came
	// since the last checkpoint, at most a second before, and what was in flight.
	<-reached[95]
	require.Zero(t, delivered(t, k, topic).Doubled, "nothing is doubled before the kill")
	agent.Kill()
	<-reached[105]
	agent = agenttest.Start(t, args...)
	waitComplete(t, k, topic, 105*linesPerChunk)
	doubled := delivered(t, k, topic).Doubled
	t.Logf("%d lines were sent again after the kill", doubled)
	require.LessOrEqual(t, doubled, int64(2*time.Second/chunkEvery)*linesPerChunk)

	// A stop of Kafka for 20 seconds; the writer goes on and rotates.
	<-reached[130]
	k.Stop(t, 0)
	<-time.After(20 * time.Second)
	k.Restart(t, 0)
	<-reached[chunks]
	waitComplete(t, k, topic, chunks*linesPerChunk)
	agent.WaitCommitted("flags")
	agent.Terminate()

	report := delivered(t, k, topic)
	t.Log(report)
	require.NoError(t, report.Err(doubled), "nothing is doubled by the outage")
}

// waitComplete waits until a topic holds the first n lines, however often.
func waitComplete(t testing.TB, k *kafkatest.Cluster, topic string, n uint64) {
	t.Helper()
	c := verify.New()
	c.Expect(1, 0, n)
	r, err := kafkaread.Open(k.Brokers(), topic)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	agenttest.Eventually(t, "each line is in the topic", 3*agenttest.Patience, func() bool {
		err := r.Drain(t.Context(), func(rec kafkaread.Record) error {
			c.Add(rec.Partition, rec.Offset, rec.Value)
			return nil
		})
		return err == nil && c.Report().Complete()
	})
}

func TestLinesThatAppearWhileTheAgentIsStoppedAreRead(t *testing.T) {
	k := kafkatest.Shared(t)
	topic := k.NewTopic(t, 1)
	dir := t.TempDir()
	args := []string{
		"--path", filepath.Join(dir, "logs", "app.log"), "--topic", topic,
		"--brokers", k.Brokers()[0], "--state-dir", filepath.Join(dir, "state"),
	}
	w := agenttest.NewLogWriter(t, filepath.Join(dir, "logs", "app.log"), 1)
	w.Write(1000)
	agent := agenttest.Start(t, args...)
	k.WaitCount(t, topic, 1000, agenttest.Patience)
	agent.Terminate()
	for range 3 { // three generations come while nobody looks
		w.Write(1000)
		w.Rename()
	}
	w.Write(500)
	_, err := w.File.WriteString("a line without its newline")
	require.NoError(t, err)
	agent = agenttest.Start(t, args...)
	k.WaitCount(t, topic, 4500, agenttest.Patience)
	agent.Terminate()
	_, err = w.File.WriteString(" gets it later\n")
	require.NoError(t, err)
	agent = agenttest.Start(t, args...)
	k.WaitCount(t, topic, 4501, agenttest.Patience)
	agent.WaitCommitted("flags")
	agent.Terminate()

	c := verify.New()
	c.Expect(1, 0, 4500)
	all := k.ReadAll(t, topic)
	for _, r := range all[:4500] {
		c.Add(r.Partition, r.Offset, r.Value)
	}
	require.NoError(t, c.Report().Err(0))
	require.Equal(t, "a line without its newline gets it later", string(all[4500].Value))
	_, err = os.Stat(filepath.Join(dir, "state", "checkpoints.db"))
	require.NoError(t, err)
}
