package collector

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/internal/record"
)

// copytruncate copies a file and cuts it to nothing. The copy is made first,
// so it is complete when the truncation is noticed: what was not read of the
// file is in it, at the same offset.

// candidate is a file beside a truncated one that may be its copy.
type candidate struct {
	*tail.File
	generation
}

// copiesOf opens what holds the unread rest of a truncated file, oldest first:
// the copy that was made of it, set to go on by resume, and the copies of what
// was written and cut away after that. was is how the file was last read.
func (s *stream) copiesOf(was checkpoint.State, f *tail.File, resume func(*tail.File)) ([]*tail.File, error) {
	s.cutAt = time.Now()
	s.truncates.Store(true)
	list, err := s.candidates(f.ID())
	if err != nil {
		return nil, err
	}
	stays := s.leadsTo(f)
	rest, since := -1, was.Updated.UnixNano()
	isCopy := make([]bool, len(list))
	for i, c := range list {
		isCopy[i] = c.CopyOf(was)
		c.Rest()
		// Several copies may hold what was read: the longest holds the rest.
		if isCopy[i] && (rest < 0 || c.size >= list[rest].size) {
			rest, since = i, c.born
		}
	}
	var files []*tail.File
	for i, c := range list {
		later := c.born > since
		if c.packed || (rest >= 0 && list[rest].packed) {
			later = i > rest && (rest >= 0 || c.ended() >= since)
		}
		whole := stays && later && isNumbered(filepath.Base(s.path), filepath.Base(c.path)) && !isCopy[i]
		if whole && !c.packed && f.Begins(c.Head()) {
			whole = false // a copy of what stands in the file now is just being made
			if born := time.Unix(0, c.born); born.Before(s.cutAt) {
				s.cutAt = born
			}
		}
		if (i != rest && !whole) || !s.c.own(c.ID(), s) {
			c.Close()
			continue
		}
		if i == rest {
			resume(c.File)
		}
		s.adopt(c.File)
		files = append(files, c.File)
	}
	return files, nil
}

// unseenCopies opens the copies of what was written to a file and cut away
// before anything of it was read: those made since a moment that hold something
// else than the file does. A copy that is just being made is left out, as it
// begins like the file.
func (s *stream) unseenCopies(f *tail.File, since time.Time) ([]*tail.File, error) {
	list, err := s.candidates(f.ID())
	if err != nil {
		return nil, err
	}
	var files []*tail.File
	for _, c := range list {
		made := c.born
		if c.packed {
			made = c.ended() // when what stands in it was written
		}
		unseen := made > since.Add(-clockTick).UnixNano() && isNumbered(filepath.Base(s.path), filepath.Base(c.path)) &&
			c.Head().Len > 0 && (c.packed || !f.Begins(c.Head()))
		if !unseen || !s.c.own(c.ID(), s) {
			c.Close()
			continue
		}
		s.adopt(c.File)
		files = append(files, c.File)
	}
	return files, nil
}

// leadsTo reports whether the path still leads to f. The siblings of a file
// that was renamed after it was truncated are the generations that came after
// it, not copies of what stood in it.
func (s *stream) leadsTo(f *tail.File) bool {
	g, err := s.c.statGeneration(s.path)
	return err == nil && g.id == f.ID()
}

// adopt makes a copy a part of the stream.
func (s *stream) adopt(f *tail.File) {
	f.SetSource(&record.Source{Task: s.c.cfg.Task, Host: s.c.cfg.Host, Path: s.path, File: f.ID().String()})
	f.SetElsewhere(&s.elsewhere)
	f.SetRotated()
	f.Rest()
	f.Mark()
}

// lookBehind looks, before the first line of a truncated file is read, whether
// it was truncated again in the meantime. It reports whether there is something to read first.
//
// The order matters: the file's head is known before its directory is listed,
// and the read that follows demands that head.
func (s *stream) lookBehind(f *tail.File) (found bool, err error) {
	if s.cutAt.IsZero() || f.Offset() > 0 || !s.current || len(s.queue) != 1 || !s.leadsTo(f) {
		return false, nil
	}
	size, _, err := f.Stat()
	if err != nil {
		return false, err
	}
	empty := f.Checkpoint().Head.Len == 0
	switch {
	case empty && size > 0:
		return true, nil // cut at this moment
	case empty && s.lookedBehind:
		return false, nil // one look for each wake-up
	}
	s.lookedBehind = true
	files, err := s.unseenCopies(f, s.cutAt)
	if err != nil {
		return false, err
	}
	if !empty {
		s.cutAt = time.Time{}
	}
	if len(files) > 0 {
		s.queue = append(files, s.queue...)
		s.publish()
	}
	return len(files) > 0, nil
}

