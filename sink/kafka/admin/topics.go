// Package admin looks at the topics of a Kafka cluster and creates and
// deletes them, for people and scripts.
//
// It promises errors that can be acted on: a topic that exists or does not is
// told apart from a cluster that cannot be reached, and the latter names each
// broker, why it did not answer, and for how long it was tried. Every
// operation ends when its context does, also when a broker stays silent.
package admin

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/IBM/sarama"

	"logferry/sink/kafka"
)

// leaderPoll is the pause between looks at a new topic's partitions.
const leaderPoll = 50 * time.Millisecond

// Topics manages the topics of one cluster. Its methods may be called from
// several goroutines; when the context of one of them ends before it is
// finished, the connections are cut and Topics is of no more use.
type Topics struct {
	client *Client
	admin  sarama.ClusterAdmin
	wait   time.Duration
}

// New connects to the cluster of cfg. See Connect for its errors.
func New(ctx context.Context, cfg kafka.Config) (*Topics, error) {
	client, err := Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer client.Guard(ctx)()
	ca, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("find the cluster's controller: %s", Words(err))
	}
	return &Topics{client: client, admin: ca, wait: client.Config().Net.ReadTimeout}, nil
}

// Close ends the connections.
func (t *Topics) Close() error { return t.client.Close() }

// Topic is one topic, as List shows it.
type Topic struct {
	Name              string `json:"name"`
	Partitions        int    `json:"partitions"`
	ReplicationFactor int    `json:"replication_factor"`
	Internal          bool   `json:"internal,omitempty"`
	Error             string `json:"error,omitempty"` // why the brokers did not describe it
}

// Create makes a topic and returns when each of its partitions has a leader.
// Zero partitions or a zero replication factor mean the brokers' default.
// Configs are topic settings such as "retention.ms"; it may be nil. A topic
// that is there already is an ErrTopicExists.
func (t *Topics) Create(ctx context.Context, name string, partitions int32, rf int16, configs map[string]string) error {
	defer t.client.Guard(ctx)()
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: rf}
	if partitions == 0 {
		detail.NumPartitions = -1
	}
	if rf == 0 {
		detail.ReplicationFactor = -1
	}
	if len(configs) > 0 {
		detail.ConfigEntries = make(map[string]*string, len(configs))
		for k, v := range configs {
			detail.ConfigEntries[k] = &v
		}
	}
	err := t.admin.CreateTopic(name, detail, false)
	switch {
	case errors.Is(err, sarama.ErrTopicAlreadyExists):
		return saidf(ErrTopicExists, "topic %q already exists", name)
	case err != nil:
		return t.fail(ctx, fmt.Sprintf("create topic %q", name), err)
	}
	return t.awaitLeaders(ctx, name)
}

// awaitLeaders bridges the moment in which a new topic is not yet known to
// every broker.
func (t *Topics) awaitLeaders(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, t.wait)
	defer cancel()
	ticker := time.NewTicker(leaderPoll)
	defer ticker.Stop()
	for {
		if d, err := t.metadata(name); err == nil && len(d) == 1 && hasLeaders(d[0]) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("create topic %q: created, but its partitions have no leader after %s", name, roundTime(t.wait))
		}
	}
}

func hasLeaders(m *sarama.TopicMetadata) bool {
	for _, p := range m.Partitions {
		if p.Leader < 0 || p.Err != sarama.ErrNoError {
			return false
		}
	}
	return m.Err == sarama.ErrNoError && len(m.Partitions) > 0
}

// List returns every topic of the cluster, by name.
func (t *Topics) List(ctx context.Context) ([]Topic, error) {
	defer t.client.Guard(ctx)()
	metadata, err := t.metadata()
	if err != nil {
		return nil, t.fail(ctx, "list topics", err)
	}
	topics := make([]Topic, 0, len(metadata))
	for _, m := range metadata {
		topics = append(topics, summary(m))
	}
	sort.Slice(topics, func(i, j int) bool { return topics[i].Name < topics[j].Name })
	return topics, nil
}

func summary(m *sarama.TopicMetadata) Topic {
	t := Topic{Name: m.Name, Partitions: len(m.Partitions), Internal: m.IsInternal}
	for _, p := range m.Partitions {
		t.ReplicationFactor = max(t.ReplicationFactor, len(p.Replicas))
	}
	if m.Err != sarama.ErrNoError {
		t.Error = Words(m.Err)
	}
	return t
}

// Delete removes a topic with all that is in it. One that is not there is an
// ErrUnknownTopic.
func (t *Topics) Delete(ctx context.Context, name string) error {
	defer t.client.Guard(ctx)()
	err := t.admin.DeleteTopic(name)
	switch {
	case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
		return UnknownTopic(name)
	case err != nil:
		return t.fail(ctx, fmt.Sprintf("delete topic %q", name), err)
	}
	return nil
}

// metadata asks for the named topics, or for all.
func (t *Topics) metadata(names ...string) ([]*sarama.TopicMetadata, error) {
	return t.admin.DescribeTopics(names)
}

// fail puts err into words. A context that ended says more than the broken
// connection that followed from it.
func (t *Topics) fail(ctx context.Context, action string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", action, context.Cause(ctx))
	}
	if isTimeout(err) {
		return saidf(ErrUnreachable, "%s: no answer from the broker within %s", action, roundTime(t.wait))
	}
	return fmt.Errorf("%s: %s", action, Words(err))
}
