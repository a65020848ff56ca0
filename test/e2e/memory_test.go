package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

// The benchmark's data: 3,000,000 access-log lines, 567 MB.
const benchLines = 3_000_000

// slowKafka is what the broker lets producers write in a second, in
// compressed bytes: a fraction of what the agent could send.
const slowKafka = 8 << 20

func TestMemoryStaysBoundedWhileKafkaIsSlow(t *testing.T) {
	if testing.Short() {
		t.Skip("ships 567 MB through a slow broker")
	}
	k := kafkatest.Start(t)
	k.LimitProducers(t, slowKafka)
	topic := k.NewTopic(t, 3)
	dir := t.TempDir()
	w := agenttest.NewLogWriter(t, filepath.Join(dir, "logs", "app.log"), 1)
	w.Write(benchLines)

	agent := agenttest.Start(t, "--path", filepath.Join(dir, "logs", "*.log"), "--topic", topic,
		"--brokers", k.Brokers()[0], "--state-dir", filepath.Join(dir, "state"))
	var buffered float64
	agenttest.Eventually(t, "all lines are acknowledged", 5*agenttest.Patience, func() bool {
		buffered = max(buffered, agent.Metric("logferry_buffered_bytes"))
		return agent.Metric("logferry_acked_records_total") >= benchLines
	})
	peak := agent.PeakRSS()
	agent.Terminate()
	t.Logf("peak RSS %d MiB, most bytes buffered %.1f MiB", peak>>20, buffered/(1<<20))
	require.Less(t, peak, int64(128<<20))

	c := verify.New()
	c.Expect(1, 0, benchLines)
	k.Each(t, topic, func(r kafkaread.Record) { c.Add(r.Partition, r.Offset, r.Value) })
	require.NoError(t, c.Report().Err(0))
}
