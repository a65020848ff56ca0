package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"logferry/test/kafkatest/kafkaread"
	"logferry/test/kafkatest/localkafka"
)

func TestMain(m *testing.M) { Main(m) }

func producer(t *testing.T, brokers []string, change func(*sarama.Config)) sarama.SyncProducer {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Retry.Max = 100
	conf.Metadata.AllowAutoTopicCreation = false
	if change != nil {
		change(conf)
	}
	p, err := sarama.NewSyncProducer(brokers, conf)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func send(t *testing.T, p sarama.SyncProducer, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(v)})
		require.NoError(t, err)
	}
}

func values(records []kafkaread.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Value))
	}
	return out
}

func TestASharedBrokerGivesBackEveryPartOfARecord(t *testing.T) {
	k := Shared(t)
	topic := k.NewTopic(t, 3)
	p := producer(t, k.Brokers(), nil)
	at := time.UnixMilli(1_700_000_000_123)

	for i := range int32(3) {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{
			Topic: topic, Partition: i, Timestamp: at,
			Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder(fmt.Sprint("v", i)),
			Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("x")}},
		})
		require.NoError(t, err)
	}

	require.EqualValues(t, 3, k.Count(t, topic))
	got := k.ReadAll(t, topic)
	require.Len(t, got, 3)
	for i, r := range got {
		require.True(t, at.Equal(r.Time), "time %v", r.Time)
		r.Time = time.Time{}
		require.Equal(t, kafkaread.Record{
			Partition: int32(i), Key: []byte("k"), Value: []byte(fmt.Sprint("v", i)),
			Headers: []kafkaread.Header{{Key: "h", Value: []byte("x")}},
		}, r)
	}
}

func TestManyCompressedRecordsAreReadInOrder(t *testing.T) {
	const n = 200_000
	k := Shared(t)
	topic := k.NewTopic(t, 1)
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Compression = sarama.CompressionLZ4
	conf.Producer.Flush.Messages, conf.Producer.Flush.Frequency = 5000, 10*time.Millisecond
	p, err := sarama.NewAsyncProducer(k.Brokers(), conf)
	require.NoError(t, err)
	for i := range n {
		p.Input() <- &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("%0100d", i))}
	}
	require.NoError(t, p.Close())
	k.WaitCount(t, topic, n, time.Minute)

	began := time.Now()
	next := 0
	k.Each(t, topic, func(r kafkaread.Record) {
		require.EqualValues(t, next, r.Offset)
		if next%1000 == 0 {
			require.Equal(t, fmt.Sprintf("%0100d", next), string(r.Value))
		}
		next++
	})
	require.Equal(t, n, next)
	t.Logf("read %d records in %v", n, time.Since(began).Round(time.Millisecond))
}

func TestTheSharedBrokerIsMendedAfterATestThatDisturbedIt(t *testing.T) {
	t.Run("paused", func(t *testing.T) { Shared(t).Pause(t, 0) })
	state, err := Shared(t).State(0)
	require.NoError(t, err)
	require.Equal(t, localkafka.Running, state)

	t.Run("killed", func(t *testing.T) { Shared(t).Kill(t, 0) })
	require.NotEmpty(t, Shared(t).NewTopic(t, 1))
}

func TestAPausedBrokerIsSilentUntilItIsContinued(t *testing.T) {
	k := Shared(t)
	topic := k.NewTopic(t, 1)
	impatient := producer(t, k.Brokers(), func(c *sarama.Config) {
		c.Net.ReadTimeout = 300 * time.Millisecond
		c.Producer.Retry.Max = 0
		c.Metadata.Retry.Max = 0
	})
	send(t, impatient, topic, "before")

	k.Pause(t, 0)
	_, _, err := impatient.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("lost")})
	require.Error(t, err)

	k.Continue(t, 0)
	send(t, producer(t, k.Brokers(), nil), topic, "after")
	got := values(k.ReadAll(t, topic))
	require.Equal(t, "before", got[0])
	require.Equal(t, "after", got[len(got)-1])
}

func TestLimitedProducersAreThrottledByTheBroker(t *testing.T) {
	k := Shared(t)
	topic := k.NewTopic(t, 1)
	k.LimitProducers(t, 50_000)
	var conf *sarama.Config
	p := producer(t, k.Brokers(), func(c *sarama.Config) { conf = c })

	value := strings.Repeat("x", 50_000)
	require.Eventually(t, func() bool {
		send(t, p, topic, value)
		h, ok := conf.MetricRegistry.Get("throttle-time-in-ms-for-broker-0").(interface{ Max() int64 })
		return ok && h.Max() > 0
	}, time.Minute, time.Millisecond)
}

func TestAKilledAndRestartedBrokerKeepsItsDataAndPort(t *testing.T) {
	k := Start(t)
	topic := k.NewTopic(t, 1)
	p := producer(t, k.Brokers(), nil)
	send(t, p, topic, "one", "two")
	brokers := k.Brokers()

	k.Kill(t, 0)
	pid, err := k.PID(0)
	require.NoError(t, err)
	require.Zero(t, pid)
	k.Restart(t, 0)
	require.Equal(t, brokers, k.Brokers())
	send(t, p, topic, "three")
	require.Equal(t, []string{"one", "two", "three"}, values(k.ReadAll(t, topic)))

	k.Stop(t, 0)
	k.RestartElsewhere(t, 0)
	require.NotEqual(t, brokers, k.Brokers())
	require.Equal(t, []string{"one", "two", "three"}, values(k.ReadAll(t, topic)))
}

func TestThreeNodesReplicateAndOutliveOneOfThem(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers take too long for -short")
	}
	k := Start(t, WithNodes(3), WithProperty("min.insync.replicas", "2"))
	topic := k.NewTopic(t, 3)
	p := producer(t, k.Brokers(), nil)
	send(t, p, topic, "one")

	k.Kill(t, 0)
	send(t, p, topic, "two")
	require.Equal(t, []string{"one", "two"}, values(k.ReadAll(t, topic)))

	k.Restart(t, 0)
	send(t, p, topic, "three")
	require.Equal(t, []string{"one", "two", "three"}, values(k.ReadAll(t, topic)))
}

func TestAMissingJavaSkipsUnlessRealBrokersAreRequired(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv("JAVA_HOME", "")
	_, noJava := localkafka.Start(t.Context(), localkafka.Config{})

	for _, tc := range []struct {
		name, ci, require string
		err               error
		skips             bool
	}{
		{name: "neither", err: noJava, skips: true},
		{name: "ci", ci: "true", err: noJava},
		{name: "ci off", ci: "false", err: noJava, skips: true},
		{name: "required", require: "1", err: noJava},
		{name: "another failure", err: errors.New("disk full")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("CI", tc.ci)
			t.Setenv("LOGFERRY_REQUIRE_REAL", tc.require)
			require.Equal(t, tc.skips, maySkip(tc.err))
		})
	}
}

func TestWhatWasSkippedIsReportedOnTheStreamAndInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report")
	t.Setenv(ReportEnv, path)
	var stream strings.Builder

	report(&stream, skipLine("TestX", errors.New("no java")))
	report(&stream, "second")

	const want = "SKIPPED (no Java): TestX: no java\nsecond\n"
	require.Equal(t, want, stream.String())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(b))
}
