package collector

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// A generation that was compressed is another file: its bytes, its inode and
// its creation are those of the archive. What is left is its content and the
// time of its last change, which logrotate, newsyslog, gzip and zstd keep.

// unpackSlots bounds the compressed files of one task that are decoded at one time,
// and with them the decoders' memory.
const unpackSlots = 2

// compressedSuffixes end the names of compressed files. gzip and zstd are
// told by their content and can be read.
var compressedSuffixes = []string{".gz", ".gzip", ".z", ".zst", ".zstd", ".bz2", ".bz", ".xz", ".lzma", ".lz4", ".lzo", ".br", ".zip", ".7z"}

// unpackedName is the name that a compressed file had before; false when
// the name is not one of a compressed file.
func unpackedName(name string) (string, bool) {
	for _, suffix := range compressedSuffixes {
		if n := len(name) - len(suffix); n > 0 && strings.EqualFold(name[n:], suffix) {
			return name[:n], true
		}
	}
	return name, false
}

// isPackedSibling reports whether name looks like base, or a rotated
// generation of it, after it was compressed.
func isPackedSibling(base, name string) bool {
	plain, packed := unpackedName(name)
	return packed && (plain == base || isSibling(base, plain))
}

// isPackedGeneration reports whether a path is a compressed generation of a
// path that is collected: what is missing of that one is read from it, so it is no file of its own.
func (c *Collector) isPackedGeneration(path string) bool {
	plain, packed := unpackedName(path)
	if !packed {
		return false
	}
	collected := func(p string) bool {
		c.mu.Lock()
		running := c.streams[p] != nil
		c.mu.Unlock()
		return running || c.matches(p)
	}
	if collected(plain) {
		return true
	}
	for p := range rotatedFrom(plain) {
		if collected(p) {
			return true
		}
	}
	return false
}

// leave notes, without a word in the log, why a matching path is not collected.
func (c *Collector) leave(path, why string) {
	c.mu.Lock()
	c.refused[path] = why
	c.mu.Unlock()
}

const whyPacked = "a compressed generation of a path that is collected; what is missing of that path is read from it"

// hasTwin reports whether the file that a compressed one is made of is still
// there: as long as it is, the compressed one may not be finished. If it was
// there when its directory was listed, it counts as what it was then: it is listed again.
func (s *stream) hasTwin(path string, n names) (bool, error) {
	plain, _ := unpackedName(path)
	_, err := s.c.tail.FS.Look(plain)
	switch {
	case errors.Is(err, fs.ErrNotExist) && n.plain(plain):
		return false, tail.ErrOther
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return true, s.doWithout(plain, err)
	}
	return true, nil
}

// ended is when a generation was last written to, in Unix nanoseconds. A
// compressor may have kept the seconds alone.
func (g generation) ended() int64 {
	if g.mtime%int64(time.Second) == 0 {
		return g.mtime + int64(time.Second) - 1
	}
	return g.mtime
}

// openPacked opens a compressed file. One that can never be read is told once,
// and nil is returned; so it is for one that is done without.
func (s *stream) openPacked(g generation) (*tail.File, error) {
	p := g.path
	f, err := tail.OpenPacked(p, s.c.tail)
	if err == nil {
		return f, nil
	}
	if err = s.c.orMoved(g, err); errors.Is(err, tail.ErrOther) {
		return nil, err
	}
	if !errors.Is(err, tail.ErrNotPacked) && !errors.Is(err, tail.ErrNotAllowed) && !errors.Is(err, tail.ErrNotRegular) {
		return nil, s.doWithout(p, err)
	}
	s.c.metrics.errors.Inc()
	if s.c.once(p) {
		s.c.log.Warn("a compressed file that may hold unread lines cannot be read; unpack it beside its path to have it read",
			"path", p, "error", err)
	}
	return nil, nil
}

// once reports whether it is asked about a path for the first time.
func (c *Collector) once(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told[path] {
		return false
	}
	if len(c.told) >= 1000 {
		clear(c.told)
	}
	c.told[path] = true
	return true
}

