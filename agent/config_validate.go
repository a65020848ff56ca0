package agent

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

const (
	minBufferBytes  = task.ByteSize(1 << 20)
	minDeletedBytes = task.ByteSize(1 << 20)
	minHeadroom     = task.ByteSize(16 << 20) // what the agent needs beside its buffers
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// Validate reports the first value that the agent cannot work with, as one
// line that says where the value was set and what to write instead. It expects
// SetDefaults to have been called.
func (c *Config) Validate() error {
	for _, check := range []func() error{
		c.validateIdentity, c.validatePaths, c.validateHTTP, c.validateClusters, c.validateEtcd, c.validateLog, c.validateBounds,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// fault is an error about the value of a key. It names the origin of the key,
// or of the nearest section around it.
func (c *Config) fault(key, format string, args ...any) error {
	msg := strings.Join(strings.Fields(key+": "+fmt.Sprintf(format, args...)), " ") // a name may hold a line break
	for at := key; at != ""; {
		if origin, ok := c.origins[at]; ok {
			return errors.New(origin + ": " + msg)
		}
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	return errors.New(msg)
}

func (c *Config) validateIdentity() error {
	switch {
	case c.ID == "":
		return c.fault("id", "the host name is not known; set id")
	case !idPattern.MatchString(c.ID):
		return c.fault("id", "%q cannot be an id; use letters, digits, '.', '_' and '-'", c.ID)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if !task.ValidWord(key) {
			return c.fault("labels."+key, "%q cannot name a label; use letters, digits, '.', '_' and '-'", key)
		}
		if strings.ContainsFunc(c.Labels[key], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return c.fault("labels."+key, "%q holds a control character; take it out", c.Labels[key])
		}
	}
	return nil
}

func (c *Config) validatePaths() error {
	if _, err := task.NewAllowList(c.AllowPaths); err != nil {
		var problems task.Problems
		if errors.As(err, &problems) && len(problems) > 0 {
			return c.fault(problems[0].Key, "%s", problems[0].Text)
		}
		return c.fault("allow_paths", "%v", err)
	}
	if !slices.Contains([]string{SymlinksFollow, SymlinksRefuse}, c.Symlinks) {
		return c.fault("symlinks", "%q is unknown; write follow or refuse", c.Symlinks)
	}
	for i, glob := range c.Tasks.Files {
		if !doublestar.ValidatePattern(glob) {
			return c.fault(fmt.Sprintf("tasks.files[%d]", i), "%q is no glob; close its brackets and braces", glob)
		}
	}
	return nil
}

func (c *Config) validateClusters() error {
	if len(c.Kafka.Brokers) > 0 || len(c.Clusters) == 0 {
		if err := c.Kafka.Validate(); err != nil {
			return c.sectionFault("kafka", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		if !task.ValidWord(name) {
			return c.fault("clusters."+name, "%q cannot name a cluster; use letters, digits, '.', '_' and '-'", name)
		}
		if err := c.Clusters[name].Validate(); err != nil {
			return c.sectionFault("clusters."+name, err)
		}
	}
	return nil
}

// sectionFault puts the key that another package's message begins with
// behind the name of its section, so that the line of that key is found.
func (c *Config) sectionFault(section string, err error) error {
	key, rest, found := strings.Cut(err.Error(), ": ")
	if !found || strings.ContainsFunc(key, func(r rune) bool { return r != '_' && r != '.' && (r < 'a' || r > 'z') }) {
		return c.fault(section, "%v", err)
	}
	return c.fault(section+"."+key, "%s", rest)
}

func (c *Config) validateEtcd() error {
	e := c.Tasks.Etcd
	if e == nil {
		return nil
	}
	if len(e.Endpoints) == 0 {
		return c.fault("tasks.etcd.endpoints", "no endpoint is named; write [127.0.0.1:2379], or take the etcd section out")
	}
	for i, endpoint := range e.Endpoints {
		if err := checkEndpoint(endpoint); err != nil {
			return c.fault(fmt.Sprintf("tasks.etcd.endpoints[%d]", i), "%v; write host:port or https://host:port", err)
		}
	}
	if err := etcdsource.CheckGroups(e.Groups); err != nil {
		index, text, _ := strings.Cut(err.Error(), ": ")
		return c.fault("tasks.etcd.groups"+index, "%s", text)
	}
	switch {
	case !strings.HasPrefix(e.Prefix, "/"):
		return c.fault("tasks.etcd.prefix", "%q must start with / and hold a name; write %s", e.Prefix, DefaultEtcdPrefix)
	case e.Password != "" && e.PasswordFile != "":
		return c.fault("tasks.etcd.password", "password and password_file are both set; keep one")
	case e.Username == "" && (e.Password != "" || e.PasswordFile != ""):
		return c.fault("tasks.etcd.username", "a password is set but no username; set both or neither")
	case e.Username != "" && e.Password == "" && e.PasswordFile == "":
		return c.fault("tasks.etcd.username", "a username is set but no password; set password or password_file")
	}
	if e.LeaseTTL < etcdsource.MinLeaseTTL || e.LeaseTTL > etcdsource.MaxLeaseTTL {
		return c.fault("tasks.etcd.lease_ttl", "%s is out of bounds; write something from %s to %s", e.LeaseTTL, etcdsource.MinLeaseTTL, etcdsource.MaxLeaseTTL)
	}
	if e.ReportInterval < etcdsource.MinReportInterval || e.ReportInterval > etcdsource.MaxReportInterval {
		return c.fault("tasks.etcd.report_interval", "%s is out of bounds; write something from %s to %s", e.ReportInterval, etcdsource.MinReportInterval, etcdsource.MaxReportInterval)
	}
	return c.validateEtcdTLS(e)
}

func (c *Config) validateEtcdTLS(e *EtcdConfig) error {
	if e.TLS == nil {
		return nil
	}
	for i, endpoint := range e.Endpoints {
		if strings.HasPrefix(endpoint, "http://") {
			return c.fault(fmt.Sprintf("tasks.etcd.endpoints[%d]", i), "%q is plain text while tls is set; write https:// or leave the scheme out, or take tls out", endpoint)
		}
	}
	if err := e.TLS.Validate(); err != nil {
		return c.sectionFault("tasks.etcd.tls", err)
	}
	return nil
}

func (c *Config) validateLog() error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return c.fault("log.level", "%q is no level; write debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		return c.fault("log.format", "%q is no format; write text or json", c.Log.Format)
	}
	return nil
}

func (c *Config) validateBounds() error {
	if c.Memory.BufferBytes < minBufferBytes {
		return c.fault("memory.buffer_bytes", "%d bytes are too few; write at least 1MiB", int64(c.Memory.BufferBytes))
	}
	if c.Memory.Limit != 0 && c.Memory.Limit-minHeadroom < c.Memory.BufferBytes {
		return c.fault("memory.limit", "%d bytes leave no room beside memory.buffer_bytes; write at least 16MiB more than that", int64(c.Memory.Limit))
	}
	if c.Deleted.MaxBytes != 0 && c.Deleted.MaxBytes < minDeletedBytes {
		return c.fault("deleted_files.max_bytes", "%d bytes are too few; write at least 1MiB, or 0 for no bound", int64(c.Deleted.MaxBytes))
	}
	for _, bound := range []struct {
		key      string
		value    time.Duration
		min, max time.Duration
	}{
		{"shutdown_timeout", c.ShutdownTimeout, time.Millisecond, time.Hour},
		{"reconcile_interval", c.ReconcileInterval, 100 * time.Millisecond, 24 * time.Hour},
		{"checkpoint_interval", c.CheckpointInterval, time.Millisecond, time.Hour},
		{"kubernetes.wait", c.Kubernetes.Wait, time.Millisecond, time.Minute},
		{"kubernetes.keep", c.Kubernetes.Keep, time.Second, 24 * time.Hour},
	} {
		if bound.value < bound.min || bound.value > bound.max {
			return c.fault(bound.key, "%s is out of bounds; write something from %s to %s", bound.value, bound.min, bound.max)
		}
	}
	return nil
}

// checkHostPort wants host:port with a port from minPort on.
func checkHostPort(address string, minPort int) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no host:port", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < minPort || n > 65535 {
		return fmt.Errorf("%q has no port from %d to 65535", address, minPort)
	}
	return nil
}

func checkEndpoint(endpoint string) error {
	if strings.Contains(endpoint, "@") { // whatever else is wrong with it, a message must not show it
		return errors.New("it holds a login, which belongs into username and password_file")
	}
	if !strings.Contains(endpoint, "://") {
		return checkHostPort(endpoint, 1)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("%q is no URL", endpoint)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q has neither http nor https", endpoint)
	}
	return checkHostPort(u.Host, 1)
}
