package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/internal/record"
	"logferry/sink/kafka/deadletter"
	"logferry/test/kafkatest/kafkaread"
)

// refuse makes the broker answer e to each request that contains text.
func (w *world) refuse(name string, e *kerr.Error, text string) *kfake.FaultHandle {
	return w.fake.Fault(kfake.Fault{Keys: produce, Topic: name, Err: e, Count: -1, When: func(req kmsg.Request) bool {
		for _, rt := range req.(*kmsg.ProduceRequest).Topics {
			for _, rp := range rt.Partitions {
				if bytes.Contains(rp.Records, []byte(text)) {
					return true
				}
			}
		}
		return false
	}})
}

func (s *shipment) letters() []deadletter.Letter {
	s.t.Helper()
	data, err := os.ReadFile(s.dead)
	require.NoError(s.t, err)
	var out []deadletter.Letter
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		var l deadletter.Letter
		require.NoError(s.t, json.Unmarshal([]byte(line), &l), "%s", line)
		out = append(out, l)
	}
	return out
}

func (s *shipment) deadCount(cause string) int {
	return int(testutil.ToFloat64(s.m.deadLetters.WithLabelValues("web", cause)))
}

func TestTheOneRecordThatABrokerRefusesIsSetAsideAndTheRestArriveInOrder(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		cfg.Compression = "none"
		for cause, e := range map[string]*kerr.Error{
			"too_large": kerr.MessageTooLarge, "invalid_record": kerr.InvalidRecord, "invalid_timestamp": kerr.InvalidTimestamp,
		} {
			t.Run(cause, func(t *testing.T) {
				w := newWorld(t, 1)
				w.refuse(topic, e, "/a 333")
				s := w.ship(cfg, Route{})
				n := s.sendLines("/a", 0, 1000, 100)
				s.finish()
				require.Equal(t, n, s.doneCount())
				require.Equal(t, 1, s.deadCount(cause))
				letters := s.letters()
				require.Len(t, letters, 1)
				require.Equal(t, "/a 333", string(letters[0].Value))
				require.Equal(t, int64(333), letters[0].Offset)
				require.Equal(t, cause, letters[0].Cause)
				recs := w.consume(topic)
				w.requireLines(recs[:333], "/a", 0, 333)
				w.requireLines(recs[333:], "/a", 334, 1000)
			})
		}
	})
}

func TestManyRefusedRecordsAmongGoodOnes(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		cfg.Compression = "none"
		w := newWorld(t, 1)
		w.refuse(topic, kerr.InvalidRecord, "7 bad")
		s := w.ship(cfg, Route{})
		var recs []record.Record
		for i := range 500 {
			recs = append(recs, record.Record{Value: fmt.Appendf(nil, "%d", i)})
			if i%10 == 7 {
				recs[i].Value = fmt.Appendf(nil, "%d bad", i)
			}
		}
		s.send(s.batchOf(source("/a"), recs...))
		s.finish()
		require.Equal(t, 1, s.doneCount())
		require.Equal(t, 50, s.deadCount("invalid_record"))
		got := w.consume(topic)
		require.Equal(t, 450, len(got))
		last := -1
		for _, r := range got {
			var n int
			_, err := fmt.Sscan(string(r.Value), &n)
			require.NoError(t, err)
			require.Greater(t, n, last)
			last = n
		}
	})
}

func TestATopicThatTakesLessThanWeSendGetsSmallerFlights(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		cfg.Compression = "none"
		w := newWorld(t, 1, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "3000"}))
		s := w.ship(cfg, Route{})
		big := bytes.Repeat([]byte("x"), 4000)
		s.sendLines("/a", 0, 500, 50)
		s.send(s.batchOf(source("/a"), record.Record{Value: big, Offset: 77}))
		s.sendLines("/a", 500, 1000, 50)
		s.finish()
		w.requireLines(w.consume(topic), "/a", 0, 1000)
		require.Equal(t, 1, s.deadCount("too_large"))
		require.Equal(t, int64(77), s.letters()[0].Offset)
	})
}

