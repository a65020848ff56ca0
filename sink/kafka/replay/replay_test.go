package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logferry/internal/record"
	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
	"logferry/sink/kafka/console"
	"logferry/sink/kafka/deadletter"
	"logferry/test/kafkatest"
)

const (
	graves  = "dead_letters"
	patient = time.Minute
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	kafka.RouteLogs(quiet)
	kafkatest.Main(m)
}

// fakeWorld is an in-process Kafka with a dead-letter topic.
func fakeWorld(t *testing.T, topics ...string) (*kfake.Cluster, kafka.Config) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, graves), kfake.SeedTopics(3, topics...))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, kafka.Config{Brokers: c.ListenAddrs(), RequestTimeout: 10 * time.Second, Compression: "none"}
}

func letterOf(n int) deadletter.Letter {
	return deadletter.Letter{
		Time: time.Unix(1_700_000_000, int64(n)).UTC(), Cause: "too_large", Error: "refused", Task: "web", Topic: "web_log", Partition: 2,
		Host: "h", Path: "/var/log/a.log", File: "fd00-2a", Offset: int64(n), RecordTime: time.UnixMilli(1_600_000_000_000).UTC(),
		Key: []byte("k"), Headers: []record.Header{{Key: "own", Value: []byte("x")}}, Value: fmt.Appendf(nil, "value %d", n),
	}
}

// bury puts letters into the dead-letter topic, as an agent does.
func bury(t *testing.T, cfg kafka.Config, from, to int) Topic {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	for i := from; i < to; i++ {
		l := letterOf(i)
		_, _, err := s.send(graves, 0, l.Key, l.Value, append(l.Headers, l.Story()...), l.RecordTime)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	return Topic{Config: cfg, Name: graves, Log: quiet}
}

func read(t *testing.T, d Topic) (letters []deadletter.Letter) {
	t.Helper()
	_, err := d.Read(t.Context(), func(l deadletter.Letter) error { letters = append(letters, l); return nil })
	require.NoError(t, err)
	return letters
}

func offsets(letters []deadletter.Letter) (out []int64) {
	for _, l := range letters {
		out = append(out, l.Offset)
	}
	return out
}

func consume(t *testing.T, cfg kafka.Config, topic string) (out []console.Message) {
	t.Helper()
	opts := console.ConsumeOptions{Topic: topic, From: console.FromOldest, UntilEnd: true}
	require.NoError(t, console.Consume(t.Context(), cfg, opts, func(m console.Message) error { out = append(out, m); return nil }, quiet))
	return out
}

// replayAll replays to where letters were meant for, and returns what was sent.
func replayAll(t *testing.T, d Topic) (sent []int64, err error) {
	t.Helper()
	s, err := Open(t.Context(), d.Config)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	err = d.Replay(t.Context(), func(l deadletter.Letter) (string, error) {
		_, _, err := s.Send(l, l.Topic)
		if err != nil {
			return "", err
		}
		sent = append(sent, l.Offset)
		return l.Topic, nil
	})
	return sent, err
}

func TestALetterOfATopicIsReadAsItWasWritten(t *testing.T) {
	_, cfg := fakeWorld(t)
	d := bury(t, cfg, 0, 1)
	want := letterOf(0)
	want.ID = "dead_letters/0/0"
	require.Equal(t, []deadletter.Letter{want}, read(t, d))
}

func TestReplaySendsEachRecordAsItWasMeantAndOnce(t *testing.T) {
	_, cfg := fakeWorld(t, "web_log")
	d := bury(t, cfg, 0, 5)
	sent, err := replayAll(t, d)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1, 2, 3, 4}, sent)
	got := consume(t, cfg, "web_log")
	require.Len(t, got, 5)
	for i, m := range got {
		require.Equal(t, console.Message{
			Topic: "web_log", Partition: 2, Offset: int64(i), Time: letterOf(i).RecordTime.Local(),
			Key: []byte("k"), Value: fmt.Appendf(nil, "value %d", i), Headers: []console.Header{{Key: "own", Value: "x"}},
		}, m)
	}
	sent, err = replayAll(t, d)
	require.NoError(t, err)
	require.Empty(t, sent)
	letters := read(t, d)
	require.Len(t, letters, 5)
	require.False(t, letters[4].Replayed.IsZero())

	bury(t, cfg, 5, 6)
	sent, err = replayAll(t, d)
	require.NoError(t, err)
	require.Equal(t, []int64{5}, sent)
}

