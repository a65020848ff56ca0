package etcdsource

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/task"
)

var (
	// ErrCompacted is returned for a version of a task that etcd has forgotten.
	ErrCompacted = errors.New("etcd has compacted its history beyond that")
	// ErrConflict is returned when a task was changed by somebody else meanwhile.
	ErrConflict = errors.New("it was changed by somebody else meanwhile")
)

// At returns a task as it was at a revision of etcd, also one that is not
// there any more; ErrNotFound if there was none, ErrCompacted if etcd cannot
// tell.
func (s *Store) At(ctx context.Context, name string, revision int64) (Entry, error) {
	var entry Entry
	err := s.do(ctx, "get", name, func(ctx context.Context, c *clientv3.Client, key string) error {
		resp, err := c.Get(ctx, key, clientv3.WithRev(revision))
		switch {
		case is(err, rpctypes.ErrCompacted):
			return ErrCompacted
		case is(err, rpctypes.ErrFutureRev):
			return fmt.Errorf("revision %d is yet to come: %w", revision, ErrNotFound)
		case err != nil:
			return err
		case len(resp.Kvs) == 0:
			return ErrNotFound
		}
		entry = s.entry(resp.Kvs[0])
		return nil
	})
	return entry, err
}

// History returns the versions of a task since it was last created, the newest
// first and at most limit. compacted says that etcd has forgotten those before;
// ErrNotFound if the task is not there now.
func (s *Store) History(ctx context.Context, name string, limit int) (versions []Entry, compacted bool, err error) {
	entry, err := s.Get(ctx, name)
	if err != nil {
		return nil, false, err
	}
	versions = append(versions, entry)
	for entry.Version > 1 && len(versions) < limit {
		entry, err = s.At(ctx, name, entry.Modified-1)
		switch {
		case errors.Is(err, ErrCompacted):
			return versions, true, nil
		case err != nil:
			return nil, false, err
		}
		versions = append(versions, entry)
	}
	return versions, false, nil
}

// Replace is Put for a task whose newest change is that of a revision, 0 for
// one that is not there; ErrConflict when it is not so any more.
func (s *Store) Replace(ctx context.Context, name string, raw []byte, modified int64) (Entry, error) {
	if len(raw) > task.MaxBytes {
		return Entry{}, fmt.Errorf("put task %q: %d bytes are too many, the limit is %s", name, len(raw), task.ByteSize(task.MaxBytes))
	}
	var entry Entry
	err := s.do(ctx, "put", name, func(ctx context.Context, c *clientv3.Client, _ string) (err error) {
		entry, err = s.write(ctx, c, name, raw, modified)
		return err
	})
	return entry, err
}
