package collector

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// copytruncate copies a file and cuts it to nothing. The copy is made first,
// so it is complete when the truncation is noticed: what was not read of the
// file is in it, at the same offset.

// candidate is a file beside a truncated one that may be its copy.
type candidate struct {
	*tail.File
	generation
	copied bool // it holds what was read
	begins bool // the truncated file begins with its first bytes
}

// copiesOf opens what holds the unread rest of a truncated file, oldest first:
// the copy that was made of it, set to go on by resume, and the copies of what
// was written and cut away after that. was is how the file was last read.
func (s *stream) copiesOf(was checkpoint.State, f *tail.File, resume func(*tail.File)) ([]*tail.File, error) {
	s.cutAt = s.c.moment()
	s.truncates.Store(true)
	list, err := s.candidates(f, &was)
	if err != nil {
		return nil, err
	}
	stays, err := s.staysWith(f, list)
	if err != nil {
		return nil, err
	}
	rest, since := -1, s.c.madeSince(was.Updated.UnixNano(), f.Birth())
	for i, c := range list {
		// Several copies may hold what was read: the longest holds the rest.
		if c.copied && (rest < 0 || c.size >= list[rest].size) {
			rest, since = i, c.born
		}
	}
	stepped := slices.ContainsFunc(list, func(c candidate) bool { return c.doubt })
	var files []*tail.File
	for i, c := range list {
		later := c.born > since
		if c.packed || (rest >= 0 && (list[rest].packed || stepped)) {
			later = i > rest && (rest >= 0 || c.ended() >= since)
		}
		whole := stays && later && isNumbered(filepath.Base(s.path), filepath.Base(c.path)) && !c.copied
		if whole && c.begins {
			whole = false // a copy of what stands in the file now is just being made
			s.cutAt.wall = min(s.cutAt.wall, c.born)
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
	s.c.deps.Store.Fence() // f starts anew: never on disk without the places of its copies
	return files, nil
}

// unseenCopies opens the copies of what was written to a file and cut away
// before anything of it was read: those made since a moment that hold something
// else than the file does. A copy that is just being made is left out, as it
// begins like the file.
func (s *stream) unseenCopies(f *tail.File, at moment) ([]*tail.File, error) {
	since := s.c.madeSince(s.c.earliest(at), f.Birth()) - int64(clockTick)
	list, err := s.candidates(f, nil)
	if err != nil {
		return nil, err
	}
	stays, err := s.staysWith(f, list)
	if err != nil {
		return nil, err
	}
	var files []*tail.File
	for _, c := range list {
		made := c.born
		if c.packed {
			made = c.ended() // when what stands in it was written
		}
		unseen := made > since && (!s.c.ahead(made) || s.c.ahead(at.wall) && made > at.wall) && // else before the clock was set back
			isNumbered(filepath.Base(s.path), filepath.Base(c.path)) &&
			c.Head().Len > 0 && !c.begins
		if !stays || !unseen || !s.c.own(c.ID(), s) {
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
func (s *stream) leadsTo(f *tail.File) (bool, error) {
	g, err := s.c.statGeneration(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && g.id == f.ID(), err
}

// staysWith is leadsTo after the siblings of f were looked at: before, f might
// still have been renamed, and one of them be made of what stands in it now.
func (s *stream) staysWith(f *tail.File, list []candidate) (bool, error) {
	stays, err := s.leadsTo(f)
	if err != nil {
		for _, c := range list {
			c.Close()
		}
	}
	return stays, err
}

// adopt makes a copy a part of the stream.
func (s *stream) adopt(f *tail.File) {
	s.label(f)
	f.SetRotated()
	f.Rest()
	s.setAside(f.ID(), f.Birth())
	f.Mark()
}

// lookBehind looks, before the first line of a truncated file is read, whether
// it was truncated again in the meantime. It reports whether there is something to read first.
//
// The order matters: the file's head is known before its directory is listed,
// and the read that follows demands that head.
func (s *stream) lookBehind(f *tail.File) (found bool, err error) {
	if s.cutAt.wall == 0 || f.Offset() > 0 || !s.current || len(s.queue) != 1 {
		return false, nil
	}
	if leads, err := s.leadsTo(f); err != nil || !leads {
		return false, err
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
		s.cutAt = moment{}
	}
	if len(files) > 0 {
		s.queue = append(files, s.queue...)
		s.publish()
	}
	return len(files) > 0, nil
}

// candidates opens the siblings of a truncated file that nobody reads or has
// read, oldest first, and compares them with what was read of it, if that is given.
func (s *stream) candidates(f *tail.File, was *checkpoint.State) (list []candidate, err error) {
	for range generationTries {
		if list, err = s.tryCandidates(f, was); err == nil {
			break
		}
		for _, c := range list {
			c.Close()
		}
		if !errors.Is(err, tail.ErrOther) {
			return nil, err
		}
		list, err = nil, errMoving
	}
	var found []generation
	byPath := map[string]candidate{}
	for _, c := range list {
		found = append(found, c.generation)
		byPath[c.path] = c
	}
	for i, g := range found { // a stamp in the future is one of before the clock was set back
		found[i].doubt = s.c.ahead(g.born)
	}
	sortGenerations(filepath.Base(s.path), found, slices.ContainsFunc(found, func(g generation) bool { return g.doubt }))
	for i, g := range found {
		list[i] = byPath[g.path]
		list[i].doubt = g.doubt
	}
	return list, err
}

func (s *stream) tryCandidates(f *tail.File, was *checkpoint.State) (list []candidate, err error) {
	v := newSight()
	n, err := v.list(func() (names, error) { return s.c.look(s.path) })
	if err != nil {
		return nil, err
	}
	if len(n.packed) > 0 {
		if !s.c.unpackSlot(s.stopped) {
			return nil, errEnding
		}
		defer s.c.unpackDone()
	}
	for i, p := range append(n.siblings, n.packed...) {
		c, err := s.candidate(p, n, i >= len(n.siblings), f, was, &v)
		if err == nil {
			err = f.Unsure()
		} else {
			err = s.doWithout(p, err)
		}
		if c.File != nil {
			list = append(list, c)
		}
		if err != nil {
			return list, err
		}
	}
	return list, s.verify(v)
}

// candidate opens one sibling and compares it; without a file when it is none.
func (s *stream) candidate(p string, n names, packed bool, f *tail.File, was *checkpoint.State, v *sight) (c candidate, err error) {
	if packed {
		if twin, err := s.hasTwin(p, n); twin || err != nil {
			v.sawTwin(p, n)
			return c, err
		}
	}
	g, err := s.c.statGeneration(p)
	v.saw(p, g)
	if err != nil || g.id == f.ID() || !s.c.ownable(g.id) {
		return c, err
	}
	g.packed = packed
	c.generation = g
	if c.File, err = s.openCandidate(g); c.File == nil {
		return c, err
	}
	c.copied = was != nil && c.CopyOf(*was)
	c.begins = !packed && f.Begins(c.Head())
	c.Rest()
	if err := c.Unsure(); err != nil {
		c.Close()
		c.File = nil
		return c, err
	}
	return c, nil
}

// openCandidate opens a sibling; nil when it was read before, or may not be.
func (s *stream) openCandidate(g generation) (f *tail.File, err error) {
	st, stored := s.c.deps.Store.Get(s.c.cfg.Task, g.id)
	if g.packed {
		if stored && st.Packed != "" && st.Birth == g.birth {
			return nil, nil
		}
		f, err = s.openPacked(g)
	} else {
		f, err = tail.Open(g.path, s.c.tail)
	}
	if errors.Is(err, tail.ErrNotAllowed) || errors.Is(err, tail.ErrNotRegular) {
		return nil, nil
	}
	if f == nil || err != nil {
		return nil, err
	}
	var read bool
	if g.packed {
		f.SetSince(g.mtime)
		read = isCopy(f, s.known, true)
	} else {
		read = stored && f.Resume(st)
	}
	if err = f.Unsure(); err == nil && !g.is(f) {
		err = tail.ErrOther
	}
	if err != nil || read {
		f.Close()
		return nil, err
	}
	return f, nil
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
		c.lookFailed(p, err)
		return true
	}
	defer f.Close()
	c.accept(p)
	fresh, young := c.isYoung(newGeneration(p, info).born, info.ID), c.isYoung(info.Modified, info.ID)
	for _, of := range s.files() {
		cut, cutErr := of.Truncated()
		st := of.Checkpoint()
		copied := f.CopyOf(st)
		if err := cmp.Or(cutErr, f.Unsure()); err != nil {
			c.lookFailed(p, err)
			return true
		}
		switch {
		case cut && copied:
			return true
		case fresh && (s.truncates.Load() || st.Head.Len == 0 || info.Size < int64(st.Head.Len)), young && copied:
			c.lookSoon()
			return true
		}
	}
	return false
}

// isYoung reports whether a file's stamp is younger than copyTime. One in the
// future, as of a clock that was set back, is so for copyTime after the first look at it.
// Only the loop calls it.
func (c *Collector) isYoung(stamp int64, id checkpoint.FileID) bool {
	if !c.ahead(stamp) {
		return c.now().Sub(time.Unix(0, stamp)) < copyTime
	}
	first, known := c.future[id]
	if !known {
		if len(c.future) >= 1000 {
			clear(c.future)
		}
		first = time.Now()
		c.future[id] = first
	}
	return time.Since(first) < copyTime
}

// siblingOf finds the stream whose generation or copy a path may be.
func (c *Collector) siblingOf(path string) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range rotatedFrom(path) {
		if s := c.streams[p]; s != nil {
			return s
		}
	}
	return nil
}
