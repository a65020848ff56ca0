package kafkatest

import (
	"context"
	"testing"

	"github.com/IBM/sarama"

	"logferry/test/kafkatest/localkafka"
)

// MoveReplicas moves the partitions of a topic, and their leaders, to other nodes.
func (c *Cluster) MoveReplicas(t testing.TB, topic string) {
	t.Helper()
	step(t, func(ctx context.Context) error { return c.Cluster.MoveReplicas(ctx, topic) })
}

// DeleteTopic deletes a topic.
func (c *Cluster) DeleteTopic(t testing.TB, name string) {
	t.Helper()
	step(t, func(context.Context) error { return c.Cluster.DeleteTopic(name) })
}

// AllowReading lets everybody read a topic, and nobody write to it.
// It needs WithAuthorizer, as do AllowWriting and ForbidWriting.
func (c *Cluster) AllowReading(t testing.TB, topic string) {
	t.Helper()
	step(t, func(context.Context) error {
		return c.Allow(topic, localkafka.Anonymous, sarama.AclOperationRead)
	})
}

// AllowWriting lets everybody write to a topic.
func (c *Cluster) AllowWriting(t testing.TB, topic string) {
	t.Helper()
	step(t, func(context.Context) error {
		return c.Allow(topic, localkafka.Anonymous, sarama.AclOperationWrite)
	})
}

// ForbidWriting takes AllowWriting back.
func (c *Cluster) ForbidWriting(t testing.TB, topic string) {
	t.Helper()
	step(t, func(context.Context) error {
		return c.Revoke(topic, localkafka.Anonymous, sarama.AclOperationWrite)
	})
}

// Behind is where a proxy in front of a node connects to.
func (c *Cluster) Behind(t testing.TB, node int) string {
	t.Helper()
	addr, err := c.Cluster.Behind(node)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