// candidates opens the siblings that nobody reads or has read, oldest first.
// One that cannot be opened is left out, unless that is for want of descriptors.
func (s *stream) candidates(truncated checkpoint.FileID) (list []candidate, err error) {
	n, err := s.c.look(s.path)
	if err != nil {
		return nil, err
	}
	if len(n.packed) > 0 {
		if !s.c.unpackSlot() {
			return nil, errEnding
		}
		defer s.c.unpackDone()
	}
	var found []generation
	files := map[string]*tail.File{}
	for i, p := range append(n.siblings, n.packed...) {
		g, f, err := s.candidate(p, truncated, i >= len(n.siblings))
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, err
		}
		if f != nil {
			files[p] = f
			found = append(found, g)
		}
	}
	sortGenerations(filepath.Base(s.path), found)
	for _, g := range found {
		list = append(list, candidate{files[g.path], g})
	}
	return list, nil
}

// candidate opens one sibling; nil when it is none.
func (s *stream) candidate(p string, truncated checkpoint.FileID, packed bool) (g generation, f *tail.File, err error) {
	if packed && s.c.hasTwin(p) {
		return g, nil, nil
	}
	g, err = s.c.statGeneration(p)
	if err != nil || g.id == truncated || !s.c.ownable(g.id) {
		return g, nil, nil //nolint:nilerr // it is gone
	}
	st, stored := s.c.deps.Store.Get(s.c.cfg.Task, g.id)
	if packed {
		if stored && st.Packed != "" && st.Birth == g.birth {
			return g, nil, nil
		}
		if f, err = s.openPacked(p); f == nil {
			if errors.Is(err, tail.ErrOther) {
				err = nil
			}
			return g, nil, err
		}
		g.packed = true
		f.SetSince(g.mtime)
		if f.ID() != g.id || isCopyOfDone(f, s.known) {
			f.Close()
			return g, nil, nil
		}
		return g, f, nil
	}
	f, err = tail.Open(p, s.c.tail)
	switch {
	case outOfDescriptors(err):
		return g, nil, err
	case err != nil:
		if !errors.Is(err, fs.ErrNotExist) {
			s.c.metrics.errors.Inc()
			s.c.log.Warn("a file that may hold unread lines cannot be opened", "path", p, "error", err)
		}
		return g, nil, nil
	}
	if f.ID() != g.id || (stored && f.Resume(st)) {
		f.Close()
		return g, nil, nil
	}
	return g, f, nil
}

// copyTime is how long after its last change a copy is waited for to be
// followed by the truncation.
const copyTime = 2 * time.Second

// leaveToSibling reports whether a new path is what copytruncate makes, or may
// be about to make, of a file that is collected: that file's stream reads what
// is new in it. A copy that no truncation follows is a file like any other.
func (c *Collector) leaveToSibling(p string, info tail.Info) bool {
	s := c.siblingOf(p)
	if s == nil {
		return false
	}
	if _, stored := c.deps.Store.Get(c.cfg.Task, info.ID); stored {
		return false
	}
	if !s.tried() {
		c.lookSoon()
		return true
	}
	f, err := tail.Open(p, c.tail)
	if err != nil {
		return false // told when it is opened to be read
	}
	defer f.Close()
	born := newGeneration(p, info).born
	fresh, young := time.Since(time.Unix(0, born)) < copyTime, time.Since(time.Unix(0, info.Modified)) < copyTime
	for _, of := range s.files() {
		cut, st := of.Truncated(), of.Checkpoint()
		switch {
		case cut && f.CopyOf(st):
			return true
		case fresh && (s.truncates.Load() || st.Head.Len == 0 || info.Size < int64(st.Head.Len)), young && f.CopyOf(st):
			c.lookSoon()
			return true
		}
	}
	return false
}

// siblingOf finds the stream whose generation or copy a path may be.
func (c *Collector) siblingOf(path string) *stream {
	dir, name := filepath.Split(path)
	ext := filepath.Ext(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(name) - 1; i > 0; i-- {
		for _, base := range []string{name[:i], name[:i] + ext} {
			if base == name || !isSibling(base, name) {
				continue
			}
			if s := c.streams[filepath.Join(dir, base)]; s != nil {
				return s
			}
		}
	}
	return nil
}
