package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"logferry/internal/record"
)

// create makes a topic behind the sink's back.
func (w *world) create(name string, partitions int32) {
	w.t.Helper()
	w.admin(func(a sarama.ClusterAdmin) error {
		return a.CreateTopic(name, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false)
	})
}

func (w *world) admin(f func(sarama.ClusterAdmin) error) {
	w.t.Helper()
	sc := sarama.NewConfig()
	sc.Version = sarama.V2_8_0_0
	a, err := sarama.NewClusterAdmin(w.fake.ListenAddrs(), sc)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, a.Close()) }()
	require.NoError(w.t, f(a))
}

// abandon ends the context; Run must return soon, and nothing may be left.
func (s *shipment) abandon() {
	s.t.Helper()
	s.cancel()
	select {
	case err := <-s.result:
		require.ErrorIs(s.t, err, context.Canceled)
	case <-time.After(20 * time.Second): // less than any pause or timeout of those who use it
		require.FailNow(s.t, "Run does not return when its context ends")
	}
}

// learns does what sarama's client does every minute, until the sink knows of
// n partitions.
func (s *shipment) learns(n int32) {
	s.t.Helper()
	c := s.sink.running.Load().cluster
	require.Eventually(s.t, func() bool {
		_ = c.client.RefreshMetadata(topic)
		got, err := c.partitions(topic, nil)
		return err == nil && got == n
	}, patient, time.Millisecond)
}

func TestAMissingTopicIsWaitedFor(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 0)
		s := w.ship(cfg, Route{})
		s.errMatches(`topic "web_log" does not exist; create it or set create_topics`)
		s.sendLines("/a", 0, 10, 10)
		w.create(topic, 2)
		s.errClears()
		s.sendLines("/a", 10, 50, 10)
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 50)
	})
}

func TestAMissingTopicIsCreatedOnDemand(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 0, kfake.NumBrokers(3))
		s := w.ship(cfg, Route{Create: &CreateTopics{Partitions: 4, ReplicationFactor: 3}})
		s.sendLines("/a", 0, 10, 10)
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 10)
		w.admin(func(a sarama.ClusterAdmin) error {
			ts, err := a.DescribeTopics([]string{topic})
			require.Len(t, ts[0].Partitions, 4)
			require.Len(t, ts[0].Partitions[0].Replicas, 3)
			return err
		})
	})
}

func TestATopicMayBeCreatedWithTheBrokersDefaults(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 0, kfake.DefaultNumPartitions(7))
		cfg.CreateTopics = &CreateTopics{}
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 10, 10)
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 10)
	})
}

func TestATopicThatWasDeletedAndCreatedAgainIsUsedAgain(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 3)
		s := w.ship(cfg, Route{Partitioner: "round_robin"})
		n := s.sendLines("/a", 0, 30, 10)
		require.Eventually(t, func() bool { return s.doneCount() == n }, patient, time.Millisecond)
		w.admin(func(a sarama.ClusterAdmin) error { return a.DeleteTopic(topic) })
		n += s.sendLines("/a", 30, 60, 10)
		s.errMatches(`topic "web_log" does not exist`)
		w.create(topic, 1) // partitions 1 and 2 are gone for good
		s.finish()
		require.Equal(t, n, s.doneCount())
		require.Equal(t, 30, len(w.consume(topic)))
	})
}

func TestATopicThatShrinksAndGrowsAgainGetsEachRecordInItsPartition(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 3)
		path := "/c" // in partition 2 of 3
		for i := 0; newPicker("file", 0).batch(&record.Batch{Source: source(path)}, 3, always) != 2; i++ {
			path += "c"
		}
		s := w.ship(cfg, Route{})
		n := s.sendLines(path, 0, 10, 10)
		s.settled(n)
		require.NoError(t, w.fake.DeleteTopic(topic))
		require.NoError(t, w.fake.CreateTopic(topic, 1, nil))
		n += s.sendLines(path, 10, 20, 10) // the sink believes in three partitions still
		s.settled(n)
		w.requireLines(w.consume(topic), path, 10, 20)

		w.admin(func(a sarama.ClusterAdmin) error { return a.CreatePartitions(topic, 3, nil, false) })
		s.learns(3)
		s.sendLines(path, 20, 40, 10)
		s.finish()
		at := map[int32]int{}
		for _, r := range w.consume(topic) {
			at[r.Partition]++
		}
		require.Equal(t, map[int32]int{0: 10, 2: 20}, at)
	})
}

