// Package localetcd runs a real etcd inside this process: one or three members
// with ports of their own on 127.0.0.1.
//
// It is what the sandbox and the tests have in common, and promises what both
// need: Start returns when every member serves, and a member that was stopped
// comes back on its data and its ports. Nothing is logged unless asked for.
package localetcd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"logferry/test/ports"
)

// Config says which cluster to start. The zero value is one member in a
// temporary directory.
type Config struct {
	// Members is how many there are; default 1.
	Members int
	// Dir holds one data directory a member. Empty: a temporary directory,
	// which Close removes.
	Dir string
	// Ports are the client's and the peers' port of each member in turn, 2 a
	// member; default: free ones.
	Ports []int
	// TokenTTL is how long a login lasts that is not used, in whole seconds;
	// default: etcd's own 5 minutes.
	TokenTTL time.Duration
	// TLS is what clients must speak; the zero value: plain text.
	TLS TLS
	// Durable keeps etcd's own settings where speed is measured: each write is
	// synced to the disk, and heartbeats and elections allow for a network.
	Durable bool
	// Log takes etcd's own log lines; default: nobody.
	Log *zap.Logger
}

// TLS names PEM files. With a ClientCAFile, clients must show a certificate
// that one of its authorities has signed.
type TLS struct{ CertFile, KeyFile, ClientCAFile string }

// Cluster is a running etcd cluster. Its members are numbered from 0. It may
// be used from several goroutines; calls that start or stop a member wait for
// each other.
type Cluster struct {
	dir      string
	ownDir   bool
	log      *zap.Logger
	tokenTTL time.Duration
	tls      TLS
	durable  bool
	reserved *ports.Reservation // nil when the caller named the ports
	members  []*member

	mu     sync.Mutex
	closed bool
}

type member struct {
	name   string
	dir    string
	client url.URL
	peer   url.URL
	etcd   *embed.Etcd // nil while it is stopped; guarded by Cluster.mu
}

// Start starts all members and returns when they serve. ctx bounds the start
// alone.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := prepare(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	all := make([]int, len(c.members))
	for i := range all {
		all[i] = i
	}
	if err := c.Restart(ctx, all...); err != nil {
		return nil, fmt.Errorf("start etcd: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

func prepare(cfg Config) (*Cluster, error) {
	c := &Cluster{dir: cfg.Dir, log: cfg.Log, tokenTTL: cfg.TokenTTL, tls: cfg.TLS, durable: cfg.Durable}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	count := max(cfg.Members, 1)
	p := cfg.Ports
	if p == nil {
		var err error
		if c.reserved, err = ports.Reserve(2 * count); err != nil {
			return nil, err
		}
		p = c.reserved.Ports
	}
	if len(p) != 2*count {
		return nil, fmt.Errorf("%d ports for %d members: 2 a member are needed", len(p), count)
	}
	if c.dir == "" {
		var err error
		if c.dir, err = os.MkdirTemp("", "logferry-etcd-*"); err != nil {
			return nil, err
		}
		c.ownDir = true
	}
	for i := range count {
		name := fmt.Sprintf("member-%d", i)
		c.members = append(c.members, &member{
			name: name, dir: filepath.Join(c.dir, name), client: localURL(c.scheme(), p[2*i]), peer: localURL("http", p[2*i+1]),
		})
	}
	return c, nil
}

func (c *Cluster) scheme() string {
	if c.tls.CertFile != "" {
		return "https"
	}
	return "http"
}

func localURL(scheme string, port int) url.URL {
	return url.URL{Scheme: scheme, Host: fmt.Sprintf("127.0.0.1:%d", port)}
}

func (c *Cluster) config(m *member) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = m.name, m.dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{m.client}, []url.URL{m.client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{m.peer}, []url.URL{m.peer}
	var initial []string
	for _, other := range c.members {
		initial = append(initial, other.name+"="+other.peer.String())
	}
	cfg.InitialCluster = strings.Join(initial, ",")
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(c.log)
	cfg.LogLevel = "error" // for the loggers that etcd makes besides the one it is given
	cfg.EnableGRPCGateway = false
	if c.tokenTTL > 0 {
		cfg.AuthTokenTTL = uint(max(c.tokenTTL/time.Second, 1))
	}
	cfg.BcryptCost = uint(4) // the cheapest: passwords of tests guard nothing
	cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = c.tls.CertFile, c.tls.KeyFile
	cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = c.tls.ClientCAFile, c.tls.ClientCAFile != ""
	if c.durable {
		return cfg
	}
	// A member ends with this process at the latest, so the page cache is
	// safe enough, and elections need not allow for a network.
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = 50, 500
	return cfg
}

// Endpoints returns the client URLs of all members, running or not.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.client.String())
	}
	return out
}