func TestAReplayThatBrokeOffGoesOnBehindWhatWasSent(t *testing.T) {
	_, cfg := fakeWorld(t, "web_log")
	d := bury(t, cfg, 0, 4)
	broken := errors.New("power cut")
	var sent []int64
	err := d.Replay(t.Context(), func(l deadletter.Letter) (string, error) {
		if l.Offset == 2 {
			return "", broken
		}
		sent = append(sent, l.Offset)
		return l.Topic, nil
	})
	require.ErrorIs(t, err, broken)
	again, err := replayAll(t, d)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1}, sent)
	require.Equal(t, []int64{2, 3}, again)
}

func TestALetterIsAcknowledgedBeforeItCountsAsReplayedWhateverTheRecordsAre(t *testing.T) {
	fake, cfg := fakeWorld(t, "web_log")
	d := bury(t, cfg, 0, 1)
	d.Config.Acks = "0"
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "web_log", Err: kerr.MessageTooLarge, Count: -1})
	_, err := replayAll(t, d)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.True(t, read(t, d)[0].Replayed.IsZero())
}

func TestATopicThatIsMissingOrRefusesIsTold(t *testing.T) {
	fake, cfg := fakeWorld(t, "web_log")
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	_, _, err = s.Send(letterOf(0), "none")
	require.ErrorContains(t, err, `topic "none" does not exist; create it, or send to another one with --topic`)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "web_log", Err: kerr.MessageTooLarge, Count: -1})
	_, _, err = s.Send(letterOf(0), "web_log")
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "too_large", refused.Cause)
	require.NoError(t, s.Close())
	err = Topic{Config: cfg, Name: "nowhere", Log: quiet}.Replay(t.Context(), nil)
	require.ErrorIs(t, err, admin.ErrUnknownTopic)
}

func TestDropDeletesTheBeginningAndMarksTheRest(t *testing.T) {
	_, cfg := fakeWorld(t, "web_log")
	d := bury(t, cfg, 0, 6)
	drop := func(offsets ...int64) int {
		n, err := d.Drop(t.Context(), func(l deadletter.Letter) bool {
			for _, o := range offsets {
				if o == l.Offset {
					return true
				}
			}
			return false
		})
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 3, drop(0, 1, 4))
	require.Equal(t, []int64{2, 3, 5}, offsets(read(t, d)))
	require.Equal(t, int64(2), consume(t, cfg, graves)[0].Offset, "the first two are deleted")
	sent, err := replayAll(t, d)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3, 5}, sent)
	require.Equal(t, 2, drop(2, 3))
	require.Equal(t, int64(5), consume(t, cfg, graves)[0].Offset, "with what was dropped behind them")
	require.Equal(t, 1, drop(5, 77))
	require.Empty(t, consume(t, cfg, graves))
	require.Zero(t, drop(5))
}

func TestWithoutTheRightToDeleteDroppedLettersAreMarked(t *testing.T) {
	fake, cfg := fakeWorld(t)
	d := bury(t, cfg, 0, 3)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DeleteRecords}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	n, err := d.Drop(t.Context(), func(l deadletter.Letter) bool { return l.Offset < 2 })
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []int64{2}, offsets(read(t, d)))
}

func TestForeignRecordsAreCountedAndNeverDeleted(t *testing.T) {
	_, cfg := fakeWorld(t)
	d := bury(t, cfg, 0, 1)
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	_, _, err = s.send(graves, 0, nil, []byte("not ours"), nil, time.Now())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	bury(t, cfg, 1, 2)
	n, err := d.Drop(t.Context(), func(deadletter.Letter) bool { return true })
	require.NoError(t, err)
	require.Equal(t, 2, n)
	unreadable, err := d.Read(t.Context(), func(deadletter.Letter) error { return errors.New("a letter is left") })
	require.NoError(t, err)
	require.Equal(t, 1, unreadable)
}

