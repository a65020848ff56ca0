package console

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
)

var (
	shared   *kfake.Cluster // one fake cluster for all tests; each test has its own topic
	topicSeq atomic.Int64
	quiet    = slog.New(slog.DiscardHandler)
)

func TestMain(m *testing.M) {
	var err error
	shared, err = kfake.NewCluster(kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// sarama's metrics library keeps one ticking goroutine for the process.
	goleak.VerifyTestMain(closing{m}, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// closing ends the shared cluster before leaks are looked for.
type closing struct{ m *testing.M }

func (c closing) Run() int {
	defer shared.Close()
	return c.m.Run()
}

func config() kafka.Config {
	return kafka.Config{Brokers: shared.ListenAddrs(), RequestTimeout: 10 * time.Second}
}

func newTopic(t *testing.T, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("topic-%d", topicSeq.Add(1))
	topics, err := admin.New(context.Background(), config())
	require.NoError(t, err)
	defer func() { _ = topics.Close() }()
	require.NoError(t, topics.Create(context.Background(), name, partitions, 1, nil))
	return name
}

func send(t *testing.T, opts ProduceOptions, text string) []Sent {
	t.Helper()
	var got []Sent
	err := Produce(context.Background(), config(), opts, strings.NewReader(text),
		func(s Sent) error { got = append(got, s); return nil })
	require.NoError(t, err)
	return got
}

func collect(into *[]Message) func(Message) error {
	return func(m Message) error { *into = append(*into, m); return nil }
}

// readAll returns everything in a topic, by partition and offset.
func readAll(t *testing.T, topic string) []Message {
	t.Helper()
	var got []Message
	opts := ConsumeOptions{Topic: topic, From: FromOldest, UntilEnd: true}
	require.NoError(t, Consume(context.Background(), config(), opts, collect(&got), quiet))
	slices.SortFunc(got, func(a, b Message) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return got
}

func values(messages []Message) []string {
	out := make([]string, len(messages))
	for i, m := range messages {
		out[i] = string(m.Value)
	}
	return out
}

func numbered(n int) (string, []string) {
	var b strings.Builder
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %06d", i)
		b.WriteString(lines[i] + "\n")
	}
	return b.String(), lines
}
