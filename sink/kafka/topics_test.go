package kafka

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/internal/record"
)

// named makes records "PATH number" with the numbers from..to-1 for the topics
// in turn; the topic "" is none.
func named(path string, from, to int, topics ...string) []record.Record {
	recs := lines(path, from, to)
	for i := range recs {
		if name := topics[i%len(topics)]; name != "" {
			recs[i].Extra = &record.Extra{Topic: []byte(name)}
		}
	}
	return recs
}

func (w *world) valuesOf(name string) []string {
	var list []string
	for _, r := range w.consume(name) {
		list = append(list, string(r.Value))
	}
	return list
}

func confined() *Confine {
	return &Confine{Allowed: []string{"app_*", "nowhere"}, Never: []string{"app_dead"}, Max: 3}
}

func TestRecordsGoToTheTopicsThatTheyNameOnceAndInOrder(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for _, rule := range []string{"file", "sticky", "round_robin", "murmur2"} {
			t.Run(rule, func(t *testing.T) {
				w := newWorld(t, 3, kfake.SeedTopics(2, "app_a"), kfake.SeedTopics(1, "app_b"))
				s := w.ship(cfg, Route{Confine: confined(), Partitioner: rule, Key: "path"})
				n := 0
				for i := 0; i < 3000; i += 50 {
					s.send(s.batchOf(source("/f"), named("/f", i, i+50, "app_a", "app_b", "app_a", "")...))
					n++
				}
				s.finish()
				require.Equal(t, n, s.doneCount())
				total := map[string]bool{}
				for _, name := range []string{topic, "app_a", "app_b"} {
					last := map[int32]int{}
					for _, r := range w.consume(name) {
						var i int
						_, err := fmt.Sscanf(string(r.Value), "/f %d", &i)
						require.NoError(t, err)
						require.False(t, total[string(r.Value)], "%s came twice", r.Value)
						total[string(r.Value)] = true
						require.Equal(t, []string{"app_a", "app_b", "app_a", topic}[i%50%4], name)
						if rule == "file" || rule == "murmur2" {
							require.GreaterOrEqual(t, i, last[r.Partition])
						}
						last[r.Partition] = i
					}
				}
				require.Len(t, total, 3000)
				for name, want := range map[string]float64{"app_a": 1500, "app_b": 720, topic: 780} {
					require.InDelta(t, want, testutil.ToFloat64(s.m.ackedRecords.WithLabelValues("web", name)), 60, name)
				}
				require.NotZero(t, testutil.ToFloat64(s.m.fallbacks.WithLabelValues("web", "missing_field")))
			})
		}
	})
}

func TestWhatARecordMayNotNameGoesToTheFallbackAndIsCounted(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1, kfake.SeedTopics(1, "app_a", "app_b", "app_dead", "other", "app_c", "app_d"))
		s := w.ship(cfg, Route{Confine: confined()})
		s.send(s.batchOf(source("/f"), named("/f", 0, 11,
			"app_a", "other", "app_dead", "app_/../x", "", "..", strings.Repeat("app_", 80), "__consumer_offsets", "nowhere", "app_b", "app_c")...))
		s.finish()
		require.Equal(t, []string{"/f 0"}, w.valuesOf("app_a"))
		require.Equal(t, []string{"/f 9"}, w.valuesOf("app_b"))
		require.Empty(t, w.valuesOf("app_dead"))
		require.Empty(t, w.valuesOf("other"))
		require.Empty(t, w.valuesOf("app_c"), "three names are in use: app_a, nowhere and app_b")
		require.Equal(t, []string{"/f 1", "/f 2", "/f 3", "/f 4", "/f 5", "/f 6", "/f 7", "/f 8", "/f 10"}, w.valuesOf(topic))
		for why, want := range map[Fallback]float64{NotAllowed: 3, InvalidTopic: 3, MissingField: 1, NoTopic: 1, TopicLimit: 1} {
			require.Equal(t, want, testutil.ToFloat64(s.m.fallbacks.WithLabelValues("web", string(why))), why)
		}
	})
}

func TestAMillionNamesMakeNoMoreTopicsAndLanesThanAllowed(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{Confine: &Confine{Allowed: []string{"*"}, Max: 5}, Create: &CreateTopics{Partitions: 1, ReplicationFactor: 1}})
		for i := range 100 {
			recs := lines("/f", i*1000, i*1000+1000)
			for k := range recs {
				recs[k].Extra = &record.Extra{Topic: fmt.Appendf(nil, "evil_%d_%d", i, k)}
			}
			s.send(s.batchOf(source("/f"), recs...))
		}
		s.finish()
		made := 0
		w.admin(func(a sarama.ClusterAdmin) error {
			list, err := a.ListTopics()
			made = len(list)
			return err
		})
		require.Equal(t, 6, made)
		require.Len(t, w.consume(topic), 100_000-5)
		require.Equal(t, float64(100_000-5), testutil.ToFloat64(s.m.fallbacks.WithLabelValues("web", "limit")))
	})
}

