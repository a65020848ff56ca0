package kafka

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// Config says how to reach and use one Kafka cluster. It is the `kafka:`
// section of agent.yaml. The zero value is completed by SetDefaults.
type Config struct {
	Brokers  []string `yaml:"brokers"`             // host:port, at least one
	ClientID string   `yaml:"client_id,omitempty"` // default "logferry"
	Version  string   `yaml:"version,omitempty"`   // protocol version to speak; default "2.8.0"

	Producer         string        `yaml:"producer,omitempty"`          // "batch" (default) or "async": see Producers
	Acks             string        `yaml:"acks,omitempty"`              // "0", "1" or "all" (default)
	Idempotent       *bool         `yaml:"idempotent,omitempty"`        // default: true with acks all, otherwise false
	Compression      string        `yaml:"compression,omitempty"`       // none, gzip, snappy, lz4 (default), zstd
	CompressionLevel *int          `yaml:"compression_level,omitempty"` // codec's own scale; default the codec's
	Linger           time.Duration `yaml:"linger,omitempty"`            // longest wait for a batch to fill; default 5ms
	BatchBytes       int           `yaml:"batch_bytes,omitempty"`       // records gathered for one partition, in bytes; default 1000000, so that a batch that does not compress passes the brokers' own default limit
	MaxMessageBytes  int           `yaml:"max_message_bytes,omitempty"` // largest record sent, with key and headers; default 1 MiB + 64 KiB, so that the longest line passes
	RequestTimeout   time.Duration `yaml:"request_timeout,omitempty"`   // for connecting, and for one request's answer; default 30s
	RetryBackoff     time.Duration `yaml:"retry_backoff,omitempty"`     // first pause after an error; default 100ms
	RetryBackoffMax  time.Duration `yaml:"retry_backoff_max,omitempty"` // longest pause; default 5s

	TLS  *TLSConfig `yaml:"tls,omitempty"`  // nil: plain text
	SASL *SASL      `yaml:"sasl,omitempty"` // nil: no login

	CreateTopics *CreateTopics `yaml:"create_topics,omitempty"` // nil: a missing topic is waited for
	DeadLetter   *DeadLetter   `yaml:"dead_letter,omitempty"`   // nil: the file STATE_DIR/deadletter/TASK.jsonl

	access *access // what all copies share; made by SetDefaults, nil without TLS and SASL
}

// CreateTopics lets the agent create a topic that does not exist.
type CreateTopics struct {
	Partitions        int32 `yaml:"partitions,omitempty"`         // 0: the broker's default
	ReplicationFactor int16 `yaml:"replication_factor,omitempty"` // 0: the broker's default
}

// DeadLetter says where records go that Kafka will never take: a topic on the
// same cluster, or a local file of JSON lines. One of the two is set, or in a
// cluster's configuration neither: then the bounds are those of the files that
// each task has by default.
type DeadLetter struct {
	Topic string `yaml:"topic,omitempty"`
	File  string `yaml:"file,omitempty"`

	// Beyond its bounds a file loses its oldest letters, which is logged and counted.
	MaxBytes int `yaml:"max_bytes,omitempty"` // at which a file is rotated away; 0: deadletter.DefaultMaxBytes
	MaxFiles int `yaml:"max_files,omitempty"` // rotated files that are kept; 0: deadletter.DefaultMaxFiles
}

// Route says where the records of one task go.
type Route struct {
	Task        string // name of the task, for logs and metrics
	Cluster     string // name of the cluster, for dead letters; empty: the default one
	Topic       string
	Key         string // "", "host" or "path": see task.Key
	Partitioner string // see Partitioners
	Partition   int32  // with partitioner "manual"
	Create      *CreateTopics
	DeadLetter  DeadLetter
	Confine     *Confine // nil: Topic takes all records; otherwise those whose own topic is none for them
}

// Producers names the writers that Config.Producer may ask for.
var Producers = []string{
	"batch", // record batches of our own over connections that sarama opens (default)
	"async", // sarama's AsyncProducer, one for each partition
}

// The values that SetDefaults fills in.
const (
	defaultClientID        = "logferry"
	defaultVersion         = "2.8.0"
	defaultLinger          = 5 * time.Millisecond
	defaultBatchBytes      = 1_000_000
	defaultMaxMessageBytes = 1<<20 + 64<<10
	defaultRequestTimeout  = 30 * time.Second
	defaultRetryBackoff    = 100 * time.Millisecond
	defaultRetryBackoffMax = 5 * time.Second
)

// maxBytes bounds batch_bytes and max_message_bytes. It leaves room for a
// request's own bytes below sarama.MaxRequestSize (100 MiB).
const maxBytes = 90 << 20

