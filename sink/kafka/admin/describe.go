package admin

import (
	"context"
	"fmt"
	"sort"

	"github.com/IBM/sarama"
)

// Description is everything about one topic.
type Description struct {
	Topic
	Layout  []Partition       `json:"layout"`            // by partition number
	Configs map[string]string `json:"configs,omitempty"` // settings that differ from the brokers' defaults
}

// Partition is one partition of a topic. Oldest is the offset of its first
// record and Newest the one that the next record will get; both are -1 when
// the partition has no leader to ask.
type Partition struct {
	ID       int32   `json:"partition"`
	Leader   int32   `json:"leader"` // broker id; -1: none
	Replicas []int32 `json:"replicas"`
	ISR      []int32 `json:"isr"`
	Oldest   int64   `json:"oldest"`
	Newest   int64   `json:"newest"`
	Error    string  `json:"error,omitempty"`
}

// Broker is one member of the cluster.
type Broker struct {
	ID         int32  `json:"id"`
	Addr       string `json:"addr"`
	Controller bool   `json:"controller,omitempty"`
}

// Describe looks at one topic. One that is not there is an ErrUnknownTopic.
func (t *Topics) Describe(ctx context.Context, name string) (Description, error) {
	defer t.client.Guard(ctx)()
	action := fmt.Sprintf("describe topic %q", name)
	metadata, err := t.metadata(name)
	if err != nil {
		return Description{}, t.fail(ctx, action, err)
	}
	if len(metadata) == 0 || metadata[0].Err == sarama.ErrUnknownTopicOrPartition {
		return Description{}, UnknownTopic(name)
	}
	m := metadata[0]
	if m.Err != sarama.ErrNoError && len(m.Partitions) == 0 {
		return Description{}, t.fail(ctx, action, m.Err)
	}
	d := Description{Topic: summary(m), Layout: layout(m)}
	t.fillOffsets(name, d.Layout)
	if d.Configs, err = t.configs(name); err != nil {
		return Description{}, t.fail(ctx, action, err)
	}
	return d, nil
}

func layout(m *sarama.TopicMetadata) []Partition {
	out := make([]Partition, 0, len(m.Partitions))
	for _, p := range m.Partitions {
		part := Partition{ID: p.ID, Leader: p.Leader, Replicas: p.Replicas, ISR: p.Isr, Oldest: -1, Newest: -1}
		if p.Err != sarama.ErrNoError {
			part.Error = Words(p.Err)
		}
		out = append(out, part)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// fillOffsets asks each partition's leader. A partition that cannot answer
// carries its own error; the others are shown all the same.
func (t *Topics) fillOffsets(topic string, parts []Partition) {
	for i := range parts {
		p := &parts[i]
		if p.Leader < 0 {
			continue
		}
		oldest, err := t.client.GetOffset(topic, p.ID, sarama.OffsetOldest)
		if err == nil {
			p.Oldest = oldest
			p.Newest, err = t.client.GetOffset(topic, p.ID, sarama.OffsetNewest)
		}
		if err != nil {
			p.Newest = -1
			p.Error = Words(err)
		}
	}
}

func (t *Topics) configs(topic string) (map[string]string, error) {
	entries, err := t.admin.DescribeConfigs(
		[]*sarama.ConfigResource{{Type: sarama.TopicResource, Name: topic}}, sarama.DescribeConfigsOptions{})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, r := range entries {
		if r.ErrorCode != 0 {
			return nil, &sarama.DescribeConfigError{Err: r.ErrorCode, ErrMsg: r.ErrorMsg}
		}
		for _, e := range r.Configs {
			if !e.Default && e.Source == sarama.SourceTopic && !e.Sensitive {
				configs[e.Name] = e.Value
			}
		}
	}
	return configs, nil
}

// Brokers returns the members of the cluster as it describes itself, by id.
func (t *Topics) Brokers(ctx context.Context) ([]Broker, error) {
	defer t.client.Guard(ctx)()
	members, controller, err := t.admin.DescribeCluster()
	if err != nil {
		return nil, t.fail(ctx, "describe the cluster", err)
	}
	out := make([]Broker, 0, len(members))
	for _, b := range members {
		out = append(out, Broker{ID: b.ID(), Addr: b.Addr(), Controller: b.ID() == controller})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}