func TestARecordOverMaxMessageBytesIsSetAsideUnsent(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		cfg.MaxMessageBytes = 2000
		s := w.ship(cfg, Route{Key: "path"})
		odd := append(bytes.Repeat([]byte{0xff}, 2000), 'x')
		s.sendLines("/a", 0, 10, 10)
		s.send(s.batchOf(source("/a"),
			record.Record{Value: []byte("/a 10")},
			record.Record{Value: odd, Offset: 123, Extra: &record.Extra{Headers: []record.Header{{Key: "k", Value: []byte("v")}}}},
			record.Record{Value: []byte("/a 11")},
			record.Record{Value: bytes.Repeat([]byte("y"), 2000-recordOverhead-len("/a"))},
		))
		s.finish()
		recs := w.consume(topic)
		require.Equal(t, 13, len(recs))
		w.requireLines(recs, "/a", 0, 12)
		l := s.letters()[0]
		require.Equal(t, "too_large", l.Cause)
		require.Contains(t, l.Error, "larger than max_message_bytes: 2")
		require.Equal(t, []string{"web", topic, "host-1", "/a", "fd00-2a"}, []string{l.Task, l.Topic, l.Host, l.Path, l.File})
		require.Equal(t, odd, l.Value)
		require.Equal(t, "/a", string(l.Key))
		require.Equal(t, []record.Header{{Key: "k", Value: []byte("v")}}, l.Headers)
		require.WithinDuration(t, time.Now(), l.RecordTime, time.Minute)
		require.WithinDuration(t, time.Now(), l.Time, time.Minute)
	})
}

const graves = "dead_letters"

func TestDeadLettersOfATopicKeepValueAndKeyAndTellTheirStory(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		cfg.Compression = "none"
		w := newWorld(t, 1, kfake.SeedTopics(1, graves))
		w.refuse(topic, kerr.InvalidRecord, "/a 5")
		s := w.ship(cfg, Route{Key: "host", DeadLetter: DeadLetter{Topic: graves}})
		s.sendLines("/a", 0, 10, 10)
		s.finish()
		require.Equal(t, 9, len(w.consume(topic)))
		dead := w.consume(graves)
		require.Len(t, dead, 1)
		require.Equal(t, "/a 5", string(dead[0].Value))
		require.Equal(t, "host-1", string(dead[0].Key))
		require.Equal(t, map[string]string{
			"logferry.cause": "invalid_record", "logferry.error": headerOf(dead[0], "logferry.error"), "logferry.task": "web",
			"logferry.topic": topic, "logferry.partition": "0", "logferry.host": "host-1", "logferry.path": "/a",
			"logferry.file": "fd00-2a", "logferry.offset": "5",
			"logferry.time": headerOf(dead[0], "logferry.time"), "logferry.record_time": headerOf(dead[0], "logferry.record_time"),
		}, headersOf(dead[0]))
		require.NoFileExists(t, s.dead)
	})
}

func headersOf(r kafkaread.Record) map[string]string {
	m := make(map[string]string)
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

func headerOf(r kafkaread.Record, key string) string { return headersOf(r)[key] }

func TestARecordTooLargeForTheDeadLetterTopicGoesThereCut(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		for name, limit := range map[string]string{"by our own limit": "1000000", "by the broker's": "2000"} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, 1, kfake.SeedTopics(1, graves), kfake.BrokerConfigs(map[string]string{"message.max.bytes": limit}))
				cfg := cfg
				cfg.Compression, cfg.MaxMessageBytes = "none", 10_000
				s := w.ship(cfg, Route{DeadLetter: DeadLetter{Topic: graves}})
				value := bytes.Repeat([]byte("0123456789"), 2000)
				s.send(s.batchOf(source("/a"), record.Record{Value: value}, record.Record{Value: []byte("/a 0")}))
				s.finish()
				w.requireLines(w.consume(topic), "/a", 0, 1)
				dead := w.consume(graves)
				require.Len(t, dead, 1)
				require.Equal(t, "20000", headerOf(dead[0], record.HeaderTruncated))
				require.Greater(t, len(dead[0].Value), 200)
				require.True(t, bytes.HasPrefix(value, dead[0].Value))
				require.Equal(t, 1, s.deadCount("too_large"))
			})
		}
	})
}

func TestADeadLetterFileThatCannotBeWrittenIsWaitedFor(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		cfg.MaxMessageBytes = 1024
		blocker := filepath.Join(t.TempDir(), "in the way")
		require.NoError(t, os.WriteFile(blocker, nil, 0o600))
		s := w.ship(cfg, Route{DeadLetter: DeadLetter{File: filepath.Join(blocker, "dead.jsonl")}})
		s.dead = filepath.Join(blocker, "dead.jsonl")
		s.send(s.batchOf(source("/a"), record.Record{Value: make([]byte, 2000)}))
		s.errMatches("a record that Kafka refuses cannot be set aside: write dead letter: ")
		require.Zero(t, s.doneCount())
		require.NoError(t, os.Remove(blocker))
		s.finish()
		require.Equal(t, 1, s.doneCount())
		require.Len(t, s.letters(), 1)
	})
}