// SetDefaults fills in every key that was left out.
func (c *Config) SetDefaults() {
	c.ClientID = orElse(c.ClientID, defaultClientID)
	c.Version = orElse(c.Version, defaultVersion)
	c.Producer = orElse(c.Producer, "batch")
	c.Acks = orElse(c.Acks, "all")
	if c.Idempotent == nil {
		all := c.Acks == "all"
		c.Idempotent = &all
	}
	c.Compression = orElse(c.Compression, "lz4")
	c.Linger = orElse(c.Linger, defaultLinger)
	c.BatchBytes = orElse(c.BatchBytes, defaultBatchBytes)
	c.MaxMessageBytes = orElse(c.MaxMessageBytes, defaultMaxMessageBytes)
	c.RequestTimeout = orElse(c.RequestTimeout, defaultRequestTimeout)
	c.RetryBackoff = orElse(c.RetryBackoff, defaultRetryBackoff)
	if c.RetryBackoffMax == 0 {
		c.RetryBackoffMax = max(defaultRetryBackoffMax, c.RetryBackoff)
	}
	if c.SASL != nil {
		c.SASL.setDefaults()
	}
	if c.access == nil && (c.SASL == nil || c.SASL.validate() == nil) {
		c.access = newAccess(*c)
	}
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Validate says what is wrong with a configuration that SetDefaults has
// completed. The error is one line that begins with the key and ends with the
// remedy.
func (c Config) Validate() error {
	for _, check := range []func() error{c.checkBrokers, c.checkProducer, c.checkCompression, c.checkSizes, c.checkTimes} {
		if err := check(); err != nil {
			return err
		}
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			return fmt.Errorf("tls.%w", err)
		}
	}
	if c.SASL != nil {
		if err := c.SASL.validate(); err != nil {
			return fmt.Errorf("sasl.%w", err)
		}
	}
	if c.CreateTopics != nil {
		if err := c.CreateTopics.validate(); err != nil {
			return fmt.Errorf("create_topics.%w", err)
		}
	}
	if c.DeadLetter != nil {
		if err := c.DeadLetter.validate(); err != nil {
			return fmt.Errorf("dead_letter: %w", err)
		}
	}
	return nil
}

func (c Config) checkBrokers() error {
	if len(c.Brokers) == 0 {
		return fmt.Errorf("brokers: none is given; list at least one as host:port")
	}
	for i, b := range c.Brokers {
		if strings.Contains(b, "@") {
			return fmt.Errorf("brokers: address %d holds a login; write it as host:port, and the login under sasl", i+1)
		}
		host, port, err := net.SplitHostPort(b)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			return fmt.Errorf("brokers: %q is not an address; write it as host:port, for example kafka1:9092", b)
		}
	}
	return nil
}

func (c Config) checkProducer() error {
	v, err := sarama.ParseKafkaVersion(c.Version)
	if err != nil {
		return fmt.Errorf("version: %q is not a Kafka version; write it as 2.8.0", c.Version)
	}
	if !v.IsAtLeast(sarama.V1_0_0_0) {
		return fmt.Errorf("version: %s is too old; use 1.0.0 or later", c.Version)
	}
	if !slices.Contains(Producers, c.Producer) {
		return oneOf("producer", c.Producer, Producers)
	}
	if _, ok := ackLevels[c.Acks]; !ok {
		return oneOf("acks", c.Acks, []string{"0", "1", "all"})
	}
	if c.idempotent() && c.Acks != "all" {
		return fmt.Errorf("idempotent: true needs acks: all, not %q; set acks: all or idempotent: false", c.Acks)
	}
	return nil
}

func (c Config) checkCompression() error {
	codec, ok := codecs[c.Compression]
	if !ok {
		return oneOf("compression", c.Compression, []string{"none", "gzip", "snappy", "lz4", "zstd"})
	}
	if v, _ := sarama.ParseKafkaVersion(c.Version); codec.codec == sarama.CompressionZSTD && !v.IsAtLeast(sarama.V2_1_0_0) {
		return fmt.Errorf("compression: zstd needs version 2.1.0 or later, not %s; raise version or choose lz4", c.Version)
	}
	if c.CompressionLevel == nil {
		return nil
	}
	if codec.max == 0 {
		return fmt.Errorf("compression_level: %s has no levels; leave the key out, or choose gzip or zstd", c.Compression)
	}
	if l := *c.CompressionLevel; l < codec.min || l > codec.max {
		return fmt.Errorf("compression_level: %d is outside of %s's %d to %d", l, c.Compression, codec.min, codec.max)
	}
	return nil
}

func (c Config) checkSizes() error {
	for _, k := range []struct {
		key string
		v   int
	}{{"batch_bytes", c.BatchBytes}, {"max_message_bytes", c.MaxMessageBytes}} {
		if k.v < 1024 || k.v > maxBytes {
			return fmt.Errorf("%s: %d is outside of 1024 to %d bytes", k.key, k.v, maxBytes)
		}
	}
	return nil
}

