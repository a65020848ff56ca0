// Package kafkaread reads whole topics back: from their first record to where
// they end now, partition by partition, in offset order.
//
// It is for checking what arrived, on any broker that speaks Kafka's protocol.
// Records go to a callback one by one, so that a topic of millions costs the
// memory of one fetch; there is no consumer group and nothing is committed.
package kafkaread

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

const (
	firstFetchBytes = 1 << 20
	maxFetchBytes   = 64 << 20
	retryPause      = 100 * time.Millisecond
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a topic. Its bytes may be kept; they share a buffer
// with the records of their batch, which then stays in memory.
type Record struct {
	Partition int32
	Offset    int64
	Time      time.Time // create time, or append time where the topic says so
	Key       []byte    // nil: none
	Value     []byte    // nil: a tombstone
	Headers   []Header
}

// Reader reads one topic and remembers how far it came, so that each Drain
// yields what was added since the last. It must not be used from several
// goroutines at once.
type Reader struct {
	topic  string
	client sarama.Client
	next   map[int32]int64 // offset to read next
}

// Open connects to a cluster. The topic must exist by the first Drain.
func Open(brokers []string, topic string) (*Reader, error) {
	client, err := sarama.NewClient(brokers, config())
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", brokers, err)
	}
	return &Reader{topic: topic, client: client, next: map[int32]int64{}}, nil
}

func config() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "logferry-test-reader"
	conf.Version = sarama.V2_8_0_0
	conf.Net.DialTimeout = 5 * time.Second
	conf.Net.ReadTimeout = 10 * time.Second
	conf.Metadata.AllowAutoTopicCreation = false
	conf.Metadata.Full = false
	conf.Metadata.RefreshFrequency = 0
	conf.Metadata.Retry.Max = 0
	return conf
}

// Close ends the connections.
func (r *Reader) Close() error { return r.client.Close() }

// Drain calls fn for each record that the topic holds at this moment and that
// an earlier call has not passed on. It ends with fn's error if there is one.
// Brokers that are away are waited for until ctx ends.
func (r *Reader) Drain(ctx context.Context, fn func(Record) error) error {
	partitions, err := r.partitions(ctx)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", r.topic, err)
	}
	for _, p := range partitions {
		if err := r.drainPartition(ctx, p, fn); err != nil {
			return fmt.Errorf("read topic %s partition %d: %w", r.topic, p, err)
		}
	}
	return nil
}

// Pending says how many records Drain would pass on now, as the difference of
// offsets: compacted and transactional topics hold fewer.
func (r *Reader) Pending(ctx context.Context) (int64, error) {
	var total int64
	partitions, err := r.partitions(ctx)
	if err != nil {
		return 0, fmt.Errorf("count topic %s: %w", r.topic, err)
	}
	for _, p := range partitions {
		from, to, err := r.span(ctx, p)
		if err != nil {
			return 0, fmt.Errorf("count topic %s partition %d: %w", r.topic, p, err)
		}
		total += to - from
	}
	return total, nil
}

func (r *Reader) partitions(ctx context.Context) ([]int32, error) {
	return retried(ctx, r, func() ([]int32, error) {
		if err := r.client.RefreshMetadata(r.topic); err != nil {
			return nil, err
		}
		return r.client.Partitions(r.topic)
	})
}

// span is the range of offsets that is not yet read: first, and behind last.
func (r *Reader) span(ctx context.Context, partition int32) (from, to int64, err error) {
	offset := func(which int64) func() (int64, error) {
		return func() (int64, error) { return r.client.GetOffset(r.topic, partition, which) }
	}
	if to, err = retried(ctx, r, offset(sarama.OffsetNewest)); err != nil {
		return 0, 0, err
	}
	from, known := r.next[partition]
	if !known {
		if from, err = retried(ctx, r, offset(sarama.OffsetOldest)); err != nil {
			return 0, 0, err
		}
	}
	return from, to, nil
}

