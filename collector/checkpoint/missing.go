package checkpoint

import (
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// bucketMissing holds task → when it was first found to be gone, in RFC 3339. It
// is made when the first one is.
var bucketMissing = []byte("missing")

// Missing returns since when each task is gone of which something is stored and
// that present says no to. It notes those that are so for the first time, and
// forgets the note of those that are there again.
func (s *Store) Missing(present func(task string) bool, now time.Time) (map[string]time.Time, error) {
	out, back := map[string]time.Time{}, []string{}
	fresh := 0
	err := s.db.View(func(tx *bolt.Tx) error {
		noted := tx.Bucket(bucketMissing)
		for _, top := range [][]byte{bucketFiles, bucketSeen} {
			if err := tx.Bucket(top).ForEachBucket(func(k []byte) error {
				if !present(string(k)) {
					out[string(k)] = time.Time{}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		if noted == nil {
			fresh = len(out)
			return nil
		}
		for name := range out {
			if since, err := time.Parse(time.RFC3339, string(noted.Get([]byte(name)))); err == nil {
				out[name] = since
			} else {
				fresh++
			}
		}
		return noted.ForEach(func(k, _ []byte) error {
			if _, gone := out[string(k)]; !gone {
				back = append(back, string(k))
			}
			return nil
		})
	})
	if err == nil && fresh+len(back) > 0 {
		err = s.db.Update(func(tx *bolt.Tx) error { return note(tx, out, back, now) })
	}
	if err != nil {
		return nil, fmt.Errorf("look for checkpoints of tasks that are gone: %w", err)
	}
	return out, nil
}

func note(tx *bolt.Tx, missing map[string]time.Time, back []string, now time.Time) error {
	b, err := tx.CreateBucketIfNotExists(bucketMissing)
	if err != nil {
		return err
	}
	for _, name := range back {
		if err := b.Delete([]byte(name)); err != nil {
			return err
		}
	}
	for name, since := range missing {
		if !since.IsZero() {
			continue
		}
		missing[name] = now
		if err := b.Put([]byte(name), []byte(now.UTC().Format(time.RFC3339))); err != nil {
			return err
		}
	}
	return nil
}

// Forget drops all that is stored of a task. It may not be collecting.
func (s *Store) Forget(task string) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, top := range [][]byte{bucketFiles, bucketSeen} {
			if err := tx.Bucket(top).DeleteBucket([]byte(task)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
		for _, top := range [][]byte{bucketTaken, bucketMissing} {
			if b := tx.Bucket(top); b != nil {
				if err := b.Delete([]byte(task)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget the checkpoints of task %s: %w", task, err)
	}
	return nil
}