func TestADeadLetterTopicThatIsMissingIsWaitedFor(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		cfg.MaxMessageBytes = 1024
		s := w.ship(cfg, Route{DeadLetter: DeadLetter{Topic: graves}})
		s.send(s.batchOf(source("/a"), record.Record{Value: make([]byte, 2000)}))
		s.errMatches(`cannot be set aside: topic "dead_letters" does not exist; create it`)
		require.Zero(t, s.doneCount())
		w.create(graves, 1)
		s.errClears()
		s.finish()
		require.Len(t, w.consume(graves), 1)
	})
}

func TestADeadLetterIsAcknowledgedWhateverTheRecordsAre(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1, kfake.SeedTopics(1, graves))
		cfg.MaxMessageBytes, cfg.Acks = 1024, "0"
		refused := w.fake.Fault(kfake.Fault{Keys: produce, Topic: graves, Err: kerr.TopicAuthorizationFailed, Count: -1})
		s := w.ship(cfg, Route{DeadLetter: DeadLetter{Topic: graves}})
		s.send(s.batchOf(source("/a"), record.Record{Value: make([]byte, 2000)}))
		s.errMatches(`cannot be set aside: writing to topic "dead_letters" is not allowed`)
		require.Zero(t, s.doneCount())
		refused.Remove()
		s.errClears()
		s.finish()
		require.Len(t, w.consume(graves), 1)
	})
}

func TestADeadLetterFileAtItsBoundLosesItsOldestLettersAndSaysSo(t *testing.T) {
	w := newWorld(t, 1)
	dead := filepath.Join(t.TempDir(), "dead.jsonl")
	s := w.ship(Config{MaxMessageBytes: 1024}, Route{DeadLetter: DeadLetter{File: dead, MaxBytes: minLetterBytes, MaxFiles: 1}})
	var recs []record.Record
	for i := range 200 { // about 2.4 KB each
		recs = append(recs, record.Record{Value: bytes.Repeat([]byte("x"), 2000), Offset: int64(i)})
	}
	s.send(s.batchOf(source("/a"), recs...))
	s.finish()
	require.Equal(t, 200, s.deadCount("too_large"))
	var left []int64
	_, err := deadletter.File{Path: dead}.Read(t.Context(), func(l deadletter.Letter) error { left = append(left, l.Offset); return nil })
	require.NoError(t, err)
	lost := int(testutil.ToFloat64(s.m.lettersDropped.WithLabelValues("web")))
	require.Equal(t, 200, lost+len(left))
	require.Positive(t, lost)
	for i, offset := range left {
		require.Equal(t, int64(lost+i), offset)
	}
}

func TestALetterWithATimeThatKafkaRefusedReachesTheDeadLetterTopic(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1, kfake.SeedTopics(1, graves))
		cfg.Compression = "none"
		w.refuse(topic, kerr.InvalidTimestamp, "odd")
		s := w.ship(cfg, Route{DeadLetter: DeadLetter{Topic: graves}})
		old := time.Unix(1_000_000_000, 0)
		s.send(s.batchOf(source("/a"), record.Record{Value: []byte("odd"), Extra: &record.Extra{Time: old}}))
		s.finish()
		dead := w.consume(graves)
		require.Len(t, dead, 1)
		require.WithinDuration(t, time.Now(), dead[0].Time, time.Minute)
		require.Equal(t, old.UTC().Format(time.RFC3339Nano), headerOf(dead[0], "logferry.record_time"))
	})
}

func TestARecordTooLargeForTheAgentItselfIsNoErrorOfProducing(t *testing.T) {
	eachProducer(t, func(t *testing.T, cfg Config) {
		w := newWorld(t, 1)
		cfg.MaxMessageBytes = 2048
		s := w.ship(cfg, Route{})
		s.sendLines("/a", 0, 10, 10)
		s.send(s.batchOf(source("/a"), largeRecord(4096)))
		s.finish()
		require.Equal(t, 1, s.deadCount("too_large"))
		require.Zero(t, testutil.CollectAndCount(s.m.errors))
	})
}
