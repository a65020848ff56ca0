package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"logferry/agent/etcdsource"
	"logferry/agent/task"
	"logferry/internal/strictyaml"
	"logferry/sink/kafka"
)

// envKey is one environment variable that overrides a key of agent.yaml.
type envKey struct {
	name string
	key  string
	set  func(c *Config, value string) error
}

// envKeys is in the order in which the reference lists them.
var envKeys = []envKey{
	{"LOGFERRY_ID", "id", text(func(c *Config) *string { return &c.ID })},
	{"LOGFERRY_LABELS", "labels", setLabels},
	{"LOGFERRY_STATE_DIR", "state_dir", text(func(c *Config) *string { return &c.StateDir })},
	{"LOGFERRY_ALLOW_PATHS", "allow_paths", list(func(c *Config) *[]string { return &c.AllowPaths })},
	{"LOGFERRY_SYMLINKS", "symlinks", text(func(c *Config) *string { return &c.Symlinks })},
	{"LOGFERRY_HTTP_LISTEN", "http.listen", text(func(c *Config) *string { return &c.HTTP.Listen })},
	{"LOGFERRY_HTTP_PPROF", "http.pprof", scalar(func(c *Config) *bool { return &c.HTTP.PProf })},
	{"LOGFERRY_HTTP_TLS_CERT_FILE", "http.tls.cert_file", text(func(c *Config) *string { return &c.httpTLS().CertFile })},
	{"LOGFERRY_HTTP_TLS_KEY_FILE", "http.tls.key_file", text(func(c *Config) *string { return &c.httpTLS().KeyFile })},
	{"LOGFERRY_HTTP_TLS_CLIENT_CA_FILE", "http.tls.client_ca_file", text(func(c *Config) *string { return &c.httpTLS().ClientCAFile })},
	{"LOGFERRY_HTTP_TLS_MIN_VERSION", "http.tls.min_version", text(func(c *Config) *string { return &c.httpTLS().MinVersion })},
	{"LOGFERRY_HTTP_TOKEN_FILE", "http.token_file", text(func(c *Config) *string { return &c.HTTP.TokenFile })},
	{"LOGFERRY_HTTP_OPEN", "http.open", list(func(c *Config) *[]string { return &c.HTTP.Open })},
	{"LOGFERRY_HTTP_INSECURE", "http.insecure", scalar(func(c *Config) *bool { return &c.HTTP.Insecure })},
	{"LOGFERRY_KAFKA_BROKERS", "kafka.brokers", list(func(c *Config) *[]string { return &c.Kafka.Brokers })},
	{"LOGFERRY_KAFKA_CLIENT_ID", "kafka.client_id", text(func(c *Config) *string { return &c.Kafka.ClientID })},
	{"LOGFERRY_KAFKA_VERSION", "kafka.version", text(func(c *Config) *string { return &c.Kafka.Version })},
	{"LOGFERRY_KAFKA_PRODUCER", "kafka.producer", text(func(c *Config) *string { return &c.Kafka.Producer })},
	{"LOGFERRY_KAFKA_ACKS", "kafka.acks", text(func(c *Config) *string { return &c.Kafka.Acks })},
	{"LOGFERRY_KAFKA_COMPRESSION", "kafka.compression", text(func(c *Config) *string { return &c.Kafka.Compression })},
	{"LOGFERRY_KAFKA_TLS_CA_FILE", "kafka.tls.ca_file", text(func(c *Config) *string { return &c.kafkaTLS().CAFile })},
	{"LOGFERRY_KAFKA_TLS_CERT_FILE", "kafka.tls.cert_file", text(func(c *Config) *string { return &c.kafkaTLS().CertFile })},
	{"LOGFERRY_KAFKA_TLS_KEY_FILE", "kafka.tls.key_file", text(func(c *Config) *string { return &c.kafkaTLS().KeyFile })},
	{"LOGFERRY_KAFKA_TLS_SERVER_NAME", "kafka.tls.server_name", text(func(c *Config) *string { return &c.kafkaTLS().ServerName })},
	{"LOGFERRY_KAFKA_TLS_MIN_VERSION", "kafka.tls.min_version", text(func(c *Config) *string { return &c.kafkaTLS().MinVersion })},
	{"LOGFERRY_KAFKA_SASL_MECHANISM", "kafka.sasl.mechanism", text(func(c *Config) *string { return &c.kafkaSASL().Mechanism })},
	{"LOGFERRY_KAFKA_SASL_USERNAME", "kafka.sasl.username", text(func(c *Config) *string { return &c.kafkaSASL().Username })},
	{"LOGFERRY_KAFKA_SASL_PASSWORD", "kafka.sasl.password", setKafkaPassword},
	{"LOGFERRY_KAFKA_SASL_PASSWORD_FILE", "kafka.sasl.password_file", setKafkaPasswordFile},
	{"LOGFERRY_KAFKA_SASL_OAUTH_CLIENT_SECRET", "kafka.sasl.oauth.client_secret", setKafkaClientSecret},
	{"LOGFERRY_TASKS_FILES", "tasks.files", list(func(c *Config) *[]string { return &c.Tasks.Files })},
	{"LOGFERRY_ETCD_ENDPOINTS", "tasks.etcd.endpoints", list(func(c *Config) *[]string { return &c.etcd().Endpoints })},
	{"LOGFERRY_ETCD_PREFIX", "tasks.etcd.prefix", text(func(c *Config) *string { return &c.etcd().Prefix })},
	{"LOGFERRY_ETCD_GROUPS", "tasks.etcd.groups", list(func(c *Config) *[]string { return &c.etcd().Groups })},
	{"LOGFERRY_ETCD_USERNAME", "tasks.etcd.username", text(func(c *Config) *string { return &c.etcd().Username })},
	{"LOGFERRY_ETCD_PASSWORD", "tasks.etcd.password", setPassword},
	{"LOGFERRY_ETCD_PASSWORD_FILE", "tasks.etcd.password_file", setPasswordFile},
	{"LOGFERRY_ETCD_LEASE_TTL", "tasks.etcd.lease_ttl", scalar(func(c *Config) *time.Duration { return &c.etcd().LeaseTTL })},
	{"LOGFERRY_ETCD_REPORT_INTERVAL", "tasks.etcd.report_interval", scalar(func(c *Config) *time.Duration { return &c.etcd().ReportInterval })},
	{"LOGFERRY_ETCD_TLS_CA_FILE", "tasks.etcd.tls.ca_file", text(func(c *Config) *string { return &c.etcdTLS().CAFile })},
	{"LOGFERRY_ETCD_TLS_CERT_FILE", "tasks.etcd.tls.cert_file", text(func(c *Config) *string { return &c.etcdTLS().CertFile })},
	{"LOGFERRY_ETCD_TLS_KEY_FILE", "tasks.etcd.tls.key_file", text(func(c *Config) *string { return &c.etcdTLS().KeyFile })},
	{"LOGFERRY_ETCD_TLS_SERVER_NAME", "tasks.etcd.tls.server_name", text(func(c *Config) *string { return &c.etcdTLS().ServerName })},
	{"LOGFERRY_ETCD_TLS_MIN_VERSION", "tasks.etcd.tls.min_version", text(func(c *Config) *string { return &c.etcdTLS().MinVersion })},
	{"LOGFERRY_LOG_LEVEL", "log.level", text(func(c *Config) *string { return &c.Log.Level })},
	{"LOGFERRY_LOG_FORMAT", "log.format", text(func(c *Config) *string { return &c.Log.Format })},
	{"LOGFERRY_BUFFER_BYTES", "memory.buffer_bytes", scalar(func(c *Config) *task.ByteSize { return &c.Memory.BufferBytes })},
	{"LOGFERRY_MEMORY_LIMIT", "memory.limit", scalar(func(c *Config) *task.ByteSize { return &c.Memory.Limit })},
	{"LOGFERRY_DELETED_FILES_MAX_BYTES", "deleted_files.max_bytes", scalar(func(c *Config) *task.ByteSize { return &c.Deleted.MaxBytes })},
	{"LOGFERRY_SHUTDOWN_TIMEOUT", "shutdown_timeout", scalar(func(c *Config) *time.Duration { return &c.ShutdownTimeout })},
	{"LOGFERRY_RECONCILE_INTERVAL", "reconcile_interval", scalar(func(c *Config) *time.Duration { return &c.ReconcileInterval })},
	{"LOGFERRY_CHECKPOINT_INTERVAL", "checkpoint_interval", scalar(func(c *Config) *time.Duration { return &c.CheckpointInterval })},
}

