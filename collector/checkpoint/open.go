package checkpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Open opens or creates the database in dir. A damaged database is renamed to
// NAME.damaged-TIME and reported, and an empty one takes its place: collection
// goes on by each task's start setting. An error means that dir cannot be
// used, or that another agent uses it.
func Open(dir string, interval time.Duration, m *Metrics, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open checkpoint store: %w", withRemedy(err))
	}
	path := filepath.Join(dir, FileName)
	db, err := openChecked(path)
	if errors.Is(err, errDamaged) {
		aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
		if rerr := os.Rename(path, aside); rerr != nil {
			return nil, fmt.Errorf("open checkpoint store: %w; setting it aside: %w", err, rerr)
		}
		log.Error("checkpoint database is damaged, it was set aside; files are read by their task's start setting",
			"path", path, "set_aside", aside, "error", err)
		m.damaged.Inc()
		db, err = openChecked(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open checkpoint store: %w", withRemedy(err))
	}
	return newStore(db, path, interval, m, log), nil
}

// OpenExisting opens the database of an agent that does not run, for somebody
// who looks at it or, with write, changes it. It creates nothing and sets
// nothing aside. The error is an ErrInUse while an agent runs on dir, and
// an fs.ErrNotExist when no agent ever did.
func OpenExisting(dir string, write bool, log *slog.Logger) (*Store, error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open checkpoint store: %w", err)
	}
	db, err := openWith(path, &bolt.Options{Timeout: shortTimeout, ReadOnly: !write})
	if err != nil {
		return nil, fmt.Errorf("open checkpoint store: %w", withRemedy(err))
	}
	return newStore(db, path, time.Second, NewMetrics(prometheus.NewRegistry()), log), nil
}

func newStore(db *bolt.DB, path string, interval time.Duration, m *Metrics, log *slog.Logger) *Store {
	return &Store{
		db: db, path: path, interval: interval, log: log, metrics: m, dirty: map[fileKey]Source{},
		began: time.Now(), pause: flushPause, early: make(chan struct{}, 1),
	}
}

// withRemedy says what to do about a directory that cannot be used.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free space there, or set state_dir to a place that has some", err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w; let the agent's user write there, or set state_dir to a place where it can", err)
	}
	return err
}

// openChecked opens the database and reads it once from end to end. bbolt
// meets a torn page with a panic or, on a file that is too short, with a
// memory fault: both are told as errDamaged.
func openChecked(path string) (db *bolt.DB, err error) {
	return openWith(path, &bolt.Options{Timeout: lockTimeout})
}

func openWith(path string, opts *bolt.Options) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
		if err != nil && db != nil {
			_ = closeQuietly(db)
			db = nil
		}
	}()
	db, err = bolt.Open(path, 0o640, opts)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, &inUse{path}
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		var pathErr *os.PathError
		var errno syscall.Errno
		if errors.As(err, &pathErr) || errors.As(err, &errno) {
			return nil, err // the system's fault, not the content's
		}
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	complete := false
	if err := db.View(func(tx *bolt.Tx) error {
		if info, err := os.Stat(path); err == nil && info.Size() < tx.Size() {
			return fmt.Errorf("%d bytes of %d", info.Size(), tx.Size())
		}
		complete = tx.Bucket(bucketFiles) != nil && tx.Bucket(bucketSeen) != nil
		return readAll(tx)
	}); err != nil {
		return db, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if complete {
		return db, nil // nothing is written, so that a start needs no free space
	}
	if opts.ReadOnly {
		return db, fmt.Errorf("%w: it holds no checkpoints", errDamaged)
	}
	return db, db.Update(func(tx *bolt.Tx) error {
		_, err1 := tx.CreateBucketIfNotExists(bucketFiles)
		_, err2 := tx.CreateBucketIfNotExists(bucketSeen)
		return errors.Join(err1, err2)
	})
}

func readAll(tx *bolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
		return b.ForEachBucket(func(k []byte) error {
			return b.Bucket(k).ForEach(func(_, v []byte) error {
				_, _ = decodeState(v)
				return nil
			})
		})
	})
}

func closeQuietly(db *bolt.DB) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close database: %v", r)
		}
	}()
	return db.Close()
}
