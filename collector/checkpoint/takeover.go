package checkpoint

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// bucketTaken holds task → the task whose place it took. Stores of before have
// none; it is made when the first place is taken.
var bucketTaken = []byte("taken")

// TakenFrom returns the task whose place a task took with TakeOver; empty: it
// took none, or that one took it back.
func (s *Store) TakenFrom(task string) (from string, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucketTaken); b != nil {
			from = string(b.Get([]byte(task)))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("look up whose place task %s took: %w", task, err)
	}
	return from, nil
}

// Holds says whether anything is stored of a task.
func (s *Store) Holds(task string) (bool, error) {
	if len(s.marks(task)) > 0 {
		return true, nil
	}
	holds := false
	err := s.db.View(func(tx *bolt.Tx) error {
		for _, top := range [][]byte{bucketFiles, bucketSeen} {
			if b := tx.Bucket(top).Bucket([]byte(task)); b != nil {
				k, _ := b.Cursor().First()
				holds = holds || k != nil
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for checkpoints of task %s: %w", task, err)
	}
	return holds, nil
}

// TakeOver gives a task the place of another one in each file whose path takes
// says yes to, and notes which of globs that one has looked at. It returns in
// how many files. It is one transaction: a crash leaves all of it done or nothing.
//
// A place that the task has itself stays, unless another task took it since
// the task last read there: what both have delivered counts. The places of
// from stay as well, marked as handed over: another task may take them too.
//
// Neither task may be collecting meanwhile.
func (s *Store) TakeOver(task, from string, takes func(path string) bool, globs []string) (files int, err error) {
	if err := s.Sync(); err != nil {
		return 0, fmt.Errorf("take over the place of task %s: %w", from, err)
	}
	s.flush.Lock()
	defer s.flush.Unlock()
	err = s.db.Update(func(tx *bolt.Tx) error {
		if files, err = s.takeFiles(tx, task, from, takes); err != nil {
			return err
		}
		if err := takeSeen(tx, task, from, globs); err != nil {
			return err
		}
		taken, err := tx.CreateBucketIfNotExists(bucketTaken)
		if err != nil {
			return err
		}
		if err := taken.Delete([]byte(from)); err != nil { // so that it can take the place back
			return err
		}
		return taken.Put([]byte(task), []byte(from))
	})
	if err != nil {
		return 0, fmt.Errorf("take over the place of task %s: %w", from, err)
	}
	return files, nil
}

func (s *Store) takeFiles(tx *bolt.Tx, task, from string, takes func(path string) bool) (int, error) {
	source := tx.Bucket(bucketFiles).Bucket([]byte(from))
	if source == nil {
		return 0, nil
	}
	places := s.readFiles(source, from, takes)
	if len(places) == 0 {
		return 0, nil
	}
	target, err := tx.Bucket(bucketFiles).CreateBucketIfNotExists([]byte(task))
	if err != nil {
		return 0, err
	}
	paths := map[string]bool{}
	for _, st := range places {
		paths[st.Path] = true
	}
	own := s.readFiles(target, task, func(path string) bool { return paths[path] })
	for id, st := range own {
		if st.Given { // from went on behind it, and may have finished the file since
			if err := target.Delete(id.key()); err != nil {
				return 0, err
			}
			delete(own, id)
		}
	}
	files := 0
	for id, st := range places {
		if _, has := own[id]; !has {
			st.Given = false
			if err := putState(target, id, st); err != nil {
				return 0, err
			}
			files++
		}
		st.Given = true
		if err := putState(source, id, st); err != nil {
			return 0, err
		}
	}
	return files, nil
}

// readFiles returns what a bucket holds of the files whose path takes says yes
// to. What cannot be read is left out and reported.
func (s *Store) readFiles(b *bolt.Bucket, task string, takes func(path string) bool) map[FileID]State {
	out := map[FileID]State{}
	_ = b.ForEach(func(k, v []byte) error {
		id, err := parseKey(k)
		var st State
		if err == nil {
			st, err = decodeState(v)
		}
		switch {
		case err != nil:
			s.log.Warn("a checkpoint cannot be read and is left out", "task", task, "error", err)
		case takes(st.Path):
			out[id] = st
		}
		return nil
	})
	return out
}

func putState(b *bolt.Bucket, id FileID, st State) error {
	v, err := encodeState(st)
	if err != nil {
		return err
	}
	return b.Put(id.key(), v)
}

func takeSeen(tx *bolt.Tx, task, from string, globs []string) error {
	source := tx.Bucket(bucketSeen).Bucket([]byte(from))
	if source == nil {
		return nil
	}
	target, err := tx.Bucket(bucketSeen).CreateBucketIfNotExists([]byte(task))
	if err != nil {
		return err
	}
	for _, g := range globs {
		at := slices.Clone(source.Get([]byte(g)))
		if at == nil || target.Get([]byte(g)) != nil {
			continue
		}
		if err := target.Put([]byte(g), at); err != nil {
			return err
		}
	}
	return nil
}