// judge finds out what the compressed files are: a generation that is known,
// be it read to its end or not, or one that was never seen.
func (q *search) judge(list []generation) error {
	if len(list) == 0 {
		return nil
	}
	if !q.s.c.unpackSlot(q.s.stopped) {
		return errEnding
	}
	defer q.s.c.unpackDone()
	slices.SortStableFunc(list, func(a, b generation) int { return cmp.Compare(a.mtime, b.mtime) })
	for _, g := range list {
		f, err := q.s.openPacked(g)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		if err = tail.ErrOther; g.is(f) { // else renamed since: look again
			err = q.recognise(f, g)
		}
		f.Close()
		if errors.Is(err, tail.ErrOther) {
			return err
		}
		if err != nil {
			if err = q.s.doWithout(g.path, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// recognise compares one compressed file with the known generations that are
// not there any more. Each of those has been compressed once. With an error
// nothing is concluded.
func (q *search) recognise(f *tail.File, g generation) error {
	g.since = q.last
	of, ok := q.original(f)
	st := q.lost[of]
	damaged := ok && !st.Done && !f.Reaches(st.Offset)
	if err := f.Unsure(); err != nil {
		return err
	}
	if !ok {
		if !q.mayBeUnseen(g) {
			return nil
		}
		if err := q.compressedSince(f); err != nil {
			return err
		}
		q.found = append(q.found, g)
		return nil
	}
	delete(q.lost, of)
	delete(q.unread, of)
	g.state, g.known, g.of = st, true, of
	g.since = cmp.Or(st.Since, st.Birth)
	if damaged {
		q.s.c.log.Warn("a compressed file is damaged and ends before what was read of its original; restore the file to have the rest read",
			"path", g.path, "committed", st.Offset)
		g.state.Done = true
	}
	switch {
	case g.state.Done && q.s.c.ownable(of):
		q.s.noteDone(g, f.Packing())
	case g.state.Done:
		g.of = checkpoint.FileID{} // it is still being read: the archive may be wanted after a restart
	}
	g.state.Birth = 0 // the archive is younger
	q.found = append(q.found, g)
	return nil
}

// compressedSince answers with an error, so that all is looked at again, if a file was
// made of a known generation that had another name at the beginning of the search and has none now.
func (q *search) compressedSince(f *tail.File) error {
	for _, g := range q.found {
		if !g.known || g.packed || !f.CopyOf(g.state) {
			continue
		}
		now, err := q.s.c.statGeneration(g.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || now.id != g.id {
			return tail.ErrOther
		}
	}
	return f.Unsure()
}

// original finds the generation that a compressed file was made of. Those
// that are not read to their end come first, then the lower offsets: the decoder only goes forward.
func (q *search) original(f *tail.File) (checkpoint.FileID, bool) {
	ids := slices.SortedFunc(maps.Keys(q.lost), func(a, b checkpoint.FileID) int {
		x, y := q.lost[a], q.lost[b]
		if x.Done != y.Done {
			if x.Done {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Birth, y.Birth))
	})
	for _, id := range ids {
		if f.CopyOf(q.lost[id]) {
			return id, true
		}
	}
	return checkpoint.FileID{}, false
}

// noteDone remembers that a compressed file is one of a generation that is
// read to its end, so that it is not decoded again.
func (s *stream) noteDone(g generation, packing string) {
	st := g.state
	st.Path, st.Birth, st.Since, st.Packed, st.Done, st.Updated = s.path, g.birth, g.since, packing, true, s.c.now()
	s.setAside(g.id, g.birth)
	s.c.deps.Store.Mark(s.c.cfg.Task, g.id, fixedState(st))
	if s.known != nil {
		s.known[g.id] = st
	}
}

// forgetOriginal removes what is known of the file that a compressed one was
// made of. Its inode may be another file's by now.
func (s *stream) forgetOriginal(g generation, known map[checkpoint.FileID]checkpoint.State) {
	was, ok := known[g.of]
	if g.of == (checkpoint.FileID{}) || !ok {
		return
	}
	for _, id := range []checkpoint.FileID{g.of, traceID(was)} {
		st, stored := s.c.deps.Store.Get(s.c.cfg.Task, id)
		if stored && st.Birth == was.Birth && st.Path == s.path && s.c.ownable(id) {
			s.c.deps.Store.Delete(s.c.cfg.Task, id)
		}
	}
	delete(known, g.of)
	delete(s.known, g.of)
}

// fixedState is a state that does not change any more.
type fixedState checkpoint.State

func (s fixedState) Checkpoint() checkpoint.State { return checkpoint.State(s) }

// keepTrace remembers a file that is read to its end and has lost its last
// name, if it may have been compressed: by its content, as its inode is free.
func (s *stream) keepTrace(f *tail.File) {
	st := f.Checkpoint()
	if st.Head.Len == 0 || !s.hasPackedSince(st.Birth) {
		return
	}
	st.Done, st.Updated = true, s.c.now()
	id := traceID(st)
	s.c.deps.Store.Mark(s.c.cfg.Task, id, fixedState(st))
	if s.known == nil {
		s.known = map[checkpoint.FileID]checkpoint.State{}
	}
	s.known[id] = st
}

// traceID stands for a file whose inode is free or another's: what is left of
// it is recognised by its content. No file of a host has it.
func traceID(st checkpoint.State) checkpoint.FileID {
	return checkpoint.FileID{Ino: st.Head.Hash ^ st.Tail.Hash ^ uint64(st.Birth)}
}

func isTrace(id checkpoint.FileID) bool { return id.Dev == 0 }

// setAside keeps what is known of a file that was not read to its end before
// another one, created at birth, takes its place in the store: its inode was used again.
func (s *stream) setAside(id checkpoint.FileID, birth int64) {
	st, stored := s.c.deps.Store.Get(s.c.cfg.Task, id)
	if stored && isReplaced(st, birth) {
		s.c.deps.Store.Mark(s.c.cfg.Task, traceID(st), fixedState(st))
	}
}

// isReplaced reports whether an unread file's inode is that of one created at birth.
func isReplaced(st checkpoint.State, birth int64) bool {
	return !st.Done && st.Birth != 0 && birth != 0 && st.Birth != birth
}

// hasPackedSince reports whether a compressed sibling was changed since a
// moment, or may have been: a trace too many costs nothing.
func (s *stream) hasPackedSince(at int64) bool {
	for _, dir := range append([]string{filepath.Dir(s.path)}, s.places()...) {
		n, err := s.c.look(filepath.Join(dir, filepath.Base(s.path)))
		if err != nil && !unreachable(err) {
			return true
		}
		for _, p := range n.packed {
			if g, err := s.c.statGeneration(p); err != nil || g.ended() >= at || s.c.ahead(at) {
				return true
			}
		}
	}
	return false
}

// unpackSlot waits until this stream may decode; false when its turn ends
// first. A stream that waits lets another one run.
func (c *Collector) unpackSlot(stopped <-chan struct{}) (ok bool) {
	select {
	case c.unpack <- struct{}{}:
		return true
	default:
	}
	c.turns.end()
	select {
	case c.unpack <- struct{}{}:
		ok = true
	case <-stopped:
	}
	c.turns.resume()
	return ok
}

func (c *Collector) unpackDone() { <-c.unpack }

// beginUnpack makes sure that a compressed file is read in a slot, which the
// stream keeps until the file's end.
func (s *stream) beginUnpack(f *tail.File) bool {
	if !f.Packed() || s.unpacking == f {
		return true
	}
	s.endUnpack()
	if !s.c.unpackSlot(s.stopped) {
		return false
	}
	s.unpacking = f
	return true
}

func (s *stream) endUnpack() {
	if s.unpacking == nil {
		return
	}
	s.unpacking.Rest()
	s.unpacking = nil
	s.c.unpackDone()
}

var errEnding = errors.New("the collector is ending")