// Running says whether a member is up.
func (c *Cluster) Running(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return i >= 0 && i < len(c.members) && c.members[i].etcd != nil
}

// Stop stops a member at once: its clients' connections and watches break off.
// Its data stays.
func (c *Cluster) Stop(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.member(i)
	if err != nil {
		return err
	}
	if m.etcd == nil {
		return fmt.Errorf("stop etcd member %d: it is not running", i)
	}
	m.stop()
	return nil
}

// Wipe removes the data of a member that is stopped. It makes sense for a
// cluster of one: an etcd that has lost everything.
func (c *Cluster) Wipe(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.member(i)
	if err != nil {
		return err
	}
	if m.etcd != nil {
		return fmt.Errorf("wipe etcd member %d: it is running", i)
	}
	return os.RemoveAll(m.dir)
}

// Restart starts members that are stopped, on their data and ports, and
// returns when they serve. Members that can only reach a quorum together must
// be named in one call. When it fails, the members it named are stopped.
func (c *Cluster) Restart(ctx context.Context, members ...int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("restart etcd: the cluster is closed")
	}
	var starting []*member
	for _, i := range members {
		m, err := c.member(i)
		if err != nil {
			return err
		}
		if m.etcd != nil {
			return fmt.Errorf("restart etcd member %d: it is running", i)
		}
		starting = append(starting, m)
	}
	if err := c.bringUp(ctx, starting); err != nil {
		for _, m := range starting {
			m.stop()
		}
		return err
	}
	return nil
}

func (c *Cluster) bringUp(ctx context.Context, members []*member) error {
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			etcd, err := embed.StartEtcd(c.config(m))
			if err != nil {
				errs[i] = fmt.Errorf("start etcd %s: %w", m.name, err)
				return
			}
			m.etcd = etcd
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, m := range members {
		select {
		case <-m.etcd.Server.ReadyNotify():
		case err := <-m.etcd.Err():
			return fmt.Errorf("start etcd %s: %w", m.name, err)
		case <-ctx.Done():
			return fmt.Errorf("wait for etcd %s: %w", m.name, ctx.Err())
		}
	}
	return nil
}

// stop needs Cluster.mu.
func (m *member) stop() {
	if m.etcd == nil {
		return
	}
	m.etcd.Close()
	m.etcd = nil
}

// Close stops all members, and removes the directory if it was a temporary
// one. Further calls do nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.stopAll()
	var errs []error
	if c.reserved != nil {
		errs = append(errs, c.reserved.Release())
	}
	if c.ownDir {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// stopAll stops the leader last: a leader waits for seconds to pass its office
// on to a member that is being stopped, and not at all when none is left.
func (c *Cluster) stopAll() {
	var leaders []*member
	var wg sync.WaitGroup
	for _, m := range c.members {
		if m.etcd != nil && m.etcd.Server.Leader() == m.etcd.Server.MemberID() {
			leaders = append(leaders, m)
			continue
		}
		wg.Go(m.stop)
	}
	wg.Wait()
	for _, m := range leaders {
		m.stop()
	}
}

func (c *Cluster) member(i int) (*member, error) {
	if i < 0 || i >= len(c.members) {
		return nil, fmt.Errorf("no etcd member %d: the cluster has %d, numbered from 0", i, len(c.members))
	}
	return c.members[i], nil
}
