// Package checkpoint proves what was delivered, and remembers it. A Tracker
// turns acknowledgements of any order into one safe offset a file; the Store
// keeps those offsets on disk.
package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// FileName is the database's name below state_dir.
const FileName = "checkpoints.db"

const (
	lockTimeout  = 2 * time.Second
	shortTimeout = 200 * time.Millisecond // for those who only ask whether an agent runs
)

// flushBytes is how many bytes may be delivered before a flush comes early:
// after a kill, not much more than this is sent again. At full speed it would be
// reached dozens of times a second, each of them two writes to the disk that are waited
// for: flushPause is the least time between two flushes of this kind.
const (
	flushBytes = 8 << 20
	flushPause = 100 * time.Millisecond
)

// manyMarks is from how many marks on a flush leaves so much of the database
// mapped that it is worth a system call to give it back.
const manyMarks = 1024

var (
	bucketFiles = []byte("files") // task → FileID → State
	bucketSeen  = []byte("seen")  // task → glob → time of the first look
)

// Source yields the state to store when a flush asks for it, so that a file
// whose offset moves a thousand times a second is encoded once.
type Source interface {
	Checkpoint() State
}

// Store keeps the committed offsets of all tasks in one bbolt database. Marks
// are gathered in memory and written in one transaction at each flush, so that
// no mark is ever on disk without those that were made before it; see Fence. A
// flush that fails keeps its marks for the next one: a full disk delays
// checkpoints, it never loses one.
//
// It may be used from several goroutines. Run must be running for marks to
// reach the disk by themselves; Sync writes them at once.
type Store struct {
	db       *bolt.DB
	path     string
	interval time.Duration
	log      *slog.Logger
	metrics  *Metrics

	flush  sync.Mutex // one flush at a time
	asking sync.Mutex // held by a flush from taking its marks until all have been asked for their states

	mu       sync.Mutex
	dirty    map[fileKey]Source // nil Source: delete
	flushing map[fileKey]Source // taken by a flush that is under way

	delivered atomic.Int64 // bytes since the last flush
	flushed   atomic.Int64 // when that was, since began
	began     time.Time
	pause     time.Duration // flushPause
	early     chan struct{} // asks for one before its time
}

type fileKey struct {
	task string
	id   FileID
}

func (k fileKey) compare(with fileKey) int {
	return cmp.Or(strings.Compare(k.task, with.task), cmp.Compare(k.id.Dev, with.id.Dev), cmp.Compare(k.id.Ino, with.id.Ino))
}

var errDamaged = errors.New("damaged database")

// ErrInUse says that another process has the database.
var ErrInUse = errors.New("the checkpoint database is in use")

// inUse is an ErrInUse in words for an agent.
type inUse struct{ path string }

func (e *inUse) Error() string {
	return e.path + " is in use by another agent; give each agent its own state_dir"
}

func (e *inUse) Unwrap() error { return ErrInUse }

// fixed is a state that does not change any more.
type fixed State

// Checkpoint implements Source.
func (s fixed) Checkpoint() State { return State(s) }

// Put stores the state of a file at the next flush.
func (s *Store) Put(task string, id FileID, st State) { s.Mark(task, id, fixed(st)) }

// Run flushes marks every interval, and earlier when much was delivered, until
// ctx ends, and once more then.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return s.Sync()
		case <-tick.C:
		case <-s.early:
		}
		err := s.Sync()
		switch {
		case err != nil && !failing:
			s.log.Error("checkpoints cannot be written; lines keep flowing, but a restart would send again what came since; free space or repair state_dir",
				"path", s.path, "error", err)
		case err == nil && failing:
			s.log.Info("checkpoints are written again", "path", s.path)
		}
		failing = err != nil
	}
}

// Mark says that the state of a file changed; src is asked for it at the next
// flush.
func (s *Store) Mark(task string, id FileID, src Source) {
	s.mu.Lock()
	s.dirty[fileKey{task, id}] = src
	s.mu.Unlock()
}

// Fence returns when no flush is about to ask for the state of a mark that it
// took before. A state that changes behind it is on disk no earlier than all
// that was marked before it.
func (s *Store) Fence() {
	s.asking.Lock()
	s.asking.Unlock() //nolint:staticcheck // to have had it is all
}

// Delivered counts n bytes that were acknowledged; many of them make the next
// flush come early.
func (s *Store) Delivered(n int) {
	if s.delivered.Add(int64(n)) < flushBytes || time.Since(s.began)-time.Duration(s.flushed.Load()) < s.pause {
		return
	}
	s.delivered.Store(0)
	s.FlushSoon()
}

// FlushSoon asks for a flush before its time, without waiting for it.
func (s *Store) FlushSoon() {
	select {
	case s.early <- struct{}{}:
	default:
	}
}

// Delete forgets a file at the next flush.
func (s *Store) Delete(task string, id FileID) { s.Mark(task, id, nil) }