func TestATopicThatTakesNothingHoldsItsBatchesAndNoOtherTopic(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1, kfake.SeedTopics(1, "app_a", "app_b"))
		h := w.fake.Fault(kfake.Fault{Keys: produce, Topic: "app_b", Err: kerr.NotEnoughReplicas, Count: -1})
		s := w.ship(cfg, Route{Confine: confined()})
		s.send(s.batchOf(source("/b"), named("/b", 0, 1, "app_b")...)) // so that app_b has requests of its own
		s.errMatches("app_b")
		s.send(s.batchOf(source("/f"), named("/f", 0, 30, "app_a", "app_b", "")...))
		s.send(s.batchOf(source("/g"), named("/g", 0, 30, "app_a", "")...))
		require.Eventually(t, func() bool { return len(w.consume("app_a")) == 25 && len(w.consume(topic)) == 25 }, patient, 5*time.Millisecond)
		require.Eventually(t, func() bool { return s.doneCount() == 1 }, patient, time.Millisecond, "the batch without a record for the blocked topic is done")
		require.Equal(t, 1, s.doneCount(), "the batch with records for it is not")
		h.Remove()
		s.errClears()
		s.finish()
		require.Equal(t, 3, s.doneCount())
		require.Len(t, w.consume("app_b"), 11)
		require.Len(t, w.consume("app_a"), 25)
	})
}

func TestATopicThatIsMissingIsLookedForAgain(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		s := w.ship(cfg, Route{Confine: confined()}, func(s *Sink) { s.refresh = time.Millisecond })
		s.send(s.batchOf(source("/f"), named("/f", 0, 1, "app_a")...))
		require.Eventually(t, func() bool { return s.doneCount() == 1 }, patient, time.Millisecond)
		w.create("app_a", 1)
		i := 1
		require.Eventually(t, func() bool {
			s.send(s.batchOf(source("/f"), named("/f", i, i+1, "app_a")...))
			i++
			return len(w.consume("app_a")) > 0
		}, patient, 10*time.Millisecond)
		s.finish()
		require.Len(t, append(w.valuesOf(topic), w.valuesOf("app_a")...), i)
	})
}

func TestATopicThatIsDeletedIsWaitedForAWhile(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1, kfake.SeedTopics(1, "app_a"))
		cfg.RequestTimeout = 300 * time.Millisecond
		s := w.ship(cfg, Route{Confine: confined()})
		s.send(s.batchOf(source("/f"), named("/f", 0, 1, "app_a")...))
		require.Eventually(t, func() bool { return s.doneCount() == 1 }, patient, time.Millisecond)
		require.NoError(t, w.fake.DeleteTopic("app_a"))
		_ = s.sink.running.Load().cluster.client.RefreshMetadata("app_a")
		s.send(s.batchOf(source("/f"), named("/f", 1, 2, "app_a")...))
		s.errMatches(`topic "app_a" does not exist`)
		require.Empty(t, w.valuesOf(topic))
		require.Eventually(t, func() bool { return len(w.valuesOf(topic)) == 1 }, patient, time.Millisecond)
		s.errClears()
		s.finish()
	})
}

func TestLogLinesNameTheTopicThatTheyAreAbout(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w, log := newWorld(t, 1), &logbook{}
		w.log = log.logger()
		cfg.MaxMessageBytes = 2048
		s := w.ship(cfg, Route{Confine: confined(), Create: &CreateTopics{Partitions: 1, ReplicationFactor: 1}})
		large := largeRecord(4096)
		large.Extra = &record.Extra{Topic: []byte("app_a")}
		s.send(s.batchOf(source("/f"), large))
		require.Eventually(t, func() bool { return s.doneCount() == 1 }, patient, time.Millisecond)

		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "app_b", Err: kerr.LeaderNotAvailable, Count: -1})
		s.send(s.batchOf(source("/f"), named("/f", 0, 1, "app_b")...))
		for message, want := range map[string]string{
			"topic created": "app_a", "record set aside as a dead letter; see the dead letters for all of them": "app_a", "records wait for Kafka": "app_b",
		} {
			require.Eventually(t, func() bool { return strings.Contains(log.String(), message) }, patient, 5*time.Millisecond, message)
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, message) {
					require.Equal(t, 1, strings.Count(line, `"topic":`), line)
					require.Contains(t, line, fmt.Sprintf(`"topic":%q`, want))
				}
			}
		}
	})
}