// ApplyEnv overrides keys by the LOGFERRY_* variables that are set and not
// empty. Lists are separated by commas, labels are written a=b,c=d.
func (c *Config) ApplyEnv(getenv func(string) string) error {
	for _, e := range envKeys {
		value := getenv(e.name)
		if value == "" {
			continue
		}
		if err := e.set(c, value); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		c.SetOrigin(e.key, e.name)
		if _, known := c.origins["tasks.etcd"]; !known && strings.HasPrefix(e.key, "tasks.etcd.") {
			c.origins["tasks.etcd"] = e.name // this variable made the section
		}
	}
	return nil
}

// etcd returns the etcd section, which it makes when there is none.
func (c *Config) etcd() *EtcdConfig {
	if c.Tasks.Etcd == nil {
		c.Tasks.Etcd = &EtcdConfig{}
	}
	return c.Tasks.Etcd
}

func (c *Config) httpTLS() *HTTPTLSConfig {
	if c.HTTP.TLS == nil {
		c.HTTP.TLS = &HTTPTLSConfig{}
	}
	return c.HTTP.TLS
}

func (c *Config) etcdTLS() *etcdsource.TLSConfig {
	e := c.etcd()
	if e.TLS == nil {
		e.TLS = &etcdsource.TLSConfig{}
	}
	return e.TLS
}

