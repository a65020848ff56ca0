package console

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"

	"logferry/sink/kafka/admin"
)

// consumeGroup reads as a member of a group, through rebalances, until ctx
// ends. Closing the group commits what was marked and leaves it, so that
// other members take over at once.
func consumeGroup(ctx context.Context, client *admin.Client, d *desk, log *slog.Logger) error {
	group, err := sarama.NewConsumerGroupFromClient(d.opts.Group, client)
	if err != nil {
		return fmt.Errorf("join group %q: %s", d.opts.Group, admin.Words(err))
	}
	var watch sync.WaitGroup
	watch.Go(func() {
		for err := range group.Errors() {
			log.Warn("consuming failed, trying again", "group", d.opts.Group, "err", admin.Words(err))
		}
	})
	member := &member{desk: d}
	for ctx.Err() == nil && err == nil {
		err = group.Consume(ctx, []string{d.opts.Topic}, member)
	}
	closeErr := group.Close()
	watch.Wait()
	switch {
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("consume in group %q: %s", d.opts.Group, admin.Words(err))
	case closeErr != nil:
		return fmt.Errorf("leave group %q: %s", d.opts.Group, admin.Words(closeErr))
	}
	return nil
}

// member handles the partitions that the group assigns.
type member struct{ desk *desk }

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim runs on a goroutine of its own for each partition.
func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case msg, open := <-claim.Messages():
			if !open || !m.desk.take(msg) {
				return nil
			}
			if !m.desk.opts.NoCommit {
				s.MarkMessage(msg, "")
			}
		}
	}
}
