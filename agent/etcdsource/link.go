package etcdsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// link is the one connection to etcd that an agent's source and registrar
// share. It is dialled by whoever needs it first, and closed when the last of
// its users leaves. Its methods may be called from several goroutines.
//
// A client that is given several members connects to all of them. In a fleet of
// thousands that is two thirds of the connections too many, so an agent's link
// has one member at a time: by chance at first, and the next one after a
// failure.
type link struct {
	cfg  Config
	tls  *fileCredentials // nil without tls
	one  bool             // one member at a time
	turn chan struct{}    // holds one token: whose turn it is to dial

	mu     sync.Mutex
	users  int
	member int              // of cfg.Endpoints, of a link with one at a time; counted on without end
	client *clientv3.Client // nil: not connected
	cancel context.CancelFunc
}

func newLink(cfg Config, log *slog.Logger) *link {
	l := &link{cfg: cfg, tls: newFileCredentials(cfg, log), turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// newAgentLink returns a link with one member at a time.
func newAgentLink(cfg Config, log *slog.Logger) *link {
	l := newLink(cfg, log)
	l.one, l.member = true, rand.N(1<<20)
	return l
}

// target is what the next client is to reach.
func (l *link) target() Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := l.cfg
	if l.one {
		cfg.Endpoints = []string{cfg.Endpoints[l.member%len(cfg.Endpoints)]}
	}
	return cfg
}

// enter makes the caller a user of the link until it calls leave.
func (l *link) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
}

func (l *link) leave() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users > 0 {
		return nil
	}
	return l.closeLocked()
}

// current returns the client, nil when there is none.
func (l *link) current() *clientv3.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// get returns the client, and dials it if there is none. ctx bounds the wait
// for it, not the client.
func (l *link) get(ctx context.Context) (*clientv3.Client, error) {
	if c := l.current(); c != nil {
		return c, nil
	}
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := l.current(); c != nil {
		return c, nil
	}
	life, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	c, err := dial(life, l.target(), l.tls)
	if !stop() {
		if err == nil {
			_ = c.Close()
		}
		err = ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		cancel()
		l.member++
		return nil, err
	}
	l.client, l.cancel = c, cancel
	return c, nil
}

// drop closes a client that has failed, so that the next one begins without
// anything of it. It does nothing if the client is not the link's any more.
func (l *link) drop(c *clientv3.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == c {
		l.member++
		_ = l.closeLocked()
	}
}

func (l *link) closeLocked() error {
	if l.client == nil {
		return nil
	}
	client, cancel := l.client, l.cancel
	l.client, l.cancel = nil, nil
	defer cancel()
	if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close connection to etcd: %w", err)
	}
	return nil
}
