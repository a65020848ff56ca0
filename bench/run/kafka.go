package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"logferry/test/kafkatest/localkafka"
)

// brokerJVM is a broker with the full compiler and room for the page cache's
// traffic, so that it is not what is measured.
var brokerJVM = []string{"-Xms768m", "-Xmx768m", "-XX:+UseG1GC"}

// brokerProperties let deleted topics go at once, so that the disk does not
// fill up.
var brokerProperties = map[string]string{
	"log.segment.delete.delay.ms": "100",
	"file.delete.delay.ms":        "100",
}

// useCluster starts real Kafka with so many nodes, or keeps the one that runs
// if it has as many. A new one is warmed up: a broker is compiled while it
// works.
func (b *bench) useCluster(ctx context.Context, nodes int) error {
	if b.cluster != nil && b.cluster.Nodes() == nodes {
		return nil
	}
	if err := b.closeCluster(); err != nil {
		return err
	}
	b.log.Info("starting kafka", "nodes", nodes)
	start, cancel := context.WithTimeout(ctx, 5*time.Minute) // Maven may fetch it first
	defer cancel()
	var err error
	b.cluster, err = localkafka.Start(start, localkafka.Config{Nodes: nodes, JVM: brokerJVM, Properties: brokerProperties})
	if err != nil {
		return err
	}
	b.client, err = sarama.NewClient(b.cluster.Brokers(), clientConfig())
	if err != nil {
		return fmt.Errorf("connect to kafka: %w", err)
	}
	return b.warmUp(ctx)
}

func (b *bench) closeCluster() error {
	if b.cluster == nil {
		return nil
	}
	var err error
	if b.client != nil {
		err = b.client.Close()
	}
	err = errors.Join(err, b.cluster.Close())
	b.cluster, b.client = nil, nil
	return err
}

func clientConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.ClientID = "logferry-bench"
	conf.Version = sarama.V2_8_0_0
	conf.Metadata.AllowAutoTopicCreation = false
	conf.Metadata.Full = false
	conf.Consumer.Fetch.Min = 1
	return conf
}

// topic creates a topic that no run has used before, and waits until its
// leaders answer.
func (b *bench) topic(ctx context.Context, partitions int32) (string, error) {
	b.topics++
	name := fmt.Sprintf("bench-%d", b.topics)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.cluster.CreateTopic(ctx, localkafka.Topic{Name: name, Partitions: partitions}); err != nil {
		return "", err
	}
	if err := b.client.RefreshMetadata(name); err != nil {
		return "", err
	}
	e, err := newEnds(b.client, []string{name})
	if err != nil {
		return "", err
	}
	return name, e.ready(ctx)
}

func (b *bench) deleteTopics(names []string) error {
	var errs []error
	for _, n := range names {
		errs = append(errs, b.cluster.DeleteTopic(n))
	}
	return errors.Join(errs...)
}

// ends asks where topics end: how many records each holds, by the high
// watermark, behind which everything is acknowledged. It costs one request a
// broker.
type ends struct {
	client sarama.Client
	topics []string
	leader map[*sarama.Broker]map[string][]int32 // partitions by who leads them
}

func newEnds(client sarama.Client, topics []string) (*ends, error) {
	e := &ends{client: client, topics: topics, leader: map[*sarama.Broker]map[string][]int32{}}
	for _, t := range topics {
		partitions, err := client.Partitions(t)
		if err != nil {
			return nil, fmt.Errorf("count topic %s: %w", t, err)
		}
		for _, p := range partitions {
			l, err := client.Leader(t, p)
			if err != nil {
				return nil, fmt.Errorf("count topic %s: %w", t, err)
			}
			if e.leader[l] == nil {
				e.leader[l] = map[string][]int32{}
			}
			e.leader[l][t] = append(e.leader[l][t], p)
		}
	}
	return e, nil
}

// ready waits until the leaders of a new topic know that they are leaders.
func (e *ends) ready(ctx context.Context) error {
	for {
		_, _, err := e.count()
		if err == nil {
			return nil
		}
		if stop := pause(ctx, pollEvery); stop != nil {
			return errors.Join(stop, err)
		}
	}
}

// count returns the number of records by topic, and their sum.
func (e *ends) count() (byTopic map[string]int64, sum int64, err error) {
	byTopic = map[string]int64{}
	for broker, led := range e.leader {
		req := &sarama.OffsetRequest{Version: 1}
		for topic, partitions := range led {
			for _, p := range partitions {
				req.AddBlock(topic, p, sarama.OffsetNewest, 1)
			}
		}
		resp, err := broker.GetAvailableOffsets(req)
		if err != nil {
			return nil, 0, fmt.Errorf("ask where topics end: %w", err)
		}
		for topic, partitions := range led {
			for _, p := range partitions {
				block := resp.GetBlock(topic, p)
				if block == nil {
					return nil, 0, fmt.Errorf("ask where topic %s partition %d ends: %w", topic, p, sarama.ErrIncompleteResponse)
				}
				if !errors.Is(block.Err, sarama.ErrNoError) {
					return nil, 0, fmt.Errorf("ask where topic %s partition %d ends: %w", topic, p, block.Err)
				}
				byTopic[topic] += block.Offset
				sum += block.Offset
			}
		}
	}
	return byTopic, sum, nil
}