// shipTenThousand sends 10,000 records of one path, of which the 5,000th is too
// large for the topic, and waits for their end.
func shipTenThousand(t *testing.T, cfg kafka.Config, route kafka.Route) {
	t.Helper()
	out, err := kafka.New(cfg, route, nil, quiet)
	require.NoError(t, err)
	in, done := make(chan *record.Batch), make(chan error, 1)
	go func() { done <- out.Run(context.Background(), in) }()
	src := &record.Source{Task: "web", Host: "host-1", Path: "/var/log/a.log", File: "fd00-2a"}
	for i := 0; i < 10_000; i += 100 {
		b := &record.Batch{Source: src, Time: time.Now()}
		for n := i; n < i+100; n++ {
			b.Records = append(b.Records, record.Record{Value: valueOf(n), Offset: int64(n)})
		}
		select {
		case in <- b:
		case <-time.After(patient):
			require.FailNow(t, "the sink does not go on", "%v", out.Err())
		}
	}
	close(in)
	require.NoError(t, <-done)
}

const poison = 5000

func valueOf(n int) []byte {
	if n == poison {
		return bytes.Repeat([]byte("poison "), 1000)
	}
	return fmt.Appendf(nil, "line %d", n)
}

func TestRealKafkaRefusesOneOfTenThousandAndGetsItByReplayWhenItsLimitIsRaised(t *testing.T) {
	k := kafkatest.Shared(t)
	for _, producer := range kafka.Producers {
		t.Run(producer, func(t *testing.T) {
			topic, dead := kafkatest.TopicName(t), kafkatest.TopicName(t)+"-dead"
			k.CreateTopic(t, topic, 3, 1, map[string]string{"max.message.bytes": "4000"})
			k.CreateTopic(t, dead, 1, 1, nil)
			cfg := kafka.Config{Brokers: k.Brokers(), Producer: producer, Compression: "none", RequestTimeout: 10 * time.Second}
			shipTenThousand(t, cfg, kafka.Route{Task: "web", Topic: topic, Partitioner: "file", DeadLetter: kafka.DeadLetter{Topic: dead}})

			partition, next := int32(-1), 0
			for _, r := range k.ReadAll(t, topic) {
				if next == poison {
					next++
				}
				require.Equal(t, string(valueOf(next)), string(r.Value))
				require.True(t, partition < 0 || partition == r.Partition)
				partition = r.Partition
				next++
			}
			require.Equal(t, 10_000, next)
			d := Topic{Config: cfg, Name: dead, Log: quiet}
			letters := read(t, d)
			require.Len(t, letters, 1)
			l := letters[0]
			require.Equal(t, []string{"too_large", "web", topic, "/var/log/a.log"}, []string{l.Cause, l.Task, l.Topic, l.Path})
			require.Equal(t, []int64{poison, int64(partition)}, []int64{l.Offset, int64(l.Partition)})

			_, err := replayAll(t, d)
			var refused *RefusedError
			require.ErrorAs(t, err, &refused, "the limit is still there")
			raiseLimit(t, cfg, topic)
			require.Eventually(t, func() bool { // the new limit reaches the broker a moment later
				_, err := replayAll(t, d)
				return err == nil
			}, patient, 10*time.Millisecond)
			sent, err := replayAll(t, d)
			require.NoError(t, err)
			require.Empty(t, sent)
			records := k.ReadAll(t, topic)
			require.Len(t, records, 10_000)
			last := records[len(records)-1]
			require.Equal(t, string(valueOf(poison)), string(last.Value))
			require.Equal(t, partition, last.Partition)
		})
	}
}

func raiseLimit(t *testing.T, cfg kafka.Config, topic string) {
	t.Helper()
	client, err := admin.Connect(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	a, err := sarama.NewClusterAdminFromClient(client)
	require.NoError(t, err)
	limit := "100000"
	require.NoError(t, a.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &limit},
	}, false))
}
