package agent

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"logferry/agent/etcdsource"
	"logferry/agent/kubernetes"
	"logferry/agent/task"
	"logferry/internal/strictyaml"
	"logferry/sink/kafka"
)

// Defaults of the keys that agent.yaml may leave out.
const (
	DefaultStateDir           = "/var/lib/logferry"
	DefaultListen             = "127.0.0.1:9600"
	DefaultEtcdPrefix         = "/logferry"
	DefaultBufferBytes        = task.ByteSize(8 << 20)
	DefaultShutdownTimeout    = 30 * time.Second
	DefaultReconcileInterval  = 60 * time.Second
	DefaultCheckpointInterval = time.Second
	DefaultKubernetesWait     = time.Second
	DefaultKubernetesKeep     = 10 * time.Minute
)

// Config is what one agent needs to know about itself and its surroundings:
// the content of agent.yaml. What to collect stands in tasks, not here.
//
// The order of a start is LoadConfig (file, then environment), then flags,
// then SetDefaults and Validate: flags beat environment, environment beats
// file. A Config is plain data; once validated it is only read, and may be
// read from any goroutine.
type Config struct {
	ID     string            `yaml:"id,omitempty"`     // name of this agent, unique among those on one etcd; default the host name
	Labels map[string]string `yaml:"labels,omitempty"` // for selectors of tasks and templates of topics

	StateDir string `yaml:"state_dir,omitempty"` // holds checkpoints, cached tasks and dead letters
	// AllowPaths bounds what tasks from etcd can reach, as absolute doublestar
	// globs. nil: /var/log/**; empty but not nil: nothing.
	AllowPaths []string `yaml:"allow_paths,omitempty"`
	Symlinks   string   `yaml:"symlinks,omitempty"` // what becomes of those in the paths of logs: follow or refuse

	HTTP     HTTPConfig              `yaml:"http,omitempty"`
	Kafka    kafka.Config            `yaml:"kafka,omitempty"`    // the cluster of tasks that name none
	Clusters map[string]kafka.Config `yaml:"clusters,omitempty"` // further clusters by name; they inherit nothing from Kafka
	Tasks    TasksConfig             `yaml:"tasks,omitempty"`
	Log      LogConfig               `yaml:"log,omitempty"`
	Memory   MemoryConfig            `yaml:"memory,omitempty"`
	Deleted  DeletedConfig           `yaml:"deleted_files,omitempty"`

	Kubernetes KubernetesConfig `yaml:"kubernetes,omitempty"`

	ShutdownTimeout    time.Duration `yaml:"shutdown_timeout,omitempty"`    // how long a stopping agent waits for acknowledgements
	ReconcileInterval  time.Duration `yaml:"reconcile_interval,omitempty"`  // how often directories are listed, events or not
	CheckpointInterval time.Duration `yaml:"checkpoint_interval,omitempty"` // how often committed offsets are written to disk

	// origins says where each value was set: "agent.yaml:7" or
	// "LOGFERRY_KAFKA_BROKERS" by the key's dotted path.
	origins map[string]string
}

// TasksConfig says where tasks come from. Both kinds may be used at once.
type TasksConfig struct {
	Files []string    `yaml:"files,omitempty"` // globs of task files
	Etcd  *EtcdConfig `yaml:"etcd,omitempty"`  // nil: etcd is not used
}

// EtcdConfig says how to reach the etcd that holds tasks.
type EtcdConfig struct {
	Endpoints    []string `yaml:"endpoints"` // host:port, or a URL
	Prefix       string   `yaml:"prefix,omitempty"`
	Groups       []string `yaml:"groups,omitempty"` // whose tasks concern this agent beside those for all
	Username     string   `yaml:"username,omitempty"`
	Password     string   `yaml:"password,omitempty" json:"-"`
	PasswordFile string   `yaml:"password_file,omitempty"` // read at each login; line breaks at its end do not count

	LeaseTTL time.Duration `yaml:"lease_ttl,omitempty"` // how long after its last sign of life the agent's registration stays
	// ReportInterval is the least time between two reports of what the tasks do
	// while no state changes.
	ReportInterval time.Duration `yaml:"report_interval,omitempty"`

	TLS *etcdsource.TLSConfig `yaml:"tls,omitempty"` // nil: the system's authorities for https, plain text for the rest
}

