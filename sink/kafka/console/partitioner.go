package console

import (
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
)

// Partitioners are the rules that a record sent by hand can follow. The
// agent's `file` and `sticky` work on batches of a file and have no meaning
// for single lines.
var Partitioners = []string{"hash", "reference_hash", "crc32", "murmur2", "round_robin", "random", "manual"}

// Validate says what cannot go together.
func (o ProduceOptions) Validate() error {
	if o.Topic == "" {
		return errors.New("a topic is needed")
	}
	if o.Partition != nil && *o.Partition < 0 {
		return errors.New("a partition is 0 or more")
	}
	_, err := newPartitioner(&o)
	return err
}

// newPartitioner resolves the partitioner and its partition.
func newPartitioner(opts *ProduceOptions) (sarama.PartitionerConstructor, error) {
	name := opts.Partitioner
	if name == "" {
		name = "hash"
		if opts.Partition != nil {
			name = "manual"
		}
	}
	if (name == "manual") != (opts.Partition != nil) {
		return nil, errors.New("a partition goes with the partitioner manual, and manual needs one")
	}
	switch name {
	case "hash":
		return sarama.NewHashPartitioner, nil
	case "reference_hash":
		return sarama.NewReferenceHashPartitioner, nil
	case "crc32":
		return sarama.NewConsistentCRCHashPartitioner, nil
	case "murmur2":
		return sarama.NewCustomPartitioner(sarama.WithAbsFirst(), sarama.WithCustomHashFunction(newMurmur2)), nil
	case "round_robin":
		return sarama.NewRoundRobinPartitioner, nil
	case "random":
		return sarama.NewRandomPartitioner, nil
	case "manual":
		return sarama.NewManualPartitioner, nil
	}
	return nil, fmt.Errorf("%q is not a partitioner: take one of %s", name, strings.Join(Partitioners, ", "))
}
