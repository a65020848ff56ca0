package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/IBM/sarama"

	"logferry/sink/kafka/admin"
)

// consumePartitions reads the chosen partitions side by side until ctx ends
// or, with UntilEnd, each has been read to its end.
func consumePartitions(ctx context.Context, client *admin.Client, d *desk, all []int32, log *slog.Logger) error {
	parts := d.opts.Partitions
	if len(parts) == 0 {
		parts = all
	}
	for _, id := range parts {
		if !slices.Contains(all, id) {
			return fmt.Errorf("topic %q has no partition %d: it has %d, counted from 0", d.opts.Topic, id, len(all))
		}
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return fmt.Errorf("start the consumer: %s", admin.Words(err))
	}
	defer func() { _ = consumer.Close() }()

	streams := make([]*stream, 0, len(parts))
	defer func() {
		for _, s := range streams {
			_ = s.pc.Close()
		}
	}()
	for _, id := range parts {
		s, err := openStream(client, consumer, d.opts, id)
		if err != nil {
			return err
		}
		if s != nil {
			streams = append(streams, s)
		}
	}
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() { s.run(ctx, d, log) })
	}
	wg.Wait()
	return nil
}

// stream is one partition being read. End is the offset to stop before; -1
// means never.
type stream struct {
	pc  sarama.PartitionConsumer
	id  int32
	end int64
}

// openStream begins to read one partition. It is nil when there is nothing
// to read before the end.
func openStream(client sarama.Client, consumer sarama.Consumer, opts ConsumeOptions, id int32) (*stream, error) {
	s := &stream{id: id, end: -1}
	if opts.UntilEnd {
		oldest, newest, err := bounds(client, opts.Topic, id)
		if err != nil {
			return nil, err
		}
		if s.end = newest; oldest >= newest || opts.From == FromNewest || opts.From == newest {
			return nil, nil
		}
	}
	pc, err := consumer.ConsumePartition(opts.Topic, id, opts.From)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		oldest, newest, err := bounds(client, opts.Topic, id)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("partition %d of topic %q has no offset %d: it holds %d up to, but not including, %d",
			id, opts.Topic, opts.From, oldest, newest)
	}
	if err != nil {
		return nil, fmt.Errorf("read partition %d of topic %q: %s", id, opts.Topic, admin.Words(err))
	}
	s.pc = pc
	return s, nil
}

func bounds(client sarama.Client, topic string, id int32) (oldest, newest int64, err error) {
	oldest, err = client.GetOffset(topic, id, sarama.OffsetOldest)
	if err == nil {
		newest, err = client.GetOffset(topic, id, sarama.OffsetNewest)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look up the offsets of partition %d of topic %q: %s", id, topic, admin.Words(err))
	}
	return oldest, newest, nil
}

func (s *stream) run(ctx context.Context, d *desk, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-s.pc.Errors():
			if !open {
				return
			}
			log.Warn("consuming failed, trying again", "topic", e.Topic, "partition", e.Partition, "err", admin.Words(e.Err))
		case m, open := <-s.pc.Messages():
			if !open || !d.take(m) {
				return
			}
			if s.end >= 0 && m.Offset+1 >= s.end {
				return
			}
		}
	}
}
