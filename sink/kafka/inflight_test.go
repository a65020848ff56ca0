package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"logferry/internal/record"
)

// alone is how many flights go by themselves before as many as the window
// allows are in the air.
const alone = 1

// flights points cfg to flights that are small, not compressed, and so many
// that sendFlights has several windows of them.
func flights(cfg Config) Config {
	cfg.BatchBytes, cfg.Compression = 2048, "none"
	return cfg
}

// sendFlights sends lines "/a number" with the numbers from..to-1 as one batch,
// which the lane cuts into flights at once.
func (s *shipment) sendFlights(from, to int) {
	s.t.Helper()
	s.send(s.batchOf(source("/a"), lines("/a", from, to)...))
}

// settled waits until n batches are done.
func (s *shipment) settled(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.doneCount() == n }, patient, time.Millisecond)
}

// nth says yes to request number n, counted from 1.
func nth(n int) func(kmsg.Request) bool {
	seen := 0
	return func(kmsg.Request) bool {
		seen++
		return seen == n
	}
}

func TestAFailureAtEachPlaceOfAFullWindowLosesDoublesAndReordersNothing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for _, e := range []*kerr.Error{
			kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
			kerr.RequestTimedOut, kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition, kerr.KafkaStorageError,
			kerr.UnknownServerError, kerr.ClusterAuthorizationFailed, kerr.InvalidProducerEpoch, kerr.OutOfOrderSequenceNumber,
			kerr.UnknownProducerID, kerr.CorruptMessage, kerr.MessageTooLarge, kerr.ThrottlingQuotaExceeded,
		} {
			for k := 1; k <= maxWindow; k++ {
				t.Run(fmt.Sprintf("%s at %d", e.Message, k), func(t *testing.T) {
					w := newWorld(t, 1)
					s := w.ship(flights(cfg), Route{})
					s.sendFlights(0, 10)
					s.settled(1)
					h := w.fake.Fault(kfake.Fault{Keys: produce, Err: e, When: nth(alone + k)})
					s.sendFlights(10, 1000)
					s.finish()
					require.Equal(t, 1, h.Hits())
					require.Equal(t, 2, s.doneCount())
					w.requireLines(w.consume(topic), "/a", 0, 1000)
				})
			}
		}
	})
}

func TestAFailureWithoutSequenceNumbersLosesAndReordersNothing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		no := false
		for name, change := range map[string]func(*Config){
			"acks 1":                   func(c *Config) { c.Acks = "1" },
			"acks all, not idempotent": func(c *Config) { c.Idempotent = &no },
		} {
			for _, e := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.KafkaStorageError, kerr.MessageTooLarge} {
				for k := 1; k <= maxWindow; k++ {
					t.Run(fmt.Sprintf("%s, %s at %d", name, e.Message, k), func(t *testing.T) {
						w := newWorld(t, 1)
						cfg := flights(cfg)
						change(&cfg)
						s := w.ship(cfg, Route{})
						h := w.fake.Fault(kfake.Fault{Keys: produce, Err: e, When: nth(k)})
						s.sendFlights(0, 1000)
						s.finish()
						require.Equal(t, 1, h.Hits())
						w.requireLines(w.consume(topic), "/a", 0, 1000)
					})
				}
			}
		}
	})
}

func TestAnswersLostWithAFullWindowInTheAirDoubleNothing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		inTheAir := 1
		if cfg.Producer == "batch" {
			inTheAir = maxWindow
		}
		for answered := range inTheAir {
			t.Run(fmt.Sprint(answered, " answered"), func(t *testing.T) {
				w := newWorld(t, 1)
				cfg := flights(cfg)
				cfg.RequestTimeout = time.Minute // the connection ends when the test says so
				s := w.ship(cfg, Route{})
				s.sendFlights(0, 10)
				s.settled(1)
				stored := w.fake.Fault(kfake.Fault{Keys: produce, Observe: true, Count: -1})
				w.gate.mutedAfter(alone + answered)
				s.sendFlights(10, 1000)
				// What is answered makes room for as many more.
				require.NoError(t, stored.Wait(t.Context(), alone+inTheAir+answered))
				w.gate.mute.Store(false)
				w.gate.cut()
				s.finish()
				require.Equal(t, 2, s.doneCount())
				w.requireLines(w.consume(topic), "/a", 0, 1000)
			})
		}
	})
}

func TestARecordTooLargeForTheTopicInAFullWindowIsSetAsideAndTheRestArriveInOrder(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for k := 1; k <= maxWindow; k++ {
			t.Run(fmt.Sprint("in flight ", k), func(t *testing.T) {
				w := newWorld(t, 0)
				require.NoError(t, w.fake.CreateTopic(topic, 1, map[string]string{"max.message.bytes": "1200"}))
				s := w.ship(flights(cfg), Route{})
				s.sendFlights(0, 10)
				s.settled(1)
				perFlight := 2048 / recordSize(&record.Record{Value: []byte("/a 100")}, nil)
				recs := lines("/a", 10, 1000)
				at := (alone+k-1)*perFlight + 5
				recs[at].Value = make([]byte, 1200)
				s.send(s.batchOf(source("/a"), recs...))
				s.finish()
				require.Equal(t, 2, s.doneCount())
				require.Equal(t, 1, s.deadCount("too_large"))
				require.Equal(t, int64(10+at), s.letters()[0].Offset)
				got := w.consume(topic)
				w.requireLines(got[:10+at], "/a", 0, 10+at)
				w.requireLines(got[10+at:], "/a", 10+at+1, 1000)
			})
		}
	})
}

func TestLeadersThatMoveAgainAndAgainAreFollowed(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		const files, rounds = 6, 20
		w := newWorld(t, 6, kfake.NumBrokers(4))
		s := w.ship(flights(cfg), Route{})
		served := w.fake.Fault(kfake.Fault{Keys: produce, Observe: true, Count: -1})
		for i := range rounds {
			before := served.Hits()
			for f := range files {
				path := fmt.Sprintf("/f%d", f)
				s.send(s.batchOf(source(path), lines(path, i*300, i*300+300)...))
			}
			require.NoError(t, served.Wait(t.Context(), before+1))
			w.fake.ShufflePartitionLeaders()
		}
		s.finish()
		require.Equal(t, files*rounds, s.doneCount())
		recs := w.consume(topic)
		require.Len(t, recs, files*rounds*300)
		for f := range files {
			w.requireLines(recs, fmt.Sprintf("/f%d", f), 0, rounds*300)
		}
	})
}

func TestABrokerThatForgotAnIdleProducerTakesItsFlightsInOrder(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		// Such a broker takes whatever sequence number comes first.
		w := newWorld(t, 1, kfake.MaxVersions(kversion.V3_6_0()))
		s := w.ship(flights(cfg), Route{})
		s.sendFlights(0, 10)
		s.settled(1)
		s.sendFlights(10, 500) // the window opens
		s.settled(2)
		require.NoError(t, w.fake.DeleteTopic(topic))
		require.NoError(t, w.fake.CreateTopic(topic, 1, nil))
		w.fake.Fault(kfake.Fault{Keys: produce, Err: kerr.NotEnoughReplicas})
		s.sendFlights(500, 1000)
		s.finish()
		require.Equal(t, 3, s.doneCount())
		w.requireLines(w.consume(topic), "/a", 500, 1000)
	})
}