func (c *Config) kafkaTLS() *kafka.TLSConfig {
	if c.Kafka.TLS == nil {
		c.Kafka.TLS = &kafka.TLSConfig{}
	}
	return c.Kafka.TLS
}

func (c *Config) kafkaSASL() *kafka.SASL {
	if c.Kafka.SASL == nil {
		c.Kafka.SASL = &kafka.SASL{}
	}
	return c.Kafka.SASL
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, value string) error {
		*field(c) = value
		return nil
	}
}

func list(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, value string) error {
		items := splitList(value)
		if len(items) == 0 {
			return fmt.Errorf("%q holds no value; separate values by commas", value)
		}
		*field(c) = items
		return nil
	}
}

// scalar reads a value exactly as agent.yaml would.
func scalar[T any](field func(*Config) *T) func(*Config, string) error {
	return func(c *Config, value string) error {
		target := struct {
			Value *T `yaml:"value"`
		}{field(c)}
		doc, err := strictyaml.Parse("", []byte("value: ${V}"))
		if err != nil {
			return err
		}
		if err := doc.Expand(func(string) string { return value }); err != nil {
			return err
		}
		err = doc.Decode(&target)
		var fault *strictyaml.Error
		if errors.As(err, &fault) {
			return errors.New(fault.Text)
		}
		return err
	}
}

// setPassword also forgets the file's password_file, and setPasswordFile the
// file's password: the environment beats the file, so the two do not clash.
func setPassword(c *Config, value string) error {
	c.etcd().Password, c.etcd().PasswordFile = value, ""
	return nil
}

func setPasswordFile(c *Config, value string) error {
	c.etcd().Password, c.etcd().PasswordFile = "", value
	return nil
}

// setKafkaPassword, setKafkaPasswordFile and setKafkaClientSecret do the same for Kafka.
func setKafkaPassword(c *Config, value string) error {
	c.kafkaSASL().Password, c.kafkaSASL().PasswordFile = kafka.Secret(value), ""
	return nil
}

func setKafkaPasswordFile(c *Config, value string) error {
	c.kafkaSASL().Password, c.kafkaSASL().PasswordFile = "", value
	return nil
}

func setKafkaClientSecret(c *Config, value string) error {
	s := c.kafkaSASL()
	if s.OAuth == nil {
		s.OAuth = &kafka.OAuth{}
	}
	s.OAuth.ClientSecret, s.OAuth.ClientSecretFile = kafka.Secret(value), ""
	return nil
}

func setLabels(c *Config, value string) error {
	labels := map[string]string{}
	for _, pair := range splitList(value) {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q is no label; write key=value,key=value", pair)
		}
		labels[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	c.Labels = labels
	return nil
}

func splitList(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