func (c Config) checkTimes() error {
	for _, k := range []struct {
		key      string
		v        time.Duration
		min, max time.Duration
	}{
		{"linger", c.Linger, 0, time.Minute},
		{"request_timeout", c.RequestTimeout, 10 * time.Millisecond, 10 * time.Minute},
		{"retry_backoff", c.RetryBackoff, time.Millisecond, time.Minute},
		{"retry_backoff_max", c.RetryBackoffMax, time.Millisecond, 10 * time.Minute},
	} {
		if k.v < k.min || k.v > k.max {
			return fmt.Errorf("%s: %s is outside of %s to %s", k.key, k.v, k.min, k.max)
		}
	}
	if c.RetryBackoffMax < c.RetryBackoff {
		return fmt.Errorf("retry_backoff_max: %s is less than retry_backoff, %s; raise it or lower retry_backoff", c.RetryBackoffMax, c.RetryBackoff)
	}
	return nil
}

func (t CreateTopics) validate() error {
	if t.Partitions < 0 {
		return fmt.Errorf("partitions: %d is negative; write a number of partitions, or 0 for the broker's default", t.Partitions)
	}
	if t.ReplicationFactor < 0 {
		return fmt.Errorf("replication_factor: %d is negative; write a number of replicas, or 0 for the broker's default", t.ReplicationFactor)
	}
	return nil
}

func (d DeadLetter) validate() error {
	bounds := d.MaxBytes != 0 || d.MaxFiles != 0
	switch {
	case d.Topic != "" && d.File != "", d == DeadLetter{}:
		return fmt.Errorf("set one of topic and file")
	case d.Topic != "" && bounds:
		return fmt.Errorf("max_bytes and max_files bound a file; bound a topic by its own retention")
	case d.MaxBytes != 0 && (d.MaxBytes < minLetterBytes || d.MaxBytes > maxLetterBytes):
		return fmt.Errorf("max_bytes %d is outside of %d to %d bytes", d.MaxBytes, minLetterBytes, maxLetterBytes)
	case d.MaxFiles < 0 || d.MaxFiles > maxLetterFiles:
		return fmt.Errorf("max_files %d is outside of 1 to %d", d.MaxFiles, maxLetterFiles)
	}
	return nil
}

// Bounds of the bounds: a file is read as a whole when letters are dropped.
const (
	minLetterBytes = 64 << 10
	maxLetterBytes = 1 << 30
	maxLetterFiles = 1000
)

func oneOf(key, got string, want []string) error {
	return fmt.Errorf("%s: %q is unknown; use one of %s", key, got, strings.Join(want, ", "))
}

func (c Config) idempotent() bool { return c.Idempotent != nil && *c.Idempotent }

var ackLevels = map[string]sarama.RequiredAcks{
	"0":   sarama.NoResponse,
	"1":   sarama.WaitForLocal,
	"all": sarama.WaitForAll,
}

// codecs lists each codec with the levels it takes; max is 0 without levels.
var codecs = map[string]struct {
	codec    sarama.CompressionCodec
	min, max int
}{
	"none":   {codec: sarama.CompressionNone},
	"gzip":   {codec: sarama.CompressionGZIP, min: 1, max: 9},
	"snappy": {codec: sarama.CompressionSnappy},
	"lz4":    {codec: sarama.CompressionLZ4},
	"zstd":   {codec: sarama.CompressionZSTD, min: 1, max: 22},
}

// Sarama translates a valid configuration into sarama's, for a client that
// administers, consumes, or produces with a partition chosen by the caller. The
// caller sets a dialer that passes each connection to Secure.
func (c Config) Sarama() (*sarama.Config, error) {
	v, err := sarama.ParseKafkaVersion(c.Version)
	if err != nil {
		return nil, fmt.Errorf("version: %w", err)
	}
	sc := sarama.NewConfig()
	sc.ClientID, sc.Version = c.ClientID, v
	sc.Net.DialTimeout, sc.Net.ReadTimeout, sc.Net.WriteTimeout = c.RequestTimeout, c.RequestTimeout, c.RequestTimeout
	sc.Admin.Timeout = c.RequestTimeout
	c.login(sc, nil)
	sc.Metadata.AllowAutoTopicCreation = false
	sc.Metadata.Retry.Max = 1

	p := &sc.Producer
	p.RequiredAcks = ackLevels[c.Acks]
	p.Compression = codecs[c.Compression].codec
	if c.CompressionLevel != nil {
		p.CompressionLevel = *c.CompressionLevel
	}
	p.MaxMessageBytes = c.MaxMessageBytes
	p.Partitioner = sarama.NewManualPartitioner
	p.Return.Successes, p.Return.Errors = true, true
	// The broker must give up on its replicas before the client gives up on the broker.
	p.Timeout = max(c.RequestTimeout*2/3, time.Millisecond).Truncate(time.Millisecond)
	if c.idempotent() {
		p.Idempotent = true
		sc.Net.MaxOpenRequests = 1
	}
	if err := sc.Validate(); err != nil {
		return nil, fmt.Errorf("configure sarama: %w", err)
	}
	return sc, nil
}
