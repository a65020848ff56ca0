package kafka

import "time"

// Config says how to reach and use one Kafka cluster. It is the `kafka:`
// section of agent.yaml. The zero value is completed by SetDefaults.
type Config struct {
	Brokers  []string `yaml:"brokers"`             // host:port, at least one
	ClientID string   `yaml:"client_id,omitempty"` // default "logferry"
	Version  string   `yaml:"version,omitempty"`   // protocol version to speak; default "2.8.0"

	Producer         string        `yaml:"producer,omitempty"`          // "async"
	Acks             string        `yaml:"acks,omitempty"`              // "0", "1" or "all" (default)
	Idempotent       *bool         `yaml:"idempotent,omitempty"`        // default: true with acks all, otherwise false
	Compression      string        `yaml:"compression,omitempty"`       // none, gzip, snappy, lz4 (default), zstd
	CompressionLevel *int          `yaml:"compression_level,omitempty"` // codec's own scale; default the codec's
	Linger           time.Duration `yaml:"linger,omitempty"`            // longest wait for a batch to fill; default 5ms
	BatchBytes       int           `yaml:"batch_bytes,omitempty"`       // records gathered for one partition, in bytes; default 1 MiB
	MaxMessageBytes  int           `yaml:"max_message_bytes,omitempty"` // largest record sent; default 1000000, as the brokers' own default less its overhead
	RequestTimeout   time.Duration `yaml:"request_timeout,omitempty"`   // for connecting, and for one request's answer; default 30s
	RetryBackoff     time.Duration `yaml:"retry_backoff,omitempty"`     // first pause after an error; default 100ms
	RetryBackoffMax  time.Duration `yaml:"retry_backoff_max,omitempty"` // longest pause; default 5s

	CreateTopics *CreateTopics `yaml:"create_topics,omitempty"` // nil: a missing topic is waited for
	DeadLetter   *DeadLetter   `yaml:"dead_letter,omitempty"`   // nil: the file STATE_DIR/deadletter/TASK.jsonl
}

// CreateTopics lets the agent create a topic that does not exist.
type CreateTopics struct {
	Partitions        int32 `yaml:"partitions,omitempty"`         // 0: the broker's default
	ReplicationFactor int16 `yaml:"replication_factor,omitempty"` // 0: the broker's default
}

// DeadLetter says where records go that Kafka will never take: a topic on the
// same cluster, or a local file of JSON lines. One of the two is set.
type DeadLetter struct {
	Topic string `yaml:"topic,omitempty"`
	File  string `yaml:"file,omitempty"`
}

// Route says where the records of one task go.
type Route struct {
	Task        string // name of the task, for logs and metrics
	Topic       string
	Key         string // "", "host" or "path": see task.Key
	Partitioner string // see Partitioners
	Partition   int32  // with partitioner "manual"
	Create      *CreateTopics
	DeadLetter  DeadLetter
}
