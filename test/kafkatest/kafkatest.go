// Package kafkatest gives tests real Apache Kafka brokers.
//
// A package that uses it has one line in its tests, which also verifies that
// no goroutine is left:
//
//	func TestMain(m *testing.M) { kafkatest.Main(m) }
//
// A test then asks for the brokers that all tests of its package share, or,
// when it pauses or kills brokers or needs other settings, for its own:
//
//	k := kafkatest.Shared(t)
//	topic := k.NewTopic(t, 3)
//
//	k := kafkatest.Start(t, kafkatest.WithNodes(3), kafkatest.WithProperty("min.insync.replicas", "2"))
//	k.Kill(t, 0)
//	k.Restart(t, 0)
//
// On a machine without Java (or without Maven and never having run these tests
// before) the test is skipped, and says so on stderr; with CI=true or
// LOGFERRY_REQUIRE_REAL=1 it fails.
package kafkatest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"logferry/test/kafkatest/kafkaread"
	"logferry/test/kafkatest/localkafka"
)

// patience bounds each single step: a start, a restart, reading a topic.
const patience = 5 * time.Minute

// Cluster is a running cluster whose methods fail the test instead of
// returning errors. Its nodes are numbered from 0; node i is the broker with
// id i. It may be used from the test's goroutine only, save for Brokers.
type Cluster struct {
	*localkafka.Cluster

	shared bool
}

// Option changes what Start starts.
type Option func(*localkafka.Config)

// WithNodes asks for n nodes; default 1.
func WithNodes(n int) Option { return func(c *localkafka.Config) { c.Nodes = n } }

// WithProperty sets a line of each node's server.properties.
func WithProperty(key, value string) Option {
	return func(c *localkafka.Config) {
		c.Properties = maps.Clone(c.Properties)
		if c.Properties == nil {
			c.Properties = map[string]string{}
		}
		c.Properties[key] = value
	}
}

// WithJVM replaces the options of the java processes.
func WithJVM(options ...string) Option { return func(c *localkafka.Config) { c.JVM = options } }

// WithFronts puts nodes behind proxies: see localkafka.Config.Fronts.
func WithFronts(addrs ...string) Option {
	return func(c *localkafka.Config) { c.Fronts = addrs }
}

// WithAuthorizer has the brokers look at access lists. What no list mentions is
// open to everybody.
func WithAuthorizer() Option {
	authorizer := WithProperty("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
	open := WithProperty("allow.everyone.if.no.acl.found", "true")
	return func(c *localkafka.Config) { authorizer(c); open(c) }
}

// WithListener adds a door to each node; see localkafka.Listener.
func WithListener(l localkafka.Listener) Option {
	return func(c *localkafka.Config) { c.Listeners = append(c.Listeners, l) }
}

// Start starts a cluster for this test alone and stops it at the test's end.
// Its data and logs live in t.TempDir().
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	cfg := localkafka.Config{Dir: t.TempDir()}
	for _, o := range opts {
		o(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := localkafka.Start(ctx, cfg)
	if err != nil {
		unavailable(t, err)
	}
	used.add(t)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("stop kafka: %v", err)
		}
	})
	return &Cluster{Cluster: c}
}

// step runs one operation with its bound and fails the test on an error.
func step(t testing.TB, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatal(err)
	}
}

// Pause freezes a node until Continue: its connections stay open and nothing
// answers.
func (c *Cluster) Pause(t testing.TB, node int) {
	t.Helper()
	c.mend(t, node)
	step(t, func(context.Context) error { return c.Cluster.Pause(node) })
}

// Continue lets a paused node run on.
func (c *Cluster) Continue(t testing.TB, node int) {
	t.Helper()
	step(t, func(context.Context) error { return c.Cluster.Continue(node) })
}

// Kill ends a node with SIGKILL.
func (c *Cluster) Kill(t testing.TB, node int) {
	t.Helper()
	c.mend(t, node)
	step(t, func(context.Context) error { return c.Cluster.Kill(node) })
}

// Stop ends a node with SIGTERM and waits for its graceful shutdown.
func (c *Cluster) Stop(t testing.TB, node int) {
	t.Helper()
	c.mend(t, node)
	step(t, func(ctx context.Context) error { return c.Cluster.Stop(ctx, node) })
}