func (r *Reader) drainPartition(ctx context.Context, partition int32, fn func(Record) error) error {
	from, to, err := r.span(ctx, partition)
	if err != nil {
		return err
	}
	r.next[partition] = from
	size := int32(firstFetchBytes)
	for r.next[partition] < to {
		at := r.next[partition]
		block, err := retried(ctx, r, func() (*sarama.FetchResponseBlock, error) { return r.fetch(partition, at, size) })
		if err != nil {
			return err
		}
		if err := r.deliver(block, partition, to, fn); err != nil {
			return err
		}
		if r.next[partition] == at && size < maxFetchBytes {
			size *= 2
		}
	}
	return ctx.Err()
}

// fetch asks the partition's leader for the batches from offset on.
func (r *Reader) fetch(partition int32, offset int64, size int32) (*sarama.FetchResponseBlock, error) {
	leader, err := r.client.Leader(r.topic, partition)
	if err != nil {
		return nil, err
	}
	req := &sarama.FetchRequest{
		Version:      11,
		MinBytes:     1,
		MaxBytes:     size,
		MaxWaitTime:  500,
		SessionEpoch: -1,
	}
	req.AddBlock(r.topic, partition, offset, size, -1)
	resp, err := leader.Fetch(req)
	if err != nil {
		_ = leader.Close() // Leader opens it again
		return nil, err
	}
	block := resp.GetBlock(r.topic, partition)
	switch {
	case block == nil:
		return nil, sarama.ErrIncompleteResponse
	case !errors.Is(block.Err, sarama.ErrNoError):
		return nil, block.Err
	}
	return block, nil
}

// deliver passes on the records below offset to, and moves r.next behind each.
func (r *Reader) deliver(block *sarama.FetchResponseBlock, partition int32, to int64, fn func(Record) error) error {
	for _, set := range block.RecordsSet {
		b := set.RecordBatch
		if b == nil {
			return errors.New("message format before Kafka 0.11")
		}
		if b.PartialTrailingRecord {
			return nil
		}
		for _, rec := range b.Records {
			offset := b.FirstOffset + rec.OffsetDelta
			if b.Control || offset < r.next[partition] {
				continue
			}
			if offset >= to {
				return nil
			}
			if err := fn(toRecord(b, rec, partition, offset)); err != nil {
				return err
			}
			r.next[partition] = offset + 1
		}
		r.next[partition] = max(r.next[partition], b.LastOffset()+1)
	}
	return nil
}

func toRecord(b *sarama.RecordBatch, rec *sarama.Record, partition int32, offset int64) Record {
	out := Record{
		Partition: partition,
		Offset:    offset,
		Time:      b.FirstTimestamp.Add(rec.TimestampDelta),
		Key:       rec.Key,
		Value:     rec.Value,
	}
	if b.LogAppendTime {
		out.Time = b.MaxTimestamp
	}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, Header{Key: string(h.Key), Value: h.Value})
	}
	return out
}

// retried repeats do until it works, ctx ends, or the error is one that
// waiting does not heal.
func retried[T any](ctx context.Context, r *Reader, do func() (T, error)) (T, error) {
	for {
		v, err := do()
		if err == nil {
			return v, nil
		}
		if errors.Is(err, sarama.ErrOffsetOutOfRange) || errors.Is(err, sarama.ErrTopicAuthorizationFailed) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, fmt.Errorf("%w (last error: %w)", ctx.Err(), err)
		case <-time.After(retryPause):
		}
		_ = r.client.RefreshMetadata(r.topic)
	}
}

// Each calls fn for each record that the topic holds now, as Reader.Drain.
func Each(ctx context.Context, brokers []string, topic string, fn func(Record) error) error {
	r, err := Open(brokers, topic)
	if err != nil {
		return err
	}
	return errors.Join(r.Drain(ctx, fn), r.Close())
}

// Count says how many records the topic holds now, as Reader.Pending.
func Count(ctx context.Context, brokers []string, topic string) (int64, error) {
	r, err := Open(brokers, topic)
	if err != nil {
		return 0, err
	}
	n, err := r.Pending(ctx)
	return n, errors.Join(err, r.Close())
}
