package localkafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const log4j = `status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
`

// newClusterID is a random UUID in Kafka's notation: 22 characters of
// unpadded base64url, not beginning with a dash.
func newClusterID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// properties are what a node needs, less what a real installation sizes for
// production: few partitions for internal topics, small buffers, little waiting.
// A killed broker may register again only when its old session has ended.
func (c *Cluster) properties(n *node) map[string]string {
	replicas := strconv.Itoa(min(len(c.nodes), 3))
	minISR := strconv.Itoa(min(len(c.nodes), 2))
	var voters []string
	for _, v := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", v.id, v.controller))
	}
	p := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          strconv.Itoa(n.id),
		"controller.quorum.voters":                         strings.Join(voters, ","),
		"listeners":                                        fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", n.addr(), n.controller),
		"advertised.listeners":                             "PLAINTEXT://" + n.addr(),
		"inter.broker.listener.name":                       "PLAINTEXT",
		"controller.listener.names":                        "CONTROLLER",
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                                         filepath.Join(n.dir, "data"),
		"default.replication.factor":                       replicas,
		"auto.create.topics.enable":                        "false",
		"offsets.topic.replication.factor":                 replicas,
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    minISR,
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            minISR,
		"broker.heartbeat.interval.ms":                     "1000",
		"broker.session.timeout.ms":                        "4000",
		"group.initial.rebalance.delay.ms":                 "0",
		"log.cleaner.dedupe.buffer.size":                   "4194304",
	}
	if n.id < len(c.fronts) {
		p["listeners"] += fmt.Sprintf(",FRONT://127.0.0.1:%d", n.front)
		p["advertised.listeners"] += ",FRONT://" + c.fronts[n.id]
		p["listener.security.protocol.map"] += ",FRONT:PLAINTEXT"
	}
	for i, l := range c.doors {
		at := fmt.Sprintf(",%s://127.0.0.1:%d", l.Name, n.doors[i])
		p["listeners"] += at
		p["advertised.listeners"] += at
		p["listener.security.protocol.map"] += fmt.Sprintf(",%s:%s", l.Name, l.Protocol)
		for k, v := range l.Properties {
			p["listener.name."+strings.ToLower(l.Name)+"."+k] = v
		}
	}
	maps.Copy(p, c.props)
	return p
}

func (n *node) propertiesFile() string { return filepath.Join(n.dir, "server.properties") }

func (c *Cluster) writeProperties(n *node) error {
	p := c.properties(n)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, strings.ReplaceAll(p[k], `\`, `\\`))
	}
	return os.WriteFile(n.propertiesFile(), []byte(b.String()), 0o644)
}

// format lays out a node's directory anew.
func (c *Cluster) format(ctx context.Context, n *node) error {
	if err := os.RemoveAll(n.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(n.dir, "tmp"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.dir, "log4j2.properties"), []byte(log4j), 0o644); err != nil {
		return err
	}
	if err := c.writeProperties(n); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.java, c.javaArgs(n, "kafka.tools.StorageTool", "format", "-t", c.id, "-c", n.propertiesFile())...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format kafka node %d: %w\n%s", n.id, err, lastBytes(out, 2048))
	}
	return nil
}

// javaArgs keeps all that java writes inside the node's directory: libraries
// for compression are unpacked into java.io.tmpdir and would stay there after
// a SIGKILL.
func (c *Cluster) javaArgs(n *node, class string, args ...string) []string {
	out := slices.Clone(c.jvm)
	out = append(out,
		"-XX:-UsePerfData",
		"-XX:ErrorFile="+filepath.Join(n.dir, "hs_err.log"),
		"-Djava.awt.headless=true",
		"-Djava.io.tmpdir="+filepath.Join(n.dir, "tmp"),
		"-Dlog4j2.configurationFile="+filepath.Join(n.dir, "log4j2.properties"),
		"-cp", filepath.Join(c.libs, "*"),
		class)
	return append(out, args...)
}

// launch starts the node's process; it needs n.mu.
func (c *Cluster) launch(n *node) error {
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(c.java, c.javaArgs(n, "kafka.Kafka", n.propertiesFile())...)
	cmd.Dir = n.dir
	cmd.Stdout, cmd.Stderr = log, log
	n.proc, err = startProcess(cmd)
	if err != nil {
		return fmt.Errorf("launch kafka node %d: %w", n.id, err)
	}
	n.paused = false
	return nil
}
