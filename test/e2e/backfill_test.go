package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

func TestABackfillOfCompressedFilesIsCompleteAcrossKills(t *testing.T) {
	const files, lines = 12, 20_000
	for _, producer := range []string{"batch", "async"} {
		t.Run(producer, func(t *testing.T) {
			t.Setenv("LOGFERRY_KAFKA_PRODUCER", producer)
			k := kafkatest.Start(t)
			topic := k.NewTopic(t, 3)
			dir := t.TempDir()
			c := verify.New()
			for i := range files {
				path := filepath.Join(dir, "logs", fmt.Sprintf("app.log.%d", i))
				agenttest.NewLogWriter(t, path, uint16(i)).Write(lines)
				if i%3 > 0 {
					require.NoError(t, exec.Command("gzip", path).Run())
				}
				c.Expect(uint16(i), 0, lines)
			}
			args := []string{
				"--once", "--path", filepath.Join(dir, "logs", "app.log.*"), "--topic", topic,
				"--brokers", k.Brokers()[0], "--state-dir", filepath.Join(dir, "state"),
			}
			for i := range 2 {
				agent := agenttest.Start(t, args...)
				agenttest.Eventually(t, "a part is delivered", agenttest.Patience, func() bool { return k.Count(t, topic) >= int64(i+1)*files*lines/5 })
				agent.Kill()
			}
			agent := agenttest.Start(t, args...)
			agent.WaitExit()
			require.Zero(t, agent.ExitCode(), agent.Log())
			k.Each(t, topic, func(r kafkaread.Record) { c.Add(r.Partition, r.Offset, r.Value) })
			r := c.Report()
			require.Zero(t, r.Lost)

			// A start after the end sends nothing and ends.
			n := k.Count(t, topic)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "logs", "app.log.later"), []byte("later\n"), 0o600))
			agent = agenttest.Start(t, args...)
			agent.WaitExit()
			require.Zero(t, agent.ExitCode(), agent.Log())
			require.Equal(t, n, k.Count(t, topic))
		})
	}
}
