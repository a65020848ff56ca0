package kafkaread

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

const topic = "t"

// fake starts an in-process Kafka with a topic of three partitions.
func fake(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(3, topic))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

func produce(t *testing.T, brokers []string, codec sarama.CompressionCodec, messages ...*sarama.ProducerMessage) {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_8_0_0
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Compression = codec
	conf.Producer.MaxMessageBytes = 8 << 20
	conf.Producer.Flush.Frequency = time.Millisecond
	p, err := sarama.NewSyncProducer(brokers, conf)
	require.NoError(t, err)
	require.NoError(t, p.SendMessages(messages))
	require.NoError(t, p.Close())
}

func message(partition int32, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(value)}
}

func TestRecordsComePartitionByPartitionInOrderWithEveryCodec(t *testing.T) {
	for codec := sarama.CompressionNone; codec <= sarama.CompressionZSTD; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			brokers := fake(t)
			var want []string
			var messages []*sarama.ProducerMessage
			for p := range int32(3) {
				for i := range 500 {
					value := fmt.Sprintf("%d/%d", p, i)
					messages = append(messages, message(p, value))
					want = append(want, value)
				}
			}
			produce(t, brokers, codec, messages...)

			n, err := Count(t.Context(), brokers, topic)
			require.NoError(t, err)
			require.EqualValues(t, len(want), n)
			var got []string
			require.NoError(t, Each(t.Context(), brokers, topic, func(r Record) error {
				require.EqualValues(t, len(got)%500, r.Offset)
				got = append(got, string(r.Value))
				return nil
			}))
			require.Equal(t, want, got)
		})
	}
}

func TestKeysHeadersTimesAndTombstonesAreKept(t *testing.T) {
	brokers := fake(t)
	at := time.UnixMilli(1_700_000_000_123)
	produce(t, brokers, sarama.CompressionNone,
		&sarama.ProducerMessage{
			Topic: topic, Partition: 1, Timestamp: at, Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("v"),
			Headers: []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b")}},
		},
		&sarama.ProducerMessage{Topic: topic, Partition: 2, Timestamp: at})

	var got []Record
	require.NoError(t, Each(t.Context(), brokers, topic, func(r Record) error {
		require.True(t, at.Equal(r.Time))
		r.Time = time.Time{}
		got = append(got, r)
		return nil
	}))
	require.Equal(t, []Record{
		{Partition: 1, Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"a", []byte("1")}, {"b", nil}}},
		{Partition: 2},
	}, got)
}

func TestDrainGoesOnWhereItStopped(t *testing.T) {
	brokers := fake(t)
	r, err := Open(brokers, topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	drain := func() (got []string) {
		require.NoError(t, r.Drain(t.Context(), func(rec Record) error {
			got = append(got, string(rec.Value))
			return nil
		}))
		return got
	}

	require.Empty(t, drain())
	produce(t, brokers, sarama.CompressionLZ4, message(0, "a"), message(2, "b"))
	pending, err := r.Pending(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, pending)
	require.Equal(t, []string{"a", "b"}, drain())
	produce(t, brokers, sarama.CompressionLZ4, message(0, "c"), message(0, "d"))
	require.Equal(t, []string{"c", "d"}, drain())
	require.Empty(t, drain())
}

func TestARefusedRecordIsYieldedAgainByTheNextDrain(t *testing.T) {
	brokers := fake(t)
	produce(t, brokers, sarama.CompressionNone, message(0, "a"), message(0, "b"), message(0, "c"))
	r, err := Open(brokers, topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })

	enough := errors.New("enough")
	require.ErrorIs(t, r.Drain(t.Context(), func(rec Record) error {
		if rec.Offset == 1 {
			return enough
		}
		return nil
	}), enough)
	var got []string
	require.NoError(t, r.Drain(t.Context(), func(rec Record) error {
		got = append(got, string(rec.Value))
		return nil
	}))
	require.Equal(t, []string{"b", "c"}, got)
}

func TestARecordLargerThanAFetchIsRead(t *testing.T) {
	brokers := fake(t)
	conf := config()
	conf.Metadata.Full = true
	c, err := sarama.NewClusterAdmin(brokers, conf)
	require.NoError(t, err)
	size := fmt.Sprint(8 << 20)
	require.NoError(t, c.AlterConfig(sarama.TopicResource, topic, map[string]*string{"max.message.bytes": &size}, false))
	require.NoError(t, c.Close())
	large := string(bytes.Repeat([]byte("x"), 3*firstFetchBytes))
	produce(t, brokers, sarama.CompressionNone, message(0, "small"))
	produce(t, brokers, sarama.CompressionNone, message(0, large))

	var lengths []int
	require.NoError(t, Each(t.Context(), brokers, topic, func(r Record) error {
		lengths = append(lengths, len(r.Value))
		return nil
	}))
	require.Equal(t, []int{5, len(large)}, lengths)
}

func TestWhatIsNotThereIsWaitedForUntilTheContextEnds(t *testing.T) {
	brokers := fake(t)
	for name, tc := range map[string]struct {
		brokers []string
		topic   string
		want    string
	}{
		"topic":  {brokers, "absent", "absent"},
		"broker": {[]string{"127.0.0.1:1"}, topic, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := Count(ctx, tc.brokers, tc.topic)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, tc.want)
			require.ErrorIs(t, Each(ctx, tc.brokers, tc.topic, nil), context.DeadlineExceeded)
		})
	}
}
