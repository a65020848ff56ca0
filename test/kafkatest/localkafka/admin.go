package localkafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// Topic says how to create a topic.
type Topic struct {
	Name              string
	Partitions        int32             // default 1
	ReplicationFactor int16             // default min(nodes, 3)
	Config            map[string]string // e.g. "min.insync.replicas": "2"
}

func clientConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "logferry-test"
	conf.Version = sarama.V2_8_0_0
	conf.Net.DialTimeout = 5 * time.Second
	conf.Net.ReadTimeout = 15 * time.Second
	conf.Metadata.AllowAutoTopicCreation = false
	conf.Metadata.RefreshFrequency = 0
	conf.Metadata.Retry.Max = 0
	conf.Admin.Timeout = 10 * time.Second
	return conf
}

// CreateTopic creates a topic and returns when each partition has a leader
// that all nodes know of.
func (c *Cluster) CreateTopic(ctx context.Context, topic Topic) error {
	detail := &sarama.TopicDetail{
		NumPartitions:     max(topic.Partitions, 1),
		ReplicationFactor: topic.ReplicationFactor,
		ConfigEntries:     map[string]*string{},
	}
	if detail.ReplicationFactor == 0 {
		detail.ReplicationFactor = int16(min(len(c.nodes), 3))
	}
	for k, v := range topic.Config {
		detail.ConfigEntries[k] = &v
	}
	err := c.admin(func(a sarama.ClusterAdmin) error { return a.CreateTopic(topic.Name, detail, false) })
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic.Name, err)
	}
	for _, n := range c.nodes {
		if s, _ := c.State(n.id); s != Running {
			continue
		}
		if err := n.waitTopic(ctx, topic.Name, int(detail.NumPartitions)); err != nil {
			return fmt.Errorf("create topic %s: %w", topic.Name, err)
		}
	}
	return nil
}

// DeleteTopic deletes a topic.
func (c *Cluster) DeleteTopic(name string) error {
	if err := c.admin(func(a sarama.ClusterAdmin) error { return a.DeleteTopic(name) }); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	return nil
}

// LimitProducers makes the brokers slow: each holds every client id to so many
// bytes a second, by delaying its answers. 0 takes the limit away.
func (c *Cluster) LimitProducers(bytesPerSecond int) error {
	everyClient := []sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityClientID, MatchType: sarama.QuotaMatchDefault}}
	op := sarama.ClientQuotasOp{Key: "producer_byte_rate", Value: float64(bytesPerSecond), Remove: bytesPerSecond == 0}
	err := c.admin(func(a sarama.ClusterAdmin) error { return a.AlterClientQuotas(everyClient, op, false) })
	if err != nil {
		return fmt.Errorf("limit producers: %w", err)
	}
	return nil
}

func (c *Cluster) admin(do func(sarama.ClusterAdmin) error) error {
	a, err := sarama.NewClusterAdmin(c.Brokers(), clientConfig())
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.Close())
}

// waitTopic asks this node until it names a leader for each partition.
func (n *node) waitTopic(ctx context.Context, topic string, partitions int) error {
	conf := clientConfig()
	b := sarama.NewBroker(n.addr())
	if err := b.Open(conf); err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		resp, err := b.GetMetadata(sarama.NewMetadataRequest(conf.Version, []string{topic}))
		if err != nil {
			return err
		}
		if led(resp, topic) == partitions {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for its leaders on node %d: %w", n.id, ctx.Err())
		case <-tick.C:
		}
	}
}

// led counts the partitions that have a leader.
func led(resp *sarama.MetadataResponse, topic string) int {
	count := 0
	for _, t := range resp.Topics {
		if t.Name != topic {
			continue
		}
		for _, p := range t.Partitions {
			if errors.Is(p.Err, sarama.ErrNoError) && p.Leader >= 0 {
				count++
			}
		}
	}
	return count
}
