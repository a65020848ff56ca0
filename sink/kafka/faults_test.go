package kafka

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/internal/record"
)

var produce = []kmsg.Key{kmsg.Produce}

func TestErrorsThatTimeHealsLoseDoubleAndReorderNothing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for _, e := range []*kerr.Error{
			kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
			kerr.RequestTimedOut, kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition, kerr.KafkaStorageError,
			kerr.UnknownServerError, kerr.ClusterAuthorizationFailed, kerr.InvalidProducerEpoch,
		} {
			t.Run(e.Message, func(t *testing.T) {
				w := newWorld(t, 1)
				s := w.ship(cfg, Route{})
				s.sendLines("/a", 0, 100, 10)
				require.Eventually(t, func() bool { return s.doneCount() == 10 }, patient, time.Millisecond)
				h := w.fake.Fault(kfake.Fault{Keys: produce, Err: e, Count: 3})
				s.sendLines("/a", 100, 1000, 10)
				require.NoError(t, h.Wait(t.Context(), 3))
				s.sendLines("/a", 1000, 1200, 10)
				s.finish()
				w.requireLines(w.consume(topic), "/a", 0, 1200)
				require.GreaterOrEqual(t, testutil.ToFloat64(s.m.retries.WithLabelValues("web")), 3.0)
				require.GreaterOrEqual(t, testutil.CollectAndCount(s.m.errors), 1)
			})
		}
	})
}

func TestAGrantedPermissionLetsRecordsFlowAgain(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 10, 10)
		h := w.fake.Fault(kfake.Fault{Keys: produce, Err: kerr.TopicAuthorizationFailed, Count: -1})
		s.sendLines("/a", 10, 500, 10)
		s.errMatches(`partition 0: writing to topic "web_log" is not allowed; grant Write`)
		h.Remove()
		s.errClears()
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 500)
	})
}

func TestAnErrorThatSaramaRetriesByItselfIsNamed(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{})
		h := w.fake.Fault(kfake.Fault{Keys: produce, Err: kerr.NotEnoughReplicas, Count: -1})
		s.sendLines("/a", 0, 10, 10)
		s.errMatches(`partition 0: topic "web_log" has too few replicas in sync; start the missing brokers`)
		require.Eventually(t, func() bool {
			return testutil.ToFloat64(s.m.errors.WithLabelValues("web", "not_enough_replicas")) > 0
		}, patient, time.Millisecond)
		h.Remove()
		s.errClears()
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 10)
	})
}

func TestAPartitionInTroubleHoldsUpNoOther(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for _, e := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.TopicAuthorizationFailed, kerr.NotLeaderForPartition} {
			t.Run(e.Message, func(t *testing.T) {
				w := newWorld(t, 2)
				h := w.fake.Fault(kfake.Fault{Keys: produce, Partitions: []int32{0}, Err: e, Count: -1})
				cfg := cfg
				cfg.BatchBytes = 4096
				s := w.ship(cfg, Route{Partitioner: "hash", Key: "path"})
				stuck, free := pathFor(t, 0, 2), pathFor(t, 1, 2)
				n := s.sendLines(stuck, 0, 3000, 100)
				require.NoError(t, h.Wait(t.Context(), 1))
				m := s.sendLines(free, 0, 3000, 100)
				require.Eventually(t, func() bool { return s.doneCount() == m }, patient, time.Millisecond)
				h.Remove()
				s.finish()
				require.Equal(t, n+m, s.doneCount())
				recs := w.consume(topic)
				w.requireLines(recs, stuck, 0, 3000)
				w.requireLines(recs, free, 0, 3000)
			})
		}
	})
}

func TestStickyPassesOverAPartitionInTrouble(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 3)
		h := w.fake.Fault(kfake.Fault{Keys: produce, Partitions: []int32{1}, Err: kerr.NotEnoughReplicas, Count: -1})
		s := w.ship(cfg, Route{Partitioner: "sticky"})
		for i := range 3 {
			s.sendLines("/a", i, i+1, 1)
		}
		s.errMatches("partition 1: ")
		n := s.sendLines("/a", 3, 43, 1)
		require.Eventually(t, func() bool { return s.doneCount() == n+2 }, patient, time.Millisecond)
		h.Remove()
		s.finish()
		require.Equal(t, 43, len(w.consume(topic)))
	})
}

// pathFor returns a path that the FNV hash of its key puts into partition p of n.
func pathFor(t *testing.T, p, n int32) string {
	for c := 'a'; c <= 'z'; c++ {
		if path := "/var/log/" + string(c); hashPartition([]byte(path), n) == p {
			return path
		}
	}
	t.Fatalf("no path for partition %d of %d", p, n)
	return ""
}

