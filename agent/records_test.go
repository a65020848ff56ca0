package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"logferry/agent/task"
	"logferry/collector/envelope"
	"logferry/sink/kafka"
	"logferry/test/kafkatest/kafkaread"
)

func TestATaskCanNameWhatAnEnvelopeKnows(t *testing.T) {
	require.Equal(t, envelope.ValueFields(), task.ValueFields())
	require.Equal(t, envelope.TemplateFields(), task.TemplateFields())
	for _, name := range append(task.TemplateFields(), "labels.env") {
		_, err := envelope.New(envelope.Config{Headers: map[string]string{"a": "{{." + name + "}} {{ ." + name + " }}"}})
		require.NoError(t, err)
	}
}

// readBack waits for n records of a topic, and passes each to fn.
func readBack(t *testing.T, brokers []string, topic string, n int, fn func(kafkaread.Record)) {
	t.Helper()
	reader, err := kafkaread.Open(brokers, topic)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for seen := 0; seen < n; {
		require.NoError(t, reader.Drain(ctx, func(r kafkaread.Record) error {
			seen++
			fn(r)
			return nil
		}))
		select {
		case <-ctx.Done():
			require.NoError(t, ctx.Err(), "%d of %d records of %s", seen, n, topic)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// arrived is n records of a topic, with what they carry.
func arrived(t *testing.T, brokers []string, topic string, n int) (list []string) {
	t.Helper()
	readBack(t, brokers, topic, n, func(r kafkaread.Record) {
		var headers []string
		for _, h := range r.Headers {
			headers = append(headers, h.Key+"="+string(h.Value))
		}
		at := "read"
		if r.Time.Year() == 2020 {
			at = r.Time.UTC().Format(time.RFC3339Nano)
		}
		list = append(list, fmt.Sprintf("%s %v %s", at, headers, r.Value))
	})
	return list
}

func TestRecordsOfContainersReachKafkaWithWhatTheyAreToCarry(t *testing.T) {
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "asis", "headers", "json"))
			require.NoError(t, err)
			defer fake.Close()
			w := newWorld(t, func(c *Config, o *Options) {
				o.DryRun = nil
				c.Kafka.Brokers, c.Kafka.Producer = fake.ListenAddrs(), producer
				c.Labels = map[string]string{"env": "prod"}
			})
			defer w.close()
			w.appendLog("a.log", "2020-03-01T08:00:01.5Z stdout P one, \n2020-03-01T08:00:02Z stderr F say \"hi\"\n2020-03-01T08:00:03Z stdout F two\nno line of a container\n")
			const head = "paths: [\"DIR/logs/*.log\"]\nformat: cri\n"
			w.putTask("asis", head+"topic: asis\n")
			w.putTask("headers", head+"topic: headers\ntimestamp: read\nheaders: {env: '{{.labels.env}}', at: '{{.task}}@{{.offset}}', std: '{{.stream}}', pod: '{{.kubernetes.pod}}'}\n")
			w.putTask("json", head+"topic: json\nvalue: json\nvalue_fields: [message, stream, time, offset, path, labels, kubernetes]\n")

			require.Equal(t, []string{
				"2020-03-01T08:00:01.5Z [logferry.stream=stdout] one, two", "2020-03-01T08:00:02Z [logferry.stream=stderr] say \"hi\"", "read [] no line of a container",
			}, arrived(t, fake.ListenAddrs(), "asis", 3))
			require.Equal(t, []string{
				"read [at=headers@0 env=prod std=stdout] one, two", "read [at=headers@38 env=prod std=stderr] say \"hi\"", "read [at=headers@111 env=prod] no line of a container",
			}, arrived(t, fake.ListenAddrs(), "headers", 3))
			path := filepath.Join(w.dir, "logs", "a.log")
			got := arrived(t, fake.ListenAddrs(), "json", 3)
			require.Equal(t, []string{
				`2020-03-01T08:00:01.5Z [logferry.stream=stdout] {"message":"one, two","stream":"stdout","time":"2020-03-01T08:00:01.500000000Z","offset":0,"path":"` + path + `","labels":{"env":"prod"}}`,
				`2020-03-01T08:00:02Z [logferry.stream=stderr] {"message":"say \"hi\"","stream":"stderr","time":"2020-03-01T08:00:02.000000000Z","offset":38,"path":"` + path + `","labels":{"env":"prod"}}`,
			}, got[:2])
			require.True(t, strings.HasPrefix(got[2], `read [] {"message":"no line of a container","time":"20`), got[2])
		})
	}
}

func TestRecordsAreKeyedByAFieldOfTheirText(t *testing.T) {
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(5, "keyed"))
			require.NoError(t, err)
			defer fake.Close()
			w := newWorld(t, func(c *Config, o *Options) {
				o.DryRun = nil
				c.Kafka.Brokers, c.Kafka.Producer = fake.ListenAddrs(), producer
			})
			defer w.close()
			var log strings.Builder
			for i := range 100 {
				fmt.Fprintf(&log, `{"n":%d,"user":{"id":"u%d"},"password":"p%d"}`+"\n", i, i%7, i)
			}
			w.appendLog("a.log", log.String()+"no object\n")
			w.putTask("keyed", `
paths: ["DIR/logs/*.log"]
topic: keyed
fields: {format: json}
key: "{{.fields.user.id}}"
partitioner: murmur2
headers: {secret: "{{.fields.password}}"}
filter: {mask: [{pattern: '"p\d+"', replace: '"*"'}]}
`)
			partitions := map[string]int32{}
			readBack(t, fake.ListenAddrs(), "keyed", 101, func(r kafkaread.Record) {
				if string(r.Value) == "no object" {
					require.Nil(t, r.Key)
					require.Empty(t, r.Headers)
					return
				}
				require.Contains(t, string(r.Value), `"id":"`+string(r.Key)+`"`)
				require.Equal(t, "*", string(r.Headers[0].Value), "fields are those of the masked text")
				if _, seen := partitions[string(r.Key)]; !seen {
					partitions[string(r.Key)] = r.Partition
				}
				require.Equal(t, partitions[string(r.Key)], r.Partition)
			})
			require.Len(t, partitions, 7)
		})
	}
}
