package etcdsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/task"
)

// ErrNotFound is returned for a task that is not in etcd.
var ErrNotFound = errors.New("no such task in etcd")

// Entry is one task as it is stored.
type Entry struct {
	Group    string // empty: it is for all agents
	Name     string
	Raw      []byte
	Created  int64 // revision that created it
	Modified int64 // revision of its last change
	Version  int64 // how often it was written since it was created, from 1
}

// Store reads and writes tasks in etcd, for the command line. It connects
// with its first request. Its methods may be called from several goroutines;
// every request has a deadline, and every error is one line with a
// remedy.
type Store struct {
	cfg  Config
	log  *slog.Logger
	link *link

	scoped bool // Fleet leaves out what is not of the store's group
}

// OpenStore returns a store. It uses the fields of cfg that say how to reach
// etcd, and does not connect yet.
func OpenStore(cfg Config, log *slog.Logger) (*Store, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: log, link: newLink(cfg, log)}
	s.link.enter()
	return s, nil
}

// Close ends the connection. It is called once.
func (s *Store) Close() error { return s.link.leave() }

// Put stores raw as it is under the task's name and returns what is there
// then; Version 1 says that it is new. The text is checked for its size only: validate it
// with task.DecodeOne before.
func (s *Store) Put(ctx context.Context, name string, raw []byte) (Entry, error) {
	if len(raw) > task.MaxBytes {
		return Entry{}, fmt.Errorf("put task %q: %d bytes are too many, the limit is %s", name, len(raw), task.ByteSize(task.MaxBytes))
	}
	var entry Entry
	err := s.do(ctx, "put", name, func(ctx context.Context, c *clientv3.Client, _ string) (err error) {
		entry, err = s.write(ctx, c, name, raw, anyRevision)
		return err
	})
	return entry, err
}

// Get returns one task; ErrNotFound if there is none of that name.
func (s *Store) Get(ctx context.Context, name string) (Entry, error) {
	var entry Entry
	err := s.do(ctx, "get", name, func(ctx context.Context, c *clientv3.Client, key string) error {
		resp, err := c.Get(ctx, key)
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			return ErrNotFound
		}
		entry = s.entry(resp.Kvs[0])
		return nil
	})
	return entry, err
}

// Qualified is the task's name with its group.
func (e Entry) Qualified() string { return Qualified(e.Group, e.Name) }

// Group returns the store of a group's tasks, on the same connection; it is not
// closed. Its Fleet is the whole one.
func (s *Store) Group(name string) *Store {
	group := *s
	group.cfg = s.cfg.in(name)
	return &group
}

// ListAll returns the tasks for all agents and then those of all groups, sorted
// by group and name.
func (s *Store) ListAll(ctx context.Context) ([]Entry, error) {
	all := s.Group("")
	entries, _, err := all.List(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c, err := s.link.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", explain(s.cfg, err))
	}
	resp, err := c.Get(ctx, s.cfg.groups(), clientv3.WithPrefix())
	if is(err, rpctypes.ErrPermissionDenied) { // a role from before groups
		return entries, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tasks of groups: %w", explain(s.cfg, err))
	}
	for _, kv := range resp.Kvs {
		if kind, group, _ := s.cfg.place(string(kv.Key)); kind == "tasks" {
			entries = append(entries, s.Group(group).entry(kv))
		}
	}
	return entries, nil
}

// List returns the tasks for all agents, or those of the store's group, sorted
// by name, and the revision that they were read at.
func (s *Store) List(ctx context.Context) ([]Entry, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c, err := s.link.get(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("list tasks: %w", explain(s.cfg, err))
	}
	resp, err := c.Get(ctx, s.cfg.tasks(), clientv3.WithPrefix())
	if err != nil {
		return nil, 0, fmt.Errorf("list tasks: %w", explain(s.cfg, err))
	}
	entries := make([]Entry, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		entries[i] = s.entry(kv)
	}
	return entries, resp.Header.Revision, nil
}

// Delete removes a task and returns the revision of that; ErrNotFound if
// there is none of that name.
func (s *Store) Delete(ctx context.Context, name string) (int64, error) {
	var revision int64
	err := s.do(ctx, "delete", name, func(ctx context.Context, c *clientv3.Client, key string) error {
		ops := []clientv3.Op{clientv3.OpDelete(key), clientv3.OpDelete(s.cfg.rollouts() + name), clientv3.OpDelete(s.cfg.goods() + name)}
		resp, err := c.Txn(ctx).Then(ops...).Commit()
		if is(err, rpctypes.ErrPermissionDenied) { // a role from before rollouts
			resp, err = c.Txn(ctx).Then(ops[0]).Commit()
		}
		if err != nil {
			return err
		}
		if resp.Responses[0].GetResponseDeleteRange().Deleted == 0 {
			return ErrNotFound
		}
		revision = resp.Header.Revision
		return nil
	})
	return revision, err
}

// do runs one request on one task's key, with its deadline.
func (s *Store) do(ctx context.Context, verb, name string, request func(context.Context, *clientv3.Client, string) error) error {
	if err := task.CheckName(name); err != nil {
		return fmt.Errorf("%s task: %w", verb, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c, err := s.link.get(ctx)
	if err != nil {
		return fmt.Errorf("%s task %q: %w", verb, name, explain(s.cfg, err))
	}
	err = request(ctx, c, s.cfg.tasks()+name)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCompacted) || errors.Is(err, ErrConflict) {
		return fmt.Errorf("%s task %q: %w", verb, name, err)
	}
	if err != nil {
		return fmt.Errorf("%s task %q: %w", verb, name, explain(s.cfg, err))
	}
	return nil
}

func (s *Store) entry(kv *mvccpb.KeyValue) Entry {
	return Entry{
		Group: s.cfg.group, Name: strings.TrimPrefix(string(kv.Key), s.cfg.tasks()), Raw: kv.Value,
		Created: kv.CreateRevision, Modified: kv.ModRevision, Version: kv.Version,
	}
}