// Sync writes all marks to disk now.
func (s *Store) Sync() error {
	s.flush.Lock()
	defer s.flush.Unlock()
	s.asking.Lock()
	asked := sync.OnceFunc(s.asking.Unlock)
	defer asked()
	s.mu.Lock()
	marks := s.dirty
	s.delivered.Store(0)
	s.flushed.Store(int64(time.Since(s.began)))
	if len(marks) == 0 {
		s.mu.Unlock()
		return nil
	}
	s.dirty, s.flushing = make(map[fileKey]Source), marks
	s.mu.Unlock()

	err := s.db.Update(func(tx *bolt.Tx) error {
		defer asked()
		return writeMarks(tx, marks)
	})
	if len(marks) > manyMarks {
		s.releasePages()
	}
	s.mu.Lock()
	s.flushing = nil
	if err != nil {
		for k, src := range marks {
			if _, newer := s.dirty[k]; !newer {
				s.dirty[k] = src
			}
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.metrics.errors.Inc()
		return fmt.Errorf("write checkpoints: %w", err)
	}
	s.metrics.flushes.Inc()
	return nil
}

// writeMarks puts marks into the database in the order of their keys: the
// database keeps what a transaction changes in sorted arrays until it ends.
func writeMarks(tx *bolt.Tx, marks map[fileKey]Source) error {
	var (
		task string
		b    *bolt.Bucket
	)
	for _, k := range slices.SortedFunc(maps.Keys(marks), fileKey.compare) {
		if b == nil || k.task != task {
			var err error
			if b, err = tx.Bucket(bucketFiles).CreateBucketIfNotExists([]byte(k.task)); err != nil {
				return err
			}
			task = k.task
		}
		if err := writeMark(b, k.id, marks[k]); err != nil {
			return err
		}
	}
	return nil
}

func writeMark(b *bolt.Bucket, id FileID, src Source) error {
	if src == nil {
		return b.Delete(id.key())
	}
	return putState(b, id, src.Checkpoint())
}

// Load returns what is stored of a task's files, marks not yet flushed
// included. A value that cannot be read is left out and reported.
func (s *Store) Load(task string) (map[FileID]State, error) {
	if err := s.Sync(); err != nil {
		s.log.Warn("checkpoints are read back before all of them could be written", "error", err)
	}
	marks := s.marks(task) // before the look into the database: what is flushed meanwhile is found in both
	out := map[FileID]State{}
	err := s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketFiles).Bucket([]byte(task))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			id, err := parseKey(k)
			if err != nil {
				s.log.Warn("a checkpoint cannot be read and is left out", "task", task, "error", err)
				return nil
			}
			st, err := decodeState(v)
			if err != nil {
				s.log.Warn("a checkpoint cannot be read and is left out", "task", task, "file", id.String(), "error", err)
				return nil
			}
			out[id] = st
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("load checkpoints of task %s: %w", task, err)
	}
	for id, src := range marks {
		if src == nil {
			delete(out, id)
		} else {
			out[id] = src.Checkpoint()
		}
	}
	return out, nil
}

// marks lists what of a task has not reached the disk yet.
func (s *Store) marks(task string) map[FileID]Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[FileID]Source{}
	for _, m := range []map[fileKey]Source{s.flushing, s.dirty} {
		for k, src := range m {
			if k.task == task {
				out[k.id] = src
			}
		}
	}
	return out
}

// Get returns what is stored of one file of a task, a mark not yet flushed
// included.
func (s *Store) Get(task string, id FileID) (st State, ok bool) {
	s.mu.Lock()
	src, marked := s.dirty[fileKey{task, id}]
	if !marked {
		src, marked = s.flushing[fileKey{task, id}]
	}
	s.mu.Unlock()
	if marked {
		if src == nil {
			return State{}, false
		}
		return src.Checkpoint(), true
	}
	err := s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketFiles).Bucket([]byte(task))
		if b == nil {
			return nil
		}
		v := b.Get(id.key())
		if v == nil {
			return nil
		}
		var err error
		st, err = decodeState(v)
		ok = err == nil
		return err
	})
	if err != nil {
		s.log.Warn("a checkpoint cannot be read and is left out", "task", task, "file", id.String(), "error", err)
	}
	return st, ok
}

// Tasks lists the names of the tasks that have checkpoints.
func (s *Store) Tasks() ([]string, error) {
	var names []string
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketFiles).ForEachBucket(func(k []byte) error {
			names = append(names, string(k))
			return nil
		})
	})
	return names, err
}

// Seen returns which of the task's globs were looked at before.
func (s *Store) Seen(task string) (map[string]bool, error) {
	seen := map[string]bool{}
	err := s.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSeen).Bucket([]byte(task))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, _ []byte) error {
			seen[string(k)] = true
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("load globs seen by task %s: %w", task, err)
	}
	return seen, nil
}

// MarkSeen notes that the first look at globs is over. The marks of the files
// that it found are written before: a crash between the two repeats the look.
func (s *Store) MarkSeen(task string, globs []string) error {
	if err := s.Sync(); err != nil {
		return err
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.Bucket(bucketSeen).CreateBucketIfNotExists([]byte(task))
		if err != nil {
			return err
		}
		for _, g := range globs {
			if err := b.Put([]byte(g), []byte(time.Now().UTC().Format(time.RFC3339))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note the first look of task %s: %w", task, err)
	}
	return nil
}

// Close writes all marks and closes the database.
func (s *Store) Close() error {
	return errors.Join(s.Sync(), s.db.Close())
}
