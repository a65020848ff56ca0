package kafka

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/internal/record"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
)

// oddRecords makes records with values, keys and headers of every kind.
func oddRecords(n int) []record.Record {
	rng := rand.NewChaCha8([32]byte{7})
	noise := func(n uint64) []byte {
		b := make([]byte, n)
		_, _ = rng.Read(b)
		return b
	}
	recs := make([]record.Record, n)
	for i := range recs {
		recs[i].Value = noise(rng.Uint64() % 300)
		if i%3 == 0 {
			continue
		}
		x := &record.Extra{Time: time.UnixMilli(1_700_000_000_000 + int64(rng.Uint64()%1e9))}
		if i%4 != 0 {
			x.Key = noise(uint64(i % 40))
		}
		for range i % 5 {
			x.Headers = append(x.Headers, record.Header{Key: string(noise(rng.Uint64() % 20)), Value: noise(rng.Uint64() % 100)})
		}
		if i%7 == 0 {
			x.Headers = append(x.Headers, record.Header{Key: "none"})
		}
		recs[i].Extra = x
	}
	return recs
}

// requireSame checks that got is what was sent in a batch read at a time.
func requireSame(t *testing.T, sent []record.Record, read time.Time, got []kafkaread.Record) {
	t.Helper()
	require.Len(t, got, len(sent))
	for i, want := range sent {
		at := read
		var key []byte
		var headers []kafkaread.Header
		if x := want.Extra; x != nil {
			at, key = x.Time, x.Key
			for _, h := range x.Headers {
				headers = append(headers, kafkaread.Header{Key: h.Key, Value: h.Value})
			}
		}
		require.Equal(t, want.Value, got[i].Value, "value %d", i)
		require.Equal(t, key, got[i].Key, "key %d", i)
		require.Equal(t, headers, got[i].Headers, "headers %d", i)
		require.Equal(t, at.UnixMilli(), got[i].Time.UnixMilli(), "time %d", i)
	}
}

// forgotten waits until no broker knows a producer of a topic with one partition.
func forgotten(t *testing.T, k *kafkatest.Cluster, name string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...))
	require.NoError(t, err)
	defer cl.Close()
	require.Eventually(t, func() bool {
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = name, []int32{0}
		req := kmsg.NewPtrDescribeProducersRequest()
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(t.Context(), cl)
		require.NoError(t, err)
		require.Zero(t, resp.Topics[0].Partitions[0].ErrorCode)
		return len(resp.Topics[0].Partitions[0].ActiveProducers) == 0
	}, patient, 50*time.Millisecond)
}

func TestRealKafkaOfThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three brokers")
	}
	k := kafkatest.Start(t, kafkatest.WithNodes(3), kafkatest.WithProperty("producer.id.expiration.ms", "500"),
		kafkatest.WithProperty("producer.id.expiration.check.interval.ms", "100"))
	t.Run("gets keys, headers and times byte for byte with every codec and acks", func(t *testing.T) {
		recs := oddRecords(500)
		eachProducer(t, func(t *testing.T, cfg Config) {
			for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
				for _, acks := range []string{"0", "1", "all"} {
					t.Run(codec+" acks "+acks, func(t *testing.T) {
						name := k.NewTopic(t, 3)
						cfg := cfg
						cfg.Compression, cfg.Acks, cfg.BatchBytes = codec, acks, 20_000
						s := shipReal(t, k, name, cfg)
						b := s.batchOf(source("/a"), recs...)
						read := b.Time
						s.send(b)
						s.finish()
						k.WaitCount(t, name, int64(len(recs)), patient)
						requireSame(t, recs, read, k.ReadAll(t, name))
					})
				}
			}
		})
	})
	t.Run("takes all in order from a producer that it had forgotten", func(t *testing.T) {
		eachProducer(t, func(t *testing.T, cfg Config) {
			name := k.NewTopic(t, 1)
			s := shipReal(t, k, name, flights(cfg))
			for i := range 3 {
				s.sendFlights(i*1000, i*1000+1000)
				s.settled(i + 1)
				forgotten(t, k, name)
			}
			s.finish()
			requireReal(t, k, name, 3000, "/a")
		})
	})
}
