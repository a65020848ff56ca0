package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/agent/task"
	"logferry/sink/kafka"
	"logferry/test/kafkatest/kafkaread"
)

const topicTask = `
paths: ["DIR/logs/*.log"]
topic: app_{{.fields.app}}
topics_allowed: [app_*]
topic_fallback: other
fields: {format: json}
key: "{{.fields.id}}"
partitioner: murmur2
headers: {app: "{{.fields.app}}"}
`

// collected is the values of n records of a topic.
func collected(t *testing.T, brokers []string, topic string, n int) (values []string) {
	t.Helper()
	readBack(t, brokers, topic, n, func(r kafkaread.Record) { values = append(values, string(r.Value)) })
	sort.Strings(values)
	return values
}

func TestRecordsGoToTheTopicThatAFieldOfTheirTextNames(t *testing.T) {
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "app_shop", "app_web", "other", "private"))
			require.NoError(t, err)
			defer fake.Close()
			w := newWorld(t, func(c *Config, o *Options) {
				o.DryRun = nil
				c.Kafka.Brokers, c.Kafka.Producer = fake.ListenAddrs(), producer
			})
			defer w.close()
			var log strings.Builder
			want := map[string][]string{}
			put := func(topic, line string) {
				log.WriteString(line + "\n")
				want[topic] = append(want[topic], line)
			}
			for i := range 500 {
				put("app_shop", fmt.Sprintf(`{"app":"shop","id":"u%d","n":"%03d"}`, i%7, i))
				put("app_web", fmt.Sprintf(`{"app":"web","id":"u%d","n":"%03d"}`, i%7, i))
				put("other", fmt.Sprintf(`{"app":"../private","n":"%03d"}`, i))
			}
			put("other", "no object at all")
			put("other", `{"app":"missing"}`)
			w.appendLog("a.log", log.String())
			w.putTask("apps", topicTask)
			for topic, lines := range want {
				sort.Strings(lines)
				require.Equal(t, lines, collected(t, fake.ListenAddrs(), topic, len(lines)), topic)
			}
			w.waitFor("the offset", func() bool {
				files := w.task("apps").collect.Files()
				return len(files) == 1 && files[0].Committed == int64(log.Len())
			})
			_, metrics := w.get("/metrics")
			for _, line := range []string{
				`logferry_topic_fallback_records_total{reason="invalid",task="apps"} 500`,
				`logferry_topic_fallback_records_total{reason="missing_field",task="apps"} 1`,
				`logferry_topic_fallback_records_total{reason="no_topic",task="apps"} 1`,
				`logferry_acked_records_total{task="apps",topic="app_shop"} 500`,
			} {
				require.Contains(t, metrics, line)
			}
		})
	}
}

func TestATrialShowsTheTopicOfEachRecord(t *testing.T) {
	_, err := task.DecodeOne([]byte(topicTask), "f", "x")
	require.Error(t, err, "DIR is no absolute path")
	decoded, err := task.DecodeOne([]byte(strings.ReplaceAll(topicTask, "DIR", "/d")), "f", "x")
	require.NoError(t, err)
	var got []string
	_, err = Try(decoded, "host", "/a", strings.NewReader(`{"app":"shop"}`+"\n"+`{"app":"a b"}`+"\nx\n"), func(r Trial) error {
		got = append(got, r.Topic+" "+r.Fallback+" "+r.Asked)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"app_shop  ", "other invalid app_a b", "other missing_field "}, got)
}

func TestATopicOfLabelsAndNamespacesIsMadeOncePerFile(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "log_prod_demo", "other"))
	require.NoError(t, err)
	defer fake.Close()
	w := newWorld(t, func(c *Config, o *Options) {
		o.DryRun = nil
		c.Kafka.Brokers = fake.ListenAddrs()
		c.Labels = map[string]string{"env": "prod"}
	})
	defer w.close()
	w.putTask("demo", "paths: [\"DIR/logs/*.log\"]\ntopic: log_{{.labels.env}}_{{.task}}\ntopics_allowed: [log_prod_*]\ntopic_fallback: other\n")
	w.putTask("nolabel", "paths: [\"DIR/logs/*.log\"]\ntopic: log_{{.labels.zone}}\ntopics_allowed: [log_*]\ntopic_fallback: other\n")
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "logs", "a.log"), []byte("1\n2\n"), 0o600))
	require.Equal(t, []string{"1", "2"}, collected(t, fake.ListenAddrs(), "log_prod_demo", 2))
	require.Equal(t, []string{"1", "2"}, collected(t, fake.ListenAddrs(), "other", 2))
}