// LogConfig says how the agent's own log looks.
type LogConfig struct {
	Level  string `yaml:"level,omitempty"`  // debug, info (default), warn, error
	Format string `yaml:"format,omitempty"` // text (default) or json
}

// MemoryConfig bounds the agent's memory.
type MemoryConfig struct {
	BufferBytes task.ByteSize `yaml:"buffer_bytes,omitempty"` // all that is read and not yet acknowledged
	Limit       task.ByteSize `yaml:"limit,omitempty"`        // soft limit of the Go runtime; 0: what GOMEMLIMIT says, or none
}

// DeletedConfig bounds the disk that files hold which were deleted before they
// were read to their end.
type DeletedConfig struct {
	MaxBytes task.ByteSize `yaml:"max_bytes,omitempty"` // over all tasks; the files that were deleted first are let go beyond it. 0: none is
}

// KubernetesConfig says how the labels and annotations of this node's pods are
// found. The API is asked only when a task names one.
type KubernetesConfig struct {
	Node string        `yaml:"node,omitempty"` // the node's name; empty: what NODE_NAME says
	Wait time.Duration `yaml:"wait,omitempty"` // how long the first lines of a pod wait for its labels
	Keep time.Duration `yaml:"keep,omitempty"` // how long the labels of a deleted pod are remembered
}

func (k KubernetesConfig) pods() kubernetes.Config {
	return kubernetes.Config{Node: cmp.Or(k.Node, os.Getenv("NODE_NAME")), Wait: k.Wait, Keep: k.Keep}
}

// LoadConfig reads the file at path and then the LOGFERRY_* environment; an
// empty path means no file. ${VAR} and ${VAR:-default} are expanded in the
// file's values. Relative paths in the file are relative to its directory.
//
// The result is neither completed nor validated, because flags may still
// change it: call SetDefaults and Validate after them. An error is one line
// that names file, line and remedy. A nil getenv means an empty environment.
func LoadConfig(path string, getenv func(string) string) (Config, error) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	cfg := Config{origins: map[string]string{}}
	if path != "" {
		data, err := readConfigFile(path)
		if err != nil {
			return Config{}, err
		}
		if err := cfg.decode(path, data, getenv); err != nil {
			return Config{}, err
		}
	}
	if err := cfg.ApplyEnv(getenv); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

func (c *Config) decode(path string, data []byte, getenv func(string) string) error {
	doc, err := strictyaml.Parse(path, data)
	if err != nil {
		return err
	}
	if err := doc.Expand(getenv); err != nil {
		return err
	}
	if err := doc.Decode(c); err != nil {
		return err
	}
	for key, line := range doc.Lines() {
		c.origins[key] = fmt.Sprintf("%s:%d", path, line)
	}
	c.resolvePaths(filepath.Dir(path))
	return nil
}

// resolvePaths makes the file's relative paths independent of the directory
// that the agent happens to be started in.
func (c *Config) resolvePaths(dir string) {
	resolve := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	resolve(&c.StateDir)
	for i := range c.Tasks.Files {
		resolve(&c.Tasks.Files[i])
	}
	resolve(&c.HTTP.TokenFile)
	if t := c.HTTP.TLS; t != nil {
		resolve(&t.CertFile)
		resolve(&t.KeyFile)
		resolve(&t.ClientCAFile)
	}
	if c.Tasks.Etcd != nil {
		resolve(&c.Tasks.Etcd.PasswordFile)
		if tls := c.Tasks.Etcd.TLS; tls != nil {
			resolve(&tls.CAFile)
			resolve(&tls.CertFile)
			resolve(&tls.KeyFile)
		}
	}
	for _, path := range c.Kafka.Files() {
		resolve(path)
	}
	for _, cluster := range c.Clusters {
		for _, path := range cluster.Files() {
			resolve(path)
		}
	}
}

