package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"logferry/bench/gen"
	"logferry/test/verify"
)

// reader consumes every topic of the Kafka, also those that come later, and
// checks what arrives. check is read when run has returned.
type reader struct {
	client *kgo.Client
	board  *board
	show   *show
	strict bool // whatever is not a sample line is a garbled one
	check  *verify.Checker
	topics map[string]int32
}

func newReader(brokers []string, strict bool, b *board, s *show) (*reader, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ConsumeRegex(),
		kgo.ConsumeTopics(".*"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableFetchSessions(), // Close reads a session while a fetch changes it
		kgo.FetchMaxWait(250*time.Millisecond),
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.MetadataMaxAge(500*time.Millisecond), // new topics are found that soon
	)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka consumer: %w", err)
	}
	return &reader{client: client, board: b, show: s, strict: strict, check: verify.New(), topics: map[string]int32{}}, nil
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) error {
	defer r.client.Close()
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("consume %s[%d]: %w", e.Topic, e.Partition, e.Err)
		}
		now := time.Now()
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { r.take(p.Records, now) })
	}
}

// own says that a record is of a file that the user has made.
func (r *reader) own(rec *kgo.Record) bool {
	return !r.strict && !bytes.Contains(rec.Value, []byte("?rid="))
}

// number tells partitions of different topics apart, so that a log whose
// topic was changed is not taken for one in disorder.
func (r *reader) number(rec *kgo.Record) int32 {
	const partitionsATopic = 10_000
	n, known := r.topics[rec.Topic]
	if !known {
		n = int32(len(r.topics)) * partitionsATopic
		r.topics[rec.Topic] = n
	}
	return n + rec.Partition
}

func (r *reader) take(records []*kgo.Record, now time.Time) {
	if len(records) == 0 {
		return
	}
	r.board.update(func(s *state) {
		for _, rec := range records {
			if r.own(rec) {
				s.others++
				continue
			}
			r.check.Add(r.number(rec), rec.Offset, rec.Value)
			if id, err := gen.Parse(rec.Value); err == nil {
				s.took(rec.Topic, id.Stream, id.Seq, now)
			}
		}
		last := records[len(records)-1]
		s.positions[topicPartition{last.Topic, last.Partition}] = last.Offset + 1
	})
	for _, rec := range records {
		r.show.record(r.own(rec), rec.Topic, rec.Partition, rec.Offset, rec.Value)
	}
}