// Restart starts nodes that are down, on their old data and ports, and returns
// when they serve again.
func (c *Cluster) Restart(t testing.TB, nodes ...int) {
	t.Helper()
	step(t, func(ctx context.Context) error { return c.Cluster.Restart(ctx, nodes...) })
}

// RestartElsewhere is Restart with a new client port for each of the nodes.
func (c *Cluster) RestartElsewhere(t testing.TB, nodes ...int) {
	t.Helper()
	step(t, func(ctx context.Context) error { return c.Cluster.RestartElsewhere(ctx, nodes...) })
}

// mend sees to it that a test which disturbs the shared cluster leaves it
// whole to the next.
func (c *Cluster) mend(t testing.TB, node int) {
	if !c.shared {
		return
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var err error
		switch state, _ := c.State(node); state {
		case localkafka.Paused:
			err = c.Cluster.Continue(node)
		case localkafka.Down:
			err = c.Cluster.Restart(ctx, node)
		}
		if err != nil {
			t.Errorf("mend the shared cluster: %v", err)
		}
	})
}

// CreateTopic creates a topic and waits until each partition has a leader.
// 0 replicas are as many as there are nodes, at most 3. config may be nil.
func (c *Cluster) CreateTopic(t testing.TB, name string, partitions int32, replicas int16, config map[string]string) {
	t.Helper()
	step(t, func(ctx context.Context) error {
		return c.Cluster.CreateTopic(ctx, localkafka.Topic{Name: name, Partitions: partitions, ReplicationFactor: replicas, Config: config})
	})
}

// NewTopic creates a topic with a name of its own, made from the test's, and
// returns the name.
func (c *Cluster) NewTopic(t testing.TB, partitions int32) string {
	t.Helper()
	name := TopicName(t)
	c.CreateTopic(t, name, partitions, 0, nil)
	return name
}

var notInTopicNames = regexp.MustCompile(`[^a-zA-Z0-9-]+`)

// TopicName makes a topic name that no other test uses.
func TopicName(t testing.TB) string {
	name := notInTopicNames.ReplaceAllString(t.Name(), "-")
	if len(name) > 200 {
		name = name[:200]
	}
	return fmt.Sprintf("%s-%08x", name, rand.Uint32())
}

// LimitProducers makes the brokers slow: each holds every client id to so many
// bytes a second. The limit ends with the test.
func (c *Cluster) LimitProducers(t testing.TB, bytesPerSecond int) {
	t.Helper()
	step(t, func(context.Context) error { return c.Cluster.LimitProducers(bytesPerSecond) })
	if c.shared {
		t.Cleanup(func() {
			if err := c.Cluster.LimitProducers(0); err != nil {
				t.Errorf("mend the shared cluster: %v", err)
			}
		})
	}
}

// Each calls fn for each record that the topic holds now, partition by
// partition, in offset order.
func (c *Cluster) Each(t testing.TB, topic string, fn func(kafkaread.Record)) {
	t.Helper()
	step(t, func(ctx context.Context) error {
		return kafkaread.Each(ctx, c.Brokers(), topic, func(r kafkaread.Record) error { fn(r); return nil })
	})
}

// ReadAll returns all records that the topic holds now. For more than some
// thousands, Each is the better choice.
func (c *Cluster) ReadAll(t testing.TB, topic string) []kafkaread.Record {
	t.Helper()
	var out []kafkaread.Record
	c.Each(t, topic, func(r kafkaread.Record) { out = append(out, r) })
	return out
}

// Count says how many records the topic holds now, by its offsets.
func (c *Cluster) Count(t testing.TB, topic string) int64 {
	t.Helper()
	var n int64
	step(t, func(ctx context.Context) (err error) {
		n, err = kafkaread.Count(ctx, c.Brokers(), topic)
		return err
	})
	return n
}

// WaitCount waits until the topic holds at least want records, and fails the
// test when it does not in time.
func (c *Cluster) WaitCount(t testing.TB, topic string, want int64, timeout time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if n, err := waitCount(ctx, c.Brokers(), topic, want); err != nil {
		t.Fatalf("topic %s holds %d of %d records after %v: %v", topic, n, want, timeout, err)
	}
}

func waitCount(ctx context.Context, brokers []string, topic string, want int64) (n int64, err error) {
	r, err := kafkaread.Open(brokers, topic)
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// An error here is the end of ctx; n stays at the last good answer.
		got, err := r.Pending(ctx)
		if err != nil {
			return n, err
		}
		if n = got; n >= want {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-tick.C:
		}
	}
}
