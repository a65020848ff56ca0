package collector

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// keptPlaces bounds the directories that one path remembers.
const keptPlaces = 4

// movedAway looks into other directories, as logrotate's olddir makes them.
// Those to which a generation of the path was seen to move are searched like
// the path's own. While a known generation is missing, so is each directory below the
// path's own; its unknown siblings count where a known one is found. What is
// compressed is returned, to be judged.
func (q *search) movedAway() (packed []generation, err error) {
	dir := filepath.Dir(q.s.path)
	for _, place := range q.s.places() {
		list, err := q.lookThrough(place, len(q.unread) > 0)
		if err != nil {
			return nil, err
		}
		packed = append(packed, list...)
	}
	if len(q.unread) == 0 {
		return packed, nil
	}
	entries, err := q.s.c.tail.FS.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if !e.IsDir() || slices.Contains(q.s.places(), sub) || len(q.unread) == 0 {
			continue
		}
		q.doubtful = append(q.doubtful, sub)
		list, err := q.lookThrough(sub, false)
		if err != nil {
			return nil, err
		}
		packed = append(packed, list...)
	}
	return packed, nil
}

// lookThrough takes what is the path's in another directory, and returns what
// is compressed. A directory that is needed is waited for if it may not be listed.
func (q *search) lookThrough(dir string, needed bool) (packed []generation, err error) {
	return q.through(func() (names, error) { return q.s.lookInto(dir, needed) })
}

// unreachable reports whether a directory is not there, or never was for this agent.
func unreachable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)
}

// dropOthers leaves out the unknown files of a directory in which no known one
// is: they are the generations of another path of the same name.
func (q *search) dropOthers() {
	for _, dir := range q.doubtful {
		in := func(g generation) bool { return filepath.Dir(g.path) == dir }
		if !slices.ContainsFunc(q.found, func(g generation) bool { return g.known && in(g) }) {
			q.found = slices.DeleteFunc(q.found, in)
		}
	}
}

// lookInto lists another directory: what the task may read of it. A file
// with the path's own name may be a generation there.
func (s *stream) lookInto(dir string, needed bool) (names, error) {
	path := filepath.Join(dir, filepath.Base(s.path))
	n, err := s.c.look(path)
	if unreachable(err) && (!needed || !errors.Is(err, fs.ErrPermission)) {
		return names{}, nil
	}
	if err != nil {
		return names{}, s.doWithout(dir, err)
	}
	info, err := s.c.tail.FS.Look(path)
	switch {
	case err == nil && info.Mode == unix.S_IFREG:
		n.others = append(n.others, path)
	case err != nil && (!unreachable(err) || needed && errors.Is(err, fs.ErrPermission)):
		if err = s.doWithout(path, err); err != nil {
			return names{}, err
		}
	}
	allow := s.c.cfg.Allow
	if allow == nil {
		return n, nil
	}
	refused := func(p string) bool { return allow(p, p) != nil }
	n.siblings, n.packed = slices.DeleteFunc(n.siblings, refused), slices.DeleteFunc(n.packed, refused)
	n.others = slices.DeleteFunc(n.others, refused)
	return n, nil
}

// places lists the directories to which generations of the path were moved.
func (s *stream) places() []string {
	if list := s.elsewhere.Load(); list != nil {
		return *list
	}
	return nil
}

// recall takes up the directories that were stored.
func (s *stream) recall(known map[checkpoint.FileID]checkpoint.State) {
	var list []string
	for _, st := range known {
		for _, dir := range st.Elsewhere {
			if filepath.IsAbs(dir) && !slices.Contains(list, dir) && len(list) < keptPlaces {
				list = append(list, dir)
			}
		}
	}
	if len(list) > 0 {
		s.elsewhere.Store(&list)
	}
}

// learn asks where an open file was moved to, and remembers the directory if
// it is not the path's own: later generations may go there while nobody looks.
func (s *stream) learn(f *tail.File) {
	dir := f.Directory()
	if dir == "" || slices.Contains(s.places(), dir) {
		return
	}
	own, err := filepath.EvalSymlinks(filepath.Dir(s.path))
	if err != nil || dir == own {
		return
	}
	list := append([]string{dir}, s.places()...)
	list = list[:min(len(list), keptPlaces)]
	s.elsewhere.Store(&list)
	f.Mark()
	s.c.log.Info("rotated files of a path are moved to another directory, it is searched from now on", "path", s.path, "directory", dir)
}
