package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/agent/task"
	"logferry/sink/kafka"
)

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.String()
}

func TestATaskThatReadsOnceFinishesAndHasNothingToDoAfterwards(t *testing.T) {
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "old"))
			require.NoError(t, err)
			defer fake.Close()
			state := t.TempDir()
			brokers := fake.ListenAddrs()
			settings := func(c *Config, o *Options) {
				o.DryRun, c.StateDir, c.Kafka.Brokers, c.Kafka.Producer = nil, state, brokers, producer
			}
			w := newWorld(t, settings)
			var text strings.Builder
			for i := range 5000 {
				fmt.Fprintf(&text, "line %04d\n", i)
			}
			w.appendLog("a.log.2.gz", packed(t, text.String()))
			w.appendLog("a.log.1", "plain\nno newline")
			whole := packed(t, text.String())
			w.appendLog("b.log.1.gz", whole[:len(whole)-5])
			const backfill = "paths: [\"DIR/logs/*.log.*\"]\ntopic: old\nonce: true\n"
			w.putTask("backfill", backfill)
			w.waitFor("the end", func() bool { return w.task("backfill").State == TaskFinished })
			st := w.task("backfill")
			require.Equal(t, []int{3, 2, 1}, []int{st.Once.Files, st.Once.Ended, st.Once.Failed})
			require.Contains(t, st.Error, "1 of 3 files could not be read to their ends, the first is "+filepath.Join(w.dir, "logs", "b.log.1.gz"))
			require.Greater(t, st.Once.Records, int64(5002))
			require.Len(t, arrived(t, brokers, "old", int(st.Once.Records)), int(st.Once.Records))
			_, body := w.get("/metrics")
			for _, line := range []string{
				`logferry_tasks{state="finished"} 1`, `logferry_once_finished{task="backfill"} 1`,
				`logferry_files{state="ended",task="backfill"} 2`, `logferry_files{state="failed",task="backfill"} 1`,
			} {
				require.Contains(t, body, line)
			}
			code, body := w.get("/readyz")
			require.Equal(t, 200, code, body)
			w.appendLog("a.log.1", "later")
			w.appendLog("c.log.1", "later\n")
			links, err := filepath.Glob("/proc/self/fd/*")
			require.NoError(t, err)
			for _, l := range links {
				target, _ := os.Readlink(l)
				require.NotContains(t, target, filepath.Join(w.dir, "logs"))
			}
			records := st.Once.Records
			w.close()
			require.Equal(t, 1, strings.Count(w.log.String(), "msg=\"task finished\""))

			brokers = []string{"127.0.0.1:1"}
			again := newWorld(t, settings)
			again.putTask("backfill", strings.ReplaceAll(backfill, "DIR", w.dir))
			again.appendLog("x", "")
			require.NoError(t, os.Remove(filepath.Join(w.dir, "logs", "b.log.1.gz")))
			again.waitFor("the end", func() bool { return again.task("backfill").State == TaskFinished })
			require.Equal(t, records, again.task("backfill").Once.Records)
		})
	}
}

func TestAnAgentThatRunsOnceEndsWithItsTasks(t *testing.T) {
	w := newWorld(t, func(c *Config, o *Options) {
		dir := filepath.Dir(c.StateDir)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "logs", "a.log"), []byte("one\ntwo\n"), 0o600))
		one := task.Task{Name: "flags", Paths: []string{filepath.Join(dir, "logs", "*.log")}, Topic: "t", Once: true}
		one.SetDefaults()
		o.Once, o.Tasks = true, []task.Task{one}
		c.Tasks.Files = nil
	})
	w.stop = nil
	require.NoError(t, <-w.done)
	require.Equal(t, "one\ntwo\n", w.out.String())
	require.Contains(t, w.log.String(), "files=1 failed=0 records=2 bytes=8")
}

func TestAnAgentThatRunsOnceSaysWhatWasNotRead(t *testing.T) {
	for what, c := range map[string]struct {
		yaml, log, want string
	}{
		"a damaged file":         {"paths: [\"DIR/logs/*\"]\ntopic: t\nonce: true\n", "\x1f\x8b\x08 no archive", "not everything was read: task a: 1 of 1 files"},
		"a task without an end":  {"paths: [\"DIR/logs/*\"]\ntopic: t\n", "x\n", "task a never ends; set once: true in it"},
		"a task that is refused": {"paths: [\"DIR/logs/*\"]\ntopic: t\nonce: true\nstart: end\n", "x\n", "task a is refused: "},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, func(cfg *Config, o *Options) {
				o.Once = true
				dir := filepath.Dir(cfg.StateDir)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "logs", "a"), []byte(c.log), 0o600))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "tasks", "a.yaml"), []byte(strings.ReplaceAll(c.yaml, "DIR", dir)), 0o600))
			})
			w.stop = nil
			require.ErrorContains(t, <-w.done, c.want)
		})
	}
}