func TestAnOutageAfterTheBrokerStoredABatchDoublesNothing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 2)
		cfg.RequestTimeout = 300 * time.Millisecond
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 500, 50)
		s.sendLines("/b", 0, 500, 50)
		require.Eventually(t, func() bool { return s.doneCount() == 20 }, patient, time.Millisecond)

		// The broker stores what it gets, its answers are lost, then it is gone.
		stored := w.fake.Fault(kfake.Fault{Keys: produce, Observe: true, Count: -1})
		w.gate.mute.Store(true)
		s.sendLines("/a", 500, 900, 50)
		s.sendLines("/b", 500, 900, 50)
		require.NoError(t, stored.Wait(t.Context(), 1))
		w.gate.refuse.Store(true)
		w.gate.cut()
		s.errMatches("no broker of 127.0.0.1")
		s.sendLines("/a", 900, 1000, 50)

		w.gate.mute.Store(false)
		w.gate.refuse.Store(false)
		s.errClears()
		s.finish()
		recs := w.consume(topic)
		require.Equal(t, 1900, len(recs))
		w.requireLines(recs, "/a", 0, 1000)
		w.requireLines(recs, "/b", 0, 900)
	})
}

func TestCutConnectionsLoseDoubleAndReorderNothing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 3)
		var served atomic.Int64
		w.fake.Fault(kfake.Fault{Keys: produce, Observe: true, Count: -1, When: func(kmsg.Request) bool {
			served.Add(1)
			return true
		}})
		cfg.BatchBytes = 2048
		s := w.ship(cfg, Route{})
		for i := range 100 {
			s.sendLines("/a", i*100, i*100+100, 100)
			s.sendLines("/b", i*100, i*100+100, 100)
			if i%10 == 9 {
				before := served.Load()
				require.Eventually(t, func() bool { return served.Load() > before || s.doneCount() == 2*(i+1) }, patient, time.Millisecond)
				w.gate.cut()
			}
		}
		s.finish()
		recs := w.consume(topic)
		w.requireLines(recs, "/a", 0, 10_000)
		w.requireLines(recs, "/b", 0, 10_000)
	})
}

func TestALeaderThatMovesIsFollowed(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1, kfake.NumBrokers(3))
		s := w.ship(cfg, Route{})
		for i := range 30 {
			s.sendLines("/a", i*100, i*100+100, 10)
			require.NoError(t, w.fake.MoveTopicPartition(topic, 0, int32(i%3)))
		}
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 3000)
	})
}

func TestABrokerThatIsDownAtTheStartIsWaitedFor(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		w.gate.refuse.Store(true)
		s := w.ship(cfg, Route{})
		s.errMatches("no broker of 127.0.0.1")
		s.sendLines("/a", 0, 10, 10) // one batch is held
		s.errMatches("start Kafka, or correct brokers")
		require.Zero(t, s.doneCount())
		w.gate.refuse.Store(false)
		s.errClears()
		s.sendLines("/a", 10, 100, 10)
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 100)
	})
}

func TestAProducerIDThatIsRefusedIsWaitedFor(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 10, 10)
		s.errMatches(`grant Write and Describe on topic "web_log" (brokers before 2.8 also want IdempotentWrite on the cluster, or idempotent: false)`)
		h.Remove()
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 10)
	})
}

func TestARecordThatIsTooLargeIsSetAsideAlthoughNothingFollowsIt(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		cfg.MaxMessageBytes = 2048
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 1, 1)
		require.Eventually(t, func() bool { return s.doneCount() == 1 }, patient, time.Millisecond)
		s.send(s.batchOf(source("/a"), record.Record{Value: make([]byte, 4096)}))
		require.Eventually(t, func() bool { return s.doneCount() == 2 }, patient, time.Millisecond)
		require.InDelta(t, 1, testutil.ToFloat64(s.m.deadLetters.WithLabelValues("web", "too_large")), 0)
		s.finish()
	})
}

func TestARecordThatCannotBeWrittenHarmsNoOther(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 2)
		s := w.ship(cfg, Route{Partitioner: "round_robin"})
		ancient := record.Record{Value: []byte("before the epoch"), Extra: &record.Extra{Time: time.Unix(-1000, 0)}}
		n := 0
		for i := range 50 {
			n += s.sendLines("/a", i*10, i*10+10, 10)
			if i == 25 {
				s.send(s.batchOf(source("/b"), ancient))
				n++
			}
		}
		s.finish()
		require.Equal(t, n, s.doneCount())
		got := 0
		for _, r := range w.consume(topic) {
			if strings.HasPrefix(string(r.Value), "/a ") {
				got++
			}
		}
		require.Equal(t, 500, got)
	})
}
