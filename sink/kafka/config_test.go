package kafka

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func valid() Config {
	c := Config{Brokers: []string{"127.0.0.1:9092"}}
	c.SetDefaults()
	return c
}

func ptr[T any](v T) *T { return &v }

func TestDefaults(t *testing.T) {
	c := valid()
	require.NoError(t, c.Validate())
	require.Equal(t, Config{
		Brokers: []string{"127.0.0.1:9092"}, ClientID: "logferry", Version: "2.8.0", Producer: "batch", Acks: "all",
		Idempotent: ptr(true), Compression: "lz4", Linger: 5 * time.Millisecond, BatchBytes: 1_000_000, MaxMessageBytes: 1<<20 + 64<<10,
		RequestTimeout: 30 * time.Second, RetryBackoff: 100 * time.Millisecond, RetryBackoffMax: 5 * time.Second,
	}, c)
	one := Config{Acks: "1"}
	one.SetDefaults()
	require.False(t, *one.Idempotent)
}

func TestBadConfigurationsAreRefusedWithTheKeyAndTheRemedy(t *testing.T) {
	for _, tc := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Brokers = nil }, "brokers: none is given; list at least one as host:port"},
		{func(c *Config) { c.Brokers = []string{"kafka"} }, `brokers: "kafka" is not an address; write it as host:port, for example kafka1:9092`},
		{func(c *Config) { c.Brokers = []string{"a:1", "u:secret@kafka:9092"} }, `brokers: address 2 holds a login; write it as host:port, and the login under sasl`},
		{func(c *Config) { c.Brokers = []string{"kafka:x"} }, `brokers: "kafka:x" is not an address; write it as host:port, for example kafka1:9092`},
		{func(c *Config) { c.Version = "two" }, `version: "two" is not a Kafka version; write it as 2.8.0`},
		{func(c *Config) { c.Version = "0.10.2.0" }, "version: 0.10.2.0 is too old; use 1.0.0 or later"},
		{func(c *Config) { c.Producer = "sync" }, `producer: "sync" is unknown; use one of batch, async`},
		{func(c *Config) { c.Acks = "2" }, `acks: "2" is unknown; use one of 0, 1, all`},
		{func(c *Config) { c.Acks = "1" }, `idempotent: true needs acks: all, not "1"; set acks: all or idempotent: false`},
		{func(c *Config) { c.Compression = "brotli" }, `compression: "brotli" is unknown; use one of none, gzip, snappy, lz4, zstd`},
		{func(c *Config) { c.Compression, c.Version = "zstd", "2.0.0" }, "compression: zstd needs version 2.1.0 or later, not 2.0.0; raise version or choose lz4"},
		{func(c *Config) { c.CompressionLevel = ptr(3) }, "compression_level: lz4 has no levels; leave the key out, or choose gzip or zstd"},
		{func(c *Config) { c.Compression, c.CompressionLevel = "gzip", ptr(10) }, "compression_level: 10 is outside of gzip's 1 to 9"},
		{func(c *Config) { c.BatchBytes = 10 }, "batch_bytes: 10 is outside of 1024 to 94371840 bytes"},
		{func(c *Config) { c.MaxMessageBytes = 1 << 30 }, "max_message_bytes: 1073741824 is outside of 1024 to 94371840 bytes"},
		{func(c *Config) { c.Linger = -1 }, "linger: -1ns is outside of 0s to 1m0s"},
		{func(c *Config) { c.RequestTimeout = time.Hour }, "request_timeout: 1h0m0s is outside of 10ms to 10m0s"},
		{func(c *Config) { c.RetryBackoffMax = time.Millisecond }, "retry_backoff_max: 1ms is less than retry_backoff, 100ms; raise it or lower retry_backoff"},
		{func(c *Config) { c.CreateTopics = &CreateTopics{Partitions: -1} }, "create_topics.partitions: -1 is negative; write a number of partitions, or 0 for the broker's default"},
		{func(c *Config) { c.DeadLetter = &DeadLetter{} }, "dead_letter: set one of topic and file"},
		{func(c *Config) { c.DeadLetter = &DeadLetter{Topic: "a", File: "b"} }, "dead_letter: set one of topic and file"},
	} {
		c := valid()
		tc.change(&c)
		require.EqualError(t, c.Validate(), tc.want)
	}
}

func TestSaramaGetsEveryValidConfiguration(t *testing.T) {
	for name := range codecs {
		for acks := range ackLevels {
			c := Config{Brokers: []string{"127.0.0.1:9092"}, Compression: name, Acks: acks}
			c.SetDefaults()
			require.NoError(t, c.Validate())
			sc, err := c.Sarama()
			require.NoError(t, err)
			require.Equal(t, acks == "all", sc.Producer.Idempotent)
			require.False(t, sc.Metadata.AllowAutoTopicCreation)
			require.Equal(t, sarama.V2_8_0_0, sc.Version)
		}
	}
}

func TestNewRefusesABadRoute(t *testing.T) {
	good := Route{Task: "web", Topic: "t", DeadLetter: DeadLetter{File: "f"}}
	_, err := New(valid(), good, nil, quiet)
	require.NoError(t, err)
	for want, change := range map[string]func(*Route){
		`task "web": topic: none is given; name one`:                     func(r *Route) { r.Topic = "" },
		`task "web": key: "ip" is unknown; use one of host, path`:        func(r *Route) { r.Key = "ip" },
		`task "web": partition: -1 is negative; partitions count from 0`: func(r *Route) { r.Partition = -1 },
		`task "web": dead_letter: set one of topic and file`:             func(r *Route) { r.DeadLetter = DeadLetter{} },
		`task "web": create_topic.partitions: -1 is negative; write a number of partitions, or 0 for the broker's default`: func(r *Route) {
			r.Create = &CreateTopics{Partitions: -1}
		},
	} {
		r := good
		change(&r)
		_, err := New(valid(), r, nil, quiet)
		require.EqualError(t, err, want)
	}
}

func TestNewClientConnectsOrSaysWhatToCheck(t *testing.T) {
	w := newWorld(t, 2)
	c, err := NewClient(w.config(Config{}), quiet)
	require.NoError(t, err)
	ps, err := c.Partitions(topic)
	require.NoError(t, err)
	require.Len(t, ps, 2)
	require.NoError(t, c.Close())

	w.gate.refuse.Store(true)
	w.gate.cut()
	_, err = NewClient(w.config(Config{}), quiet)
	require.ErrorContains(t, err, "connect to Kafka at 127.0.0.1:")
	require.ErrorContains(t, err, "if it wants TLS or a login there, set tls and sasl")
	require.NotContains(t, err.Error(), "\n")
	_, err = NewClient(Config{}, quiet)
	require.ErrorContains(t, err, "brokers: none is given")
}

func TestMetricsAreWellFormedAndForgettable(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	for _, task := range []string{"web", "db"} {
		m.ackedRecords.WithLabelValues(task, "t").Inc()
		m.ackedBytes.WithLabelValues(task, "t").Inc()
		m.deadLetters.WithLabelValues(task, "too_large").Inc()
		m.errors.WithLabelValues(task, "timeout").Inc()
		m.retries.WithLabelValues(task).Inc()
	}
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	n, err := testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Equal(t, 10, n)
	m.Forget("web")
	n, err = testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Equal(t, 5, n)
}
