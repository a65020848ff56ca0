// Package localkafka runs real Apache Kafka on this machine, without a
// container engine: one or three brokers in KRaft mode, each a java process
// on 127.0.0.1, from jars that Maven fetched once.
//
// It is for tests and benchmarks, and promises what they need: a broker that
// Start returned answers requests; it can be paused, killed and restarted on
// its data and its port; and no java process outlives the process that
// started it, even when that is killed.
package localkafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	startAttempts = 3
	stopGrace     = 3 * time.Second // from SIGTERM to SIGKILL at Close
)

// Config says which cluster to start. The zero value is one broker in a
// temporary directory.
type Config struct {
	// Nodes is how many there are, each broker and controller; default 1.
	// Topics for which nothing else is asked get min(Nodes, 3) replicas.
	Nodes int
	// Dir holds one directory a node: its configuration, data and log. Empty:
	// a temporary directory, which Close removes.
	Dir string
	// Properties are added to server.properties and win over the defaults.
	Properties map[string]string
	// JVM are the options of the java processes; default DefaultJVM.
	JVM []string
	// Fronts are addresses of proxies: node i also listens where Behind says, and
	// sends the clients that come in there to Fronts[i].
	Fronts []string
	// Listeners are further doors to each node.
	Listeners []Listener
	// Log is told what is started and stopped; default: nobody.
	Log *slog.Logger
}

// Listener is one more address at which each node listens.
type Listener struct {
	Name     string // in capitals
	Protocol string // SSL, SASL_SSL or SASL_PLAINTEXT
	// Properties are of this listener alone: their keys get the prefix
	// listener.name.NAME.
	Properties map[string]string
}

// DefaultJVM makes small processes that start quickly (about 180 MB, 2 s). A
// benchmark wants a larger heap and the full compiler.
var DefaultJVM = []string{"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}

// Cluster is a running Kafka cluster. Its nodes are numbered from 0; node i is
// the broker with id i. It may be used from several goroutines; calls that
// change one node wait for each other.
type Cluster struct {
	log     *slog.Logger
	dir     string
	ownDir  bool
	java    string
	libs    string
	jvm     []string
	props   map[string]string
	fronts  []string
	doors   []Listener
	id      string
	nodes   []*node
	closing sync.Once
	closed  error
}

// Start fetches Kafka if need be, starts the nodes, and returns when each of
// them answers and knows all others. ctx bounds the start alone. The error
// holds ErrUnavailable when the machine lacks Java or Maven.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := prepare(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	for attempt := 1; ; attempt++ {
		err = c.bringUp(ctx)
		if err == nil {
			return c, nil
		}
		c.tearDown(0)
		if attempt == startAttempts || !errors.Is(err, errPortTaken) {
			return nil, fmt.Errorf("start kafka: %w", errors.Join(err, c.Close()))
		}
		c.log.Info("kafka port taken, trying others", "error", err)
	}
}

func prepare(ctx context.Context, cfg Config) (*Cluster, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	libs, err := Libs(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{log: cfg.Log, dir: cfg.Dir, java: java, libs: libs, jvm: cfg.JVM, props: cfg.Properties, fronts: cfg.Fronts, doors: cfg.Listeners, id: newClusterID()}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.jvm == nil {
		c.jvm = DefaultJVM
	}
	if c.dir == "" {
		c.ownDir = true
		if c.dir, err = os.MkdirTemp("", "logferry-kafka-*"); err != nil {
			return nil, err
		}
	}
	for i := range max(cfg.Nodes, 1) {
		c.nodes = append(c.nodes, &node{id: i, dir: filepath.Join(c.dir, fmt.Sprintf("node-%d", i))})
	}
	return c, nil
}

// bringUp starts all nodes on new ports and new data.
func (c *Cluster) bringUp(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.reservePorts(len(c.doors)); err != nil {
			return err
		}
	}
	err := c.forAll(func(n *node) error { return c.format(ctx, n) })
	if err != nil {
		return err
	}
	for _, n := range c.nodes {
		n.mu.Lock()
		err := c.launch(n)
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return c.forAll(func(n *node) error { return n.waitReady(ctx, len(c.nodes)) })
}

// forAll does something with all nodes at once.
func (c *Cluster) forAll(do func(*node) error) error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() { errs[i] = do(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close stops all nodes, gracefully for some seconds and then by force, and
// removes the directory if it was a temporary one. Further calls return what
// the first did.
func (c *Cluster) Close() error {
	c.closing.Do(func() {
		c.tearDown(stopGrace)
		if c.ownDir {
			c.closed = os.RemoveAll(c.dir)
		}
	})
	return c.closed
}

// tearDown ends all processes and gives the ports back. All nodes get their
// SIGTERM before any is waited for, or the last would look for a quorum.
func (c *Cluster) tearDown(grace time.Duration) {
	_ = c.forAll(func(n *node) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.terminate(grace)
		n.releasePorts()
		return nil
	})
}

// Brokers returns the addresses of all nodes, running or not: the bootstrap
// list for a client.
func (c *Cluster) Brokers() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.addr())
	}
	return out
}

// Behind is where the proxy at Fronts[i] connects to.
func (c *Cluster) Behind(i int) (string, error) {
	n, err := c.node(i)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", n.front), nil
}

// Listener is the address of one of Config.Listeners.
func (c *Cluster) Listener(i int, name string) (string, error) {
	n, err := c.node(i)
	if err != nil {
		return "", err
	}
	for at, l := range c.doors {
		if l.Name == name {
			return fmt.Sprintf("127.0.0.1:%d", n.doors[at]), nil
		}
	}
	return "", fmt.Errorf("kafka node %d has no listener %s", i, name)
}

// Nodes says how many there are.
func (c *Cluster) Nodes() int { return len(c.nodes) }

// LogFile is where the node's own log goes.
func (c *Cluster) LogFile(i int) (string, error) {
	n, err := c.node(i)
	if err != nil {
		return "", err
	}
	return n.logFile(), nil
}

// PID is the process id of a node, for measuring it; 0 while it is down.
func (c *Cluster) PID(i int) (int, error) {
	n, err := c.node(i)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return 0, nil
	}
	return n.proc.pid(), nil
}

func (c *Cluster) node(i int) (*node, error) {
	if i < 0 || i >= len(c.nodes) {
		return nil, fmt.Errorf("no kafka node %d: the cluster has %d, numbered from 0", i, len(c.nodes))
	}
	return c.nodes[i], nil
}
