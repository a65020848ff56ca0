// Package etcdsource yields the tasks that are kept in etcd, and stores them
// there for the command line. Its promise: an etcd that is down, slow, or
// refuses the login stops nothing; the last good set stays, also over a
// restart of the agent, and what changed meanwhile is found as soon as etcd
// answers again.
//
// A task is the value of the key PREFIX/tasks/NAME, in YAML or JSON; one of a
// group that of PREFIX/groups/GROUP/tasks/NAME, and only agents of that group
// ever see it.
package etcdsource

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
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
	// Groups are those that the agent belongs to: their tasks concern it beside
	// those that are for all agents.
	Groups []string
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

	group string // whose keys tasks, rollouts and goods name; empty: those for all agents
}

// MaxGroups is how many groups an agent can belong to.
const MaxGroups = 16

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
	if err := CheckGroups(c.Groups); err != nil {
		return fmt.Errorf("etcd groups%w", err)
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

// CheckGroups reports groups that an agent cannot belong to. The error begins
// with the index of the one to mend.
func CheckGroups(groups []string) error {
	if len(groups) > MaxGroups {
		return fmt.Errorf("[%d]: an agent can belong to %d groups at most; select by labels within a group instead", MaxGroups, MaxGroups)
	}
	for i, g := range groups {
		switch {
		case !task.ValidWord(g):
			return fmt.Errorf("[%d]: %q cannot name a group; use up to 63 letters, digits, '.', '_' and '-'", i, g)
		case slices.Contains(groups[:i], g):
			return fmt.Errorf("[%d]: %q is named twice; remove one of them", i, g)
		}
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
		if u.User != nil {
			return fmt.Errorf("it holds a login, which belongs into username and password")
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

// in returns the configuration of what is kept for a group; empty: for all agents.
func (c Config) in(group string) Config {
	c.group = group
	return c
}

// scopes returns the configuration of what is for all agents, and then that of
// each group of this one.
func (c Config) scopes() []Config {
	all := []Config{c.in("")}
	for _, g := range c.Groups {
		all = append(all, c.in(g))
	}
	return all
}

// base is where the tasks of a group and all that belongs to them are kept.
func (c Config) base() string {
	if c.group == "" {
		return c.Prefix
	}
	return c.groups() + c.group
}

// groups is the prefix of all groups.
func (c Config) groups() string { return c.Prefix + "/groups/" }

// tasks is the prefix of the keys that hold tasks.
func (c Config) tasks() string { return c.base() + "/tasks/" }

// place takes a key apart: what kind of thing it holds ("tasks", "rollouts" and
// so on), for which group, and the name of that.
func (c Config) place(key string) (kind, group, name string) {
	rest, ok := strings.CutPrefix(key, c.Prefix+"/")
	if !ok {
		return "", "", ""
	}
	if inner, ok := strings.CutPrefix(rest, "groups/"); ok {
		group, rest, _ = strings.Cut(inner, "/")
	}
	kind, name, _ = strings.Cut(rest, "/")
	return kind, group, name
}

// Qualified is a task's name as it is written where tasks of several groups
// stand beside each other: GROUP/NAME, and NAME for those that are for all.
func Qualified(group, name string) string {
	if group == "" {
		return name
	}
	return group + "/" + name
}
