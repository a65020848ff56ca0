package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/sink/kafka"
	"logferry/test/kafkatest/kafkaread"
)

func TestRecordsAreChosenAndStampedByTheirFields(t *testing.T) {
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "chosen"))
			require.NoError(t, err)
			defer fake.Close()
			w := newWorld(t, func(c *Config, o *Options) {
				o.DryRun = nil
				c.Kafka.Brokers, c.Kafka.Producer = fake.ListenAddrs(), producer
			})
			defer w.close()
			var log strings.Builder
			for i := range 200 {
				fmt.Fprintf(&log, "[2020-03-01 08:00:%02d,500] %-5s trace%d text %d\n", i%60, []string{"INFO", "ERROR", "WARN", "DEBUG"}[i%4], i%50, i)
			}
			log.WriteString("[soon] ERROR trace1 no time\n")
			w.appendLog("a.log", log.String())
			w.putTask("chosen", `
paths: ["DIR/logs/*.log"]
topic: chosen
fields: {dissect: '[%{time}] %{level->} %{}'}
timestamp: parsed
parse_time: {field: time, layouts: ['%Y-%m-%d %H:%M:%S,%f'], timezone: Europe/Berlin}
filter:
  where: [{field: level, in: [ERROR, WARN]}]
`)
			readBack(t, fake.ListenAddrs(), "chosen", 101, func(r kafkaread.Record) {
				require.Regexp(t, "ERROR|WARN", string(r.Value))
				if strings.HasPrefix(string(r.Value), "[soon]") {
					require.Greater(t, r.Time.Year(), 2020)
				} else {
					require.Equal(t, "2020-03-01T07:00:"+string(r.Value[18:20])+".5Z", r.Time.UTC().Format(time.RFC3339Nano))
				}
			})
			w.waitFor("the offset", func() bool {
				files := w.task("chosen").collect.Files()
				return len(files) == 1 && files[0].Committed == int64(log.Len())
			})
			_, metrics := w.get("/metrics")
			require.Contains(t, metrics, `logferry_filtered_records_total{reason="where",task="chosen"} 100`)
			require.Contains(t, metrics, `logferry_unparsed_times_total{task="chosen"} 1`)
		})
	}
}

func TestATrialShowsWhatIsLeftOutAndWhichTimeIsRead(t *testing.T) {
	values, left := try(t, "fields: {format: logfmt}\nfilter: {where: [{field: level, not_in: [debug]}], rate_limit: {lines_per_second: 1, when_over: drop}}\n",
		"level=info a\nlevel=debug b\nlevel=info c\nlevel=info d\n")
	require.Equal(t, []string{"level=info a", "level=info c", "level=info d"}, values)
	require.Equal(t, []string{"where "}, left)
	values, left = try(t, "filter: {sample: {share: 0.5}}\n", strings.Repeat("x\n", 1000))
	require.InDelta(t, 500, len(values), 100)
	require.Equal(t, slices.Repeat([]string{"sample "}, len(left)), left)
}

func TestARateHoldsItsTaskAndNothingElse(t *testing.T) {
	w := newWorld(t, nil)
	var slow, fast strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&slow, "slow %d\n", i)
		fmt.Fprintf(&fast, "fast %d\n", i)
	}
	w.appendLog("slow.log", slow.String())
	w.appendLog("fast.log", fast.String())
	w.putTask("slow", "paths: [\"DIR/logs/slow.log\"]\ntopic: t\nfilter: {rate_limit: {lines_per_second: 20, burst: 500ms}}\n")
	w.putTask("fast", "paths: [\"DIR/logs/fast.log\"]\ntopic: t\n")
	w.putTask("drop", "paths: [\"DIR/logs/fast.log\"]\ntopic: t\nfilter: {rate_limit: {lines_per_second: 1, burst: 5s, when_over: drop}}\n")
	w.waitFor("the other tasks", func() bool { return strings.Count(w.out.String(), "fast ") >= 1005 })
	require.Less(t, strings.Count(w.out.String(), "slow "), 1000)
	w.waitFor("some lines of the slow task, acknowledged", func() bool {
		files := w.task("slow").collect.Files()
		return len(files) == 1 && files[0].Committed > 100 && files[0].Committed < int64(slow.Len())
	})
	w.waitFor("what was dropped counts as delivered", func() bool {
		files := w.task("drop").collect.Files()
		return len(files) == 1 && files[0].Committed == int64(fast.Len())
	})
	_, metrics := w.get("/metrics")
	require.Regexp(t, `logferry_filtered_records_total\{reason="rate",task="drop"\} 99\d`, metrics)
	begin := time.Now()
	w.close()
	require.Less(t, time.Since(begin), 20*time.Second, "a task that waits stops at once: 1000 lines at its rate take 50s")
	n := strings.Count(w.out.String(), "slow ")
	require.Less(t, n, 1000)
	for i := range n {
		require.Contains(t, w.out.String(), fmt.Sprintf("slow %d\n", i), "in order, none left out")
	}
}
