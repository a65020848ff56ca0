package localkafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// Anonymous is who a client is to brokers that ask for no login.
const Anonymous = "User:ANONYMOUS"

// MoveReplicas moves each partition of a topic to the nodes that follow its
// own, and returns when each is led by the first of them. Fewer replicas than
// nodes make data move too.
func (c *Cluster) MoveReplicas(ctx context.Context, topic string) error {
	err := c.admin(func(a sarama.ClusterAdmin) error {
		meta, err := a.DescribeTopics([]string{topic})
		if err != nil {
			return err
		}
		plan := make([][]int32, len(meta[0].Partitions))
		for _, p := range meta[0].Partitions {
			for i := range p.Replicas {
				plan[p.ID] = append(plan[p.ID], (p.Leader+1+int32(i))%int32(len(c.nodes)))
			}
		}
		if err := a.AlterPartitionReassignments(topic, plan); err != nil {
			return err
		}
		return waitMoved(ctx, a, topic, plan)
	})
	if err != nil {
		return fmt.Errorf("move replicas of topic %s: %w", topic, err)
	}
	return nil
}

// waitMoved asks for the elections until the plan is what is.
func waitMoved(ctx context.Context, a sarama.ClusterAdmin, topic string, plan [][]int32) error {
	all := make([]int32, len(plan))
	for i := range all {
		all[i] = int32(i)
	}
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		moved := 0
		meta, err := a.DescribeTopics([]string{topic})
		if err == nil {
			for _, p := range meta[0].Partitions {
				if p.Leader == plan[p.ID][0] && len(p.Replicas) == len(plan[p.ID]) {
					moved++
				}
			}
		}
		if moved == len(plan) {
			return nil
		}
		// A partition that is led already, or not yet ready, has an error of its own.
		if _, err := a.ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: all}); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Allow lets a principal do something with a topic. As soon as a topic has such
// an entry, nobody may do anything else with it. It needs an authorizer.
func (c *Cluster) Allow(topic, principal string, op sarama.AclOperation) error {
	resource := sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral}
	err := c.admin(func(a sarama.ClusterAdmin) error {
		allow := &sarama.Acl{Principal: principal, Host: "*", Operation: op, PermissionType: sarama.AclPermissionAllow}
		return a.CreateACLs([]*sarama.ResourceAcls{{Resource: resource, Acls: []*sarama.Acl{allow}}})
	})
	if err != nil {
		return fmt.Errorf("allow %s on topic %s: %w", principal, topic, err)
	}
	return nil
}

// Revoke takes back what Allow allowed.
func (c *Cluster) Revoke(topic, principal string, op sarama.AclOperation) error {
	host := "*"
	err := c.admin(func(a sarama.ClusterAdmin) error {
		gone, err := a.DeleteACL(sarama.AclFilter{
			ResourceType: sarama.AclResourceTopic, ResourceName: &topic, ResourcePatternTypeFilter: sarama.AclPatternLiteral,
			Principal: &principal, Host: &host, Operation: op, PermissionType: sarama.AclPermissionAllow,
		}, false)
		if err == nil && len(gone) == 0 {
			err = errors.New("there is no such entry")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke from %s on topic %s: %w", principal, topic, err)
	}
	return nil
}

// AddScramUser makes or changes a user whose password Kafka keeps itself.
func (c *Cluster) AddScramUser(name, password string) error {
	err := c.admin(func(a sarama.ClusterAdmin) error {
		var errs []error
		for _, m := range []sarama.ScramMechanismType{sarama.SCRAM_MECHANISM_SHA_256, sarama.SCRAM_MECHANISM_SHA_512} { // a request may name a user once
			salt := make([]byte, 16)
			_, _ = rand.Read(salt)
			results, err := a.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{
				{Name: name, Mechanism: m, Iterations: 4096, Salt: salt, Password: []byte(password)},
			})
			errs = append(errs, err)
			for _, r := range results {
				if !errors.Is(r.ErrorCode, sarama.ErrNoError) {
					errs = append(errs, r.ErrorCode)
				}
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("add user %s: %w", name, err)
	}
	return nil
}

// Reconfigure changes a dynamic setting of a node.
func (c *Cluster) Reconfigure(node int, key, value string) error {
	err := c.admin(func(a sarama.ClusterAdmin) error {
		set := map[string]sarama.IncrementalAlterConfigsEntry{key: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}
		return a.IncrementalAlterConfig(sarama.BrokerResource, fmt.Sprint(node), set, false)
	})
	if err != nil {
		return fmt.Errorf("set %s of kafka node %d: %w", key, node, err)
	}
	return nil
}
