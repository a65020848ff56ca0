// Package replay sends dead letters again, and reads those that stand in a
// topic.
//
// It promises that a letter counts as replayed only when a broker has
// acknowledged it, and that letters are sent one at a time in their order: a
// crash between an acknowledgement and its note sends that one letter again
// and no other.
package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"

	"logferry/internal/record"
	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
	"logferry/sink/kafka/deadletter"
)

const (
	// Tries for one record: long enough for an election, short for a person.
	sendRetries = 10
	sendBackoff = 250 * time.Millisecond
	// maxMessageBytes lets the brokers alone decide what is too large.
	maxMessageBytes = 90 << 20
)

// RefusedError says that Kafka still does not take a letter. The letters behind
// it may be sent all the same.
type RefusedError struct {
	Cause string // as in Letter.Cause
	err   error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %s", e.Cause, admin.Words(e.err)) }
func (e *RefusedError) Unwrap() error { return e.err }

// Sender sends records one at a time. It is used by one goroutine.
type Sender struct {
	client *admin.Client
	out    sarama.SyncProducer
}

// Open connects to a cluster. The context bounds that alone, so that what is
// under way when a person interrupts is sent and noted. The caller closes the
// sender.
func Open(ctx context.Context, cfg kafka.Config) (*Sender, error) {
	cfg.MaxMessageBytes = maxMessageBytes
	client, err := admin.Connect(ctx, cfg, func(c *sarama.Config) {
		c.Producer.Retry.Max, c.Producer.Retry.Backoff = sendRetries, sendBackoff
		if c.Producer.RequiredAcks == sarama.NoResponse { // nothing would be known of the letter
			c.Producer.RequiredAcks = sarama.WaitForAll
		}
	})
	if err != nil {
		return nil, err
	}
	out, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the producer: %w", err), client.Close())
	}
	return &Sender{client: client, out: out}, nil
}

// Send delivers a letter's record to topic, to the partition that it was meant
// for if the topic has that, and waits for the acknowledgement. Key, headers,
// value and time stamp are those of the record; after invalid_timestamp the
// time is now.
func (s *Sender) Send(l deadletter.Letter, topic string) (partition int32, offset int64, err error) {
	parts, err := s.client.Partitions(topic)
	if err != nil {
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return 0, 0, fmt.Errorf("%w; create it, or send to another one with --topic", admin.UnknownTopic(topic))
		}
		return 0, 0, fmt.Errorf("look up topic %q: %s", topic, admin.Words(err))
	}
	at := l.RecordTime
	if l.Cause == "invalid_timestamp" {
		at = time.Now()
	}
	return s.send(topic, l.Partition%int32(len(parts)), l.Key, l.Value, l.Headers, at)
}

func (s *Sender) send(topic string, partition int32, key, value []byte, headers []record.Header, at time.Time) (int32, int64, error) {
	m := &sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.ByteEncoder(value), Timestamp: at}
	if key != nil {
		m.Key = sarama.ByteEncoder(key)
	}
	for _, h := range headers {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
	}
	p, offset, err := s.out.SendMessage(m)
	if cause := kafka.Refusal(err); cause != "" {
		return 0, 0, &RefusedError{Cause: cause, err: err}
	} else if err != nil {
		return 0, 0, fmt.Errorf("send to topic %q: %s", topic, admin.Words(err))
	}
	return p, offset, nil
}

// Close ends the connections.
func (s *Sender) Close() error {
	return errors.Join(s.out.Close(), s.client.Close())
}

// Topic is a topic of dead letters. Which of them were replayed or dropped
// stands in the topic itself, as small records behind them.
type Topic struct {
	Config kafka.Config
	Name   string
	Log    *slog.Logger
}
