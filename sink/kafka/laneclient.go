package kafka

import (
	"net"

	"github.com/IBM/sarama"
)

// laneClient is the client that the producer of one partition sees. It knows
// this one partition only, and its Leader waits. sarama gives up on a batch
// when it finds no leader, although the broker that went away may have stored
// it; with a leader that comes later, the batch is sent again under the
// sequence numbers that it has, and the broker can tell that it has it already.
type laneClient struct {
	sarama.Client
	cluster    *cluster
	conf       *sarama.Config
	partitions []int32 // the one
	create     *CreateTopics
	stop       <-chan struct{}
	note       func(error)
}

// Config returns the lane's own configuration.
func (c *laneClient) Config() *sarama.Config { return c.conf }

// Partitions returns the lane's one partition.
func (c *laneClient) Partitions(string) ([]int32, error) { return c.partitions, nil }

// WritablePartitions returns the lane's one partition.
func (c *laneClient) WritablePartitions(string) ([]int32, error) { return c.partitions, nil }

// Leader waits for a leader. It never fails: where waiting has no sense it
// leads into a dead end. (sarama would count failures, and after the third
// refuse everything for ten seconds.)
func (c *laneClient) Leader(topic string, partition int32) (*sarama.Broker, error) {
	b, err := c.cluster.leader(topic, partition, c.create, c.stop, c.note)
	if err != nil {
		return deadEnd(c.Client.Config(), err), nil
	}
	c.cluster.settle(b, c.stop)
	return b, nil
}

// RefreshMetadata asks for fresh metadata; when there is none, Leader deals
// with it.
func (c *laneClient) RefreshMetadata(topics ...string) error {
	if err := c.Client.RefreshMetadata(topics...); err != nil {
		c.note(err)
	}
	return nil
}

// deadEnd returns a broker that is connected to nothing and answers everything
// with cause, in a form that makes sarama give the records back.
func deadEnd(conf *sarama.Config, cause error) *sarama.Broker {
	sc := *conf
	sc.Net.Proxy.Enable, sc.Net.Proxy.Dialer = true, refusal{cause}
	b := sarama.NewBroker("nowhere:0")
	_ = b.Open(&sc) // what it says is said again by each request
	return b
}

// refusal is a dialer, and its error.
type refusal struct{ cause error }

func (r refusal) Dial(string, string) (net.Conn, error) { return nil, r }
func (r refusal) Error() string                         { return r.cause.Error() }

// Unwrap makes the refusal a PacketEncodingError too: that is the error after
// which sarama sends nothing again.
func (r refusal) Unwrap() []error {
	return []error{r.cause, sarama.PacketEncodingError{Info: "no broker"}}
}