// SetOrigin records where the value of a key came from, such as "--brokers"
// for "kafka.brokers", so that Validate can say what to change.
func (c *Config) SetOrigin(key, origin string) {
	if c.origins == nil {
		c.origins = map[string]string{}
	}
	maps.DeleteFunc(c.origins, func(k, _ string) bool {
		return strings.HasPrefix(k, key+"[") || strings.HasPrefix(k, key+".")
	})
	c.origins[key] = origin
}

// SetDefaults fills in what is not set.
func (c *Config) SetDefaults() {
	if c.ID == "" {
		c.ID, _ = os.Hostname() // Validate reports an id that is still empty
	}
	setDefault(&c.StateDir, DefaultStateDir)
	if c.AllowPaths == nil {
		c.AllowPaths = []string{"/var/log/**"}
	}
	setDefault(&c.Symlinks, SymlinksFollow)
	setDefault(&c.HTTP.Listen, DefaultListen)
	if c.HTTP.Open == nil {
		c.HTTP.Open = slices.Clone(defaultOpen)
	}
	setDefault(&c.Kubernetes.Wait, DefaultKubernetesWait)
	setDefault(&c.Kubernetes.Keep, DefaultKubernetesKeep)
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "text")
	setDefault(&c.Memory.BufferBytes, DefaultBufferBytes)
	setDefault(&c.ShutdownTimeout, DefaultShutdownTimeout)
	setDefault(&c.ReconcileInterval, DefaultReconcileInterval)
	setDefault(&c.CheckpointInterval, DefaultCheckpointInterval)
	if c.Tasks.Etcd != nil {
		setDefault(&c.Tasks.Etcd.Prefix, DefaultEtcdPrefix)
		setDefault(&c.Tasks.Etcd.LeaseTTL, etcdsource.DefaultLeaseTTL)
		setDefault(&c.Tasks.Etcd.ReportInterval, etcdsource.DefaultReportInterval)
		c.Tasks.Etcd.Prefix = strings.TrimRight(c.Tasks.Etcd.Prefix, "/")
	}
	c.Kafka.SetDefaults()
	for name, cluster := range c.Clusters {
		cluster.SetDefaults()
		c.Clusters[name] = cluster
	}
}

func setDefault[T comparable](target *T, value T) {
	var zero T
	if *target == zero {
		*target = value
	}
}

// DeadLetterDir is where the dead letters of a task stand, as TASK.jsonl, for
// which nothing else is configured.
func (c *Config) DeadLetterDir() string { return filepath.Join(c.StateDir, "deadletter") }

// Cluster returns the settings of a named Kafka cluster; "" names the default
// one. ok is false when no such cluster is configured.
func (c *Config) Cluster(name string) (cluster kafka.Config, ok bool) {
	if name == "" {
		return c.Kafka, len(c.Kafka.Brokers) > 0
	}
	cluster, ok = c.Clusters[name]
	return cluster, ok
}

// Identity returns what selectors of tasks are held against.
func (c *Config) Identity() (task.Identity, error) {
	host, err := os.Hostname()
	if err != nil {
		return task.Identity{}, fmt.Errorf("ask for the host name: %w", err)
	}
	return task.Identity{ID: c.ID, Host: host, Labels: c.Labels}, nil
}

// Client returns how to reach this etcd. The files that it names are looked
// at, so that one that is missing is told at once; each login and connection
// reads them anew.
func (e *EtcdConfig) Client() (etcdsource.Config, error) {
	if e.PasswordFile != "" {
		if _, err := os.ReadFile(e.PasswordFile); err != nil {
			return etcdsource.Config{}, fmt.Errorf("read etcd password: %w", err)
		}
	}
	if e.TLS != nil {
		if _, err := e.TLS.Load(); err != nil {
			return etcdsource.Config{}, fmt.Errorf("read etcd certificates: %w", err)
		}
	}
	return etcdsource.Config{
		Endpoints: e.Endpoints, Prefix: e.Prefix, Groups: e.Groups, Username: e.Username, Password: e.Password, PasswordFile: e.PasswordFile, TLS: e.TLS,
	}, nil
}
