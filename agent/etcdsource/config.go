// Package etcdsource yields the tasks that are kept in etcd, and stores them
// there for the command line. Its promise: an etcd that is down, slow, or
// refuses the login stops nothing; the last good set stays, also over a
// restart of the agent, and what changed meanwhile is found as soon as etcd
// answers again.
//
// A task is the value of the key PREFIX/tasks/NAME, in YAML or JSON.
package etcdsource

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"logferry/agent/task"
)

// Config says how to reach etcd and what to make of what is in it.
type Config struct {
	Endpoints []string // host:port or http(s)://host:port, at least one
	Prefix    string   // default "/logferry"
	Username  string   // empty: no login
	Password  string
	// PasswordFile holds the password instead; it is read again at each login, and
	// line breaks at its end do not count.
	PasswordFile string
	// TLS is for endpoints with https and those without a scheme; nil: the
	// system's authorities for the former, plain text for the latter.
	TLS *TLSConfig

	DialTimeout    time.Duration // for connecting and the login; default 5s
	RequestTimeout time.Duration // for each request; default 5s
	WatchTimeout   time.Duration // a watch that gives no sign of life for so long is given up; default 30s
	ResyncInterval time.Duration // between complete listings, give or take a fifth; default 5m

	// CachePath is the file that holds the last good set; empty: none is kept.
	CachePath string
	// AllowPaths is all that a task can reach.
	AllowPaths task.AllowList
	// Identity is what selectors of tasks are held against.
	Identity task.Identity
}

// SetDefaults fills in what is not set.
func (c *Config) SetDefaults() {
	if c.Prefix == "" {
		c.Prefix = "/logferry"
	}
	c.Prefix = strings.TrimRight(c.Prefix, "/")
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.DialTimeout, 5 * time.Second},
		{&c.RequestTimeout, 5 * time.Second},
		{&c.WatchTimeout, 30 * time.Second},
		{&c.ResyncInterval, 5 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Validate reports a configuration that cannot work, in one line.
func (c Config) Validate() error {
	if len(c.Endpoints) == 0 {
		return fmt.Errorf("etcd endpoints: none given; list them, such as 127.0.0.1:2379")
	}
	for i, e := range c.Endpoints {
		if err := checkEndpoint(e); err != nil {
			return fmt.Errorf("etcd endpoints[%d]: %w", i, err)
		}
	}
	if !strings.HasPrefix(c.Prefix, "/") {
		return fmt.Errorf("etcd prefix: %q does not begin with /; write /logferry or the like", c.Prefix)
	}
	if (c.Password != "" || c.PasswordFile != "") && c.Username == "" {
		return fmt.Errorf("etcd username: is missing while a password is set; give both or none")
	}
	if c.TLS != nil {
		if err := c.TLS.Validate(); err != nil {
			return fmt.Errorf("etcd tls.%w", err)
		}
	}
	if min(c.DialTimeout, c.RequestTimeout, c.WatchTimeout, c.ResyncInterval) <= 0 {
		return fmt.Errorf("etcd timeouts: must be positive; leave them out for the defaults")
	}
	return nil
}

func checkEndpoint(e string) error {
	address := e
	if strings.Contains(e, "://") {
		u, err := url.Parse(e)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%q is not a URL of etcd; write https://HOST:2379 or HOST:2379", e)
		}
		address = u.Host
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return fmt.Errorf("%q has no host and port; write HOST:2379", e)
	}
	return nil
}

// password returns what to log in with at this moment.
func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	data, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read etcd password: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// tasks returns the prefix of all keys that hold tasks.
func (c Config) tasks() string { return c.Prefix + "/tasks/" }