func TestAGrownTopicIsNoticed(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{Partitioner: "round_robin"})
		s.sendLines("/a", 0, 10, 10)
		w.admin(func(a sarama.ClusterAdmin) error { return a.CreatePartitions(topic, 3, nil, false) })
		s.learns(3)
		s.sendLines("/a", 10, 40, 10)
		s.finish()
		at := make(map[int32]int)
		for _, r := range w.consume(topic) {
			at[r.Partition]++
		}
		require.Len(t, at, 3)
	})
}

func TestAManualPartitionThatDoesNotExistIsWaitedFor(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{Partitioner: "manual", Partition: 2})
		s.sendLines("/a", 0, 10, 10)
		s.errMatches(`partition 2: topic "web_log" has no such partition; choose another one or add partitions`)
		w.admin(func(a sarama.ClusterAdmin) error { return a.CreatePartitions(topic, 3, nil, false) })
		s.learns(3)
		s.finish()
		for _, r := range w.consume(topic) {
			require.Equal(t, int32(2), r.Partition)
		}
	})
}

func TestAClosedInputWithNothingToDeliverEndsRunThoughKafkaIsDown(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		w.gate.refuse.Store(true)
		s := w.ship(cfg, Route{})
		s.errMatches("no broker")
		s.finish()
	})
}

func TestTheEndOfTheContextAbandonsWhatIsUnresolved(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for name, trouble := range map[string]func(w *world){
			"in a retry": func(w *world) { w.fake.Fault(kfake.Fault{Keys: produce, Err: kerr.NotEnoughReplicas, Count: -1}) },
			"in a retry of ours": func(w *world) {
				w.fake.Fault(kfake.Fault{Keys: produce, Err: kerr.TopicAuthorizationFailed, Count: -1})
			},
			"without an answer": func(w *world) { w.gate.mute.Store(true) },
			"without a broker":  func(w *world) { w.gate.refuse.Store(true); w.gate.cut() },
		} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, 2)
				cfg := cfg
				cfg.RetryBackoff, cfg.RetryBackoffMax, cfg.RequestTimeout = 30*time.Second, time.Minute, time.Minute
				running := goleak.IgnoreCurrent()
				s := w.ship(cfg, Route{})
				n := s.sendLines("/a", 0, 10, 10) + s.sendLines("/b", 0, 10, 10)
				require.Eventually(t, func() bool { return s.doneCount() == n }, patient, time.Millisecond)
				trouble(w)
				s.sendLines("/a", 10, 1000, 10)
				s.sendLines("/b", 10, 1000, 10)
				s.abandon()
				require.Equal(t, n, s.doneCount())
				goleak.VerifyNone(t, running, goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"),
					goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).write"))
			})
		}
	})
}

func TestTheEndOfTheContextEndsWaitingForABroker(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		w.gate.mute.Store(true)
		cfg.RequestTimeout = time.Minute
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 1, 1)
		s.abandon()
		require.Zero(t, s.doneCount())
	})
}

func TestAbandoningInTheMiddleOfALoadLeavesNothingBehind(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for i := range 10 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				w := newWorld(t, 3)
				s := w.ship(cfg, Route{Partitioner: "round_robin"})
				for k := range 20 * (i + 1) {
					s.send(s.batchOf(source("/a"), manyRecords(50, k)...))
				}
				s.abandon()
			})
		}
	})
}

func manyRecords(n, seed int) []record.Record {
	recs := make([]record.Record, n)
	for i := range recs {
		recs[i].Value = fmt.Appendf(nil, "record %d of %d", i, seed)
	}
	return recs
}

func largeRecord(n int) record.Record { return record.Record{Value: make([]byte, n)} }
