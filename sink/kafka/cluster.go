package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// metadataAge is how old the knowledge about a topic's partitions may become:
// so soon a grown topic is noticed.
const metadataAge = time.Minute

// cluster is one sink's view of Kafka: a sarama client whose connections can
// be ended at once, the topics that it may create, and patience. Safe for use
// from several goroutines.
type cluster struct {
	cfg    Config
	log    *slog.Logger
	client sarama.Client
	dial   *dialer
	stop   chan struct{} // closed by abort

	mu      sync.Mutex // one attempt to create a topic at a time
	looking sync.Mutex // one look-up of metadata at a time, and guards looked
	looked  map[string]look
	stopped sync.Once
}

// look is the newest look-up of a topic's metadata.
type look struct {
	at  time.Time // when it began
	err error
}

// openCluster makes the client. It contacts nobody yet.
func openCluster(cfg Config, refresh time.Duration, log *slog.Logger) (*cluster, error) {
	sc, err := cfg.Sarama()
	if err != nil {
		return nil, err
	}
	RouteLogs(log)
	c := &cluster{cfg: cfg, log: log, dial: newDialer(cfg), stop: make(chan struct{}), looked: make(map[string]look)}
	sc.Net.Proxy.Enable, sc.Net.Proxy.Dialer = true, c.dial
	cfg.login(sc, c.stop)
	// Each partition has at most one request in flight whatever the connection
	// allows, so the limit of 1 that sarama sets for idempotence would only
	// make partitions wait for each other. Lanes switch idempotence on again.
	sc.Producer.Idempotent, sc.Net.MaxOpenRequests = false, 64
	// All waiting is done here, where it can be cut short.
	sc.Metadata.Full = false
	sc.Metadata.Retry.Max = 0
	sc.Metadata.RefreshFrequency = refresh
	sc.Admin.Retry.Max = 0
	if c.client, err = sarama.NewClient(cfg.Brokers, sc); err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return c, nil
}

// abort makes every call on the cluster fail soon, whatever the brokers do.
func (c *cluster) abort() {
	c.stopped.Do(func() { close(c.stop) })
	c.dial.abort()
}

// close ends the client. The producers on it must be closed already.
func (c *cluster) close() {
	c.abort()
	_ = c.client.Close()
}

// partitions returns how many partitions topic has. A missing topic is
// created when create says so.
func (c *cluster) partitions(topic string, create *CreateTopics) (int32, error) {
	ps, err := c.client.Partitions(topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) && create != nil {
		if err := c.create(topic, *create); err != nil {
			return 0, err
		}
		ps, err = c.client.Partitions(topic)
	}
	if err != nil {
		return 0, err
	}
	if len(ps) == 0 {
		return 0, sarama.ErrLeaderNotAvailable
	}
	return int32(len(ps)), nil
}

// create makes topic, or finds that somebody else did.
func (c *cluster) create(topic string, want CreateTopics) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.client.RefreshMetadata(topic)
	if !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(c.client) // closing it would close the client
	if err != nil {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	detail := &sarama.TopicDetail{NumPartitions: orElse(want.Partitions, -1), ReplicationFactor: orElse(want.ReplicationFactor, -1)}
	err = admin.CreateTopic(topic, detail, false)
	if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	if err == nil {
		c.log.Info("topic created", "topic", topic, "partitions", detail.NumPartitions, "replication_factor", detail.ReplicationFactor)
	}
	return c.client.RefreshMetadata(topic)
}

// refresh looks a topic's metadata up, unless that was done since. Many lanes
// that fail together ask once.
func (c *cluster) refresh(topic string, since time.Time) error {
	c.looking.Lock()
	defer c.looking.Unlock()
	if last := c.looked[topic]; last.at.After(since) {
		return last.err
	}
	began := time.Now()
	err := c.client.RefreshMetadata(topic)
	c.looked[topic] = look{at: began, err: err}
	return err
}

// leader waits until the leader of a partition is known, and returns it. Each
// failed look-up is passed to note. It gives up with errStopped when the
// cluster or stop is closed, and with errPartitionGone when the topic exists
// without the partition.
func (c *cluster) leader(topic string, partition int32, create *CreateTopics, stop <-chan struct{}, note func(error)) (*sarama.Broker, error) {
	for attempt := 0; ; attempt++ {
		if c.dial.isAborted() {
			return nil, errStopped
		}
		b, err := c.client.Leader(topic, partition)
		if err == nil {
			return b, nil
		}
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			if n, perr := c.partitions(topic, create); perr == nil && partition >= n {
				return nil, errPartitionGone
			} else if perr != nil {
				err = perr
			}
		}
		note(err)
		if !c.pause(attempt, stop) {
			return nil, errStopped
		}
	}
}

// settle waits until a broker that is being opened is open, or known not to
// be. sarama marks it as open a moment before others have to wait for it; who
// comes in that moment is told that it is not connected.
func (c *cluster) settle(b *sarama.Broker, stop <-chan struct{}) {
	for range settleTries {
		if ok, err := b.Connected(); ok || err != nil || !c.wait(settlePause, stop) {
			return
		}
	}
}

const (
	settleTries = 10
	settlePause = time.Millisecond
)

// pause waits before attempt number attempt+1 (with jitter, doubling from
// retry_backoff to retry_backoff_max). It returns false at once when the
// cluster or stop is closed.
func (c *cluster) pause(attempt int, stop <-chan struct{}) bool {
	return c.wait(backoff(c.cfg.RetryBackoff, c.cfg.RetryBackoffMax, attempt), stop)
}

// wait waits for d. It returns false at once when the cluster or stop is closed.
func (c *cluster) wait(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
	case <-c.stop:
	}
	return false
}

// explain turns err into one line that ends with a remedy.
func (c *cluster) explain(err error, topic string) error {
	if c.dial.lastError() == nil {
		err = ask(c.cfg, c.client.Config(), err)
	}
	return explain(err, c.dial.lastError(), topic, c.cfg)
}
