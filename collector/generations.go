package collector

import (
	"cmp"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// generationTries bounds how often a directory is read again because it
// changed while its files were being opened.
const generationTries = 20

var errMoving = errors.New("files are renamed faster than they can be opened; trying again")

// generation is one file that was or is behind a path.
type generation struct {
	path  string
	id    checkpoint.FileID
	size  int64
	mtime int64 // last change, Unix nanoseconds
	birth int64 // creation, Unix nanoseconds; 0 where the file system keeps none
	born  int64 // birth, or else mtime
	state checkpoint.State
	known bool

	packed bool
	doubt  bool              // its times speak against it, but so they do of the clock: its name decides
	since  int64             // of a compressed one: it was created then or later
	of     checkpoint.FileID // of a compressed one: the known file that it was made of
}

// is reports whether an opened file is the one that was looked at: not another
// one that uses its inode again.
func (g generation) is(f *tail.File) bool { return f.ID() == g.id && f.Birth() == g.birth }

// same reports whether two looks met the same file.
func (g generation) same(other generation) bool { return g.id == other.id && g.birth == other.birth }

// openGenerations opens every file of the path that is still to be read,
// oldest first; hasCurrent says whether the last one stands under the path
// itself. known holds the generations that were collected before: nil for
// a path that is new.
func (s *stream) openGenerations(known map[checkpoint.FileID]checkpoint.State) (files []*tail.File, hasCurrent bool, err error) {
	for range generationTries {
		files, hasCurrent, err = s.tryGenerations(known)
		if err == nil {
			return files, hasCurrent, nil
		}
		for _, f := range files {
			f.Close()
			s.c.disown(f.ID())
		}
		if !errors.Is(err, tail.ErrOther) {
			return nil, false, err
		}
	}
	return nil, false, errMoving
}

func (s *stream) tryGenerations(known map[checkpoint.FileID]checkpoint.State) (files []*tail.File, hasCurrent bool, err error) {
	current, err := s.c.statGeneration(s.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	hasCurrent = err == nil
	var list []generation
	if needSearch(known, current, hasCurrent) {
		if list, err = s.missed(known, current, hasCurrent); err != nil {
			return nil, false, err
		}
	}
	if hasCurrent {
		current.state, current.known = known[current.id]
		list = append(list, current)
	}
	for i, g := range list {
		f, err := s.openGeneration(g)
		if err != nil {
			return files, false, s.c.orMoved(g, err)
		}
		if !g.is(f) {
			f.Close()
			return files, false, tail.ErrOther
		}
		isCurrent := hasCurrent && i == len(list)-1
		if !isCurrent && !g.known && !g.packed && isCopy(f, known, false) {
			f.Close()
			continue
		}
		if err := f.Unsure(); err != nil {
			f.Close()
			return files, false, err
		}
		taken, cut, err := s.take(f, g, isCurrent, wasCollected(known))
		if err != nil {
			f.Close()
			return files, false, err
		}
		if !taken {
			f.Close()
			hasCurrent = hasCurrent && !isCurrent
			continue
		}
		if cut != nil {
			copies, err := s.copiesOf(*cut, f, func(c *tail.File) { c.GoOnAt(*cut) })
			if err != nil {
				return append(files, f), false, err
			}
			f.Mark()
			files = append(files, copies...)
		} else if isCurrent && s.cutAt.wall != 0 {
			copies, err := s.unseenCopies(f, s.cutAt)
			if err != nil {
				return append(files, f), false, err
			}
			files = append(files, copies...)
		}
		files = append(files, f)
	}
	for _, g := range list { // the archives have their place in the store
		s.forgetOriginal(g, known)
	}
	return files, hasCurrent, nil
}

func (s *stream) openGeneration(g generation) (*tail.File, error) {
	if !g.packed {
		return tail.Open(g.path, s.c.tail)
	}
	f, err := tail.OpenPacked(g.path, s.c.tail)
	if err == nil {
		f.SetSince(g.since)
	}
	return f, err
}

// orMoved answers a generation that cannot be opened: with ErrOther, so that all
// is looked at again, if it does not stand under its name any more.
func (c *Collector) orMoved(g generation, err error) error {
	now, lookErr := c.statGeneration(g.path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(lookErr, os.ErrNotExist) || (lookErr == nil && !now.same(g)) {
		return tail.ErrOther
	}
	return err
}

// bornSince is the known past of a path that nobody collected before but whose
// generations since a moment are wanted: a path that appears while the agent
// runs may have been rotated before its first look.
func bornSince(at int64) map[checkpoint.FileID]checkpoint.State {
	return map[checkpoint.FileID]checkpoint.State{{}: {Birth: at - int64(clockTick), Done: true}}
}

// clockTick is how far the clock that stamps files may be behind.
const clockTick = 10 * time.Millisecond

// wasCollected tells a path with a past from one of bornSince.
func wasCollected(known map[checkpoint.FileID]checkpoint.State) bool {
	for id := range known {
		if id != (checkpoint.FileID{}) {
			return true
		}
	}
	return false
}

// needSearch spares the directory when the path's file is the one that was
// read last, and nothing else was left unread.
func needSearch(known map[checkpoint.FileID]checkpoint.State, current generation, hasCurrent bool) bool {
	if len(known) == 0 {
		return false
	}
	for id, st := range known {
		if !st.Done && (!hasCurrent || id != current.id) {
			return true
		}
	}
	if !hasCurrent {
		return true
	}
	st, ok := known[current.id]
	return !ok || (st.Birth != 0 && st.Birth != current.born) // not that file, or its inode used again
}

// search finds the generations of a path that are not read to their end.
type search struct {
	s          *stream
	known      map[checkpoint.FileID]checkpoint.State
	current    generation
	hasCurrent bool

	stepped  bool                                   // the clock was set back since
	last     int64                                  // when the last known generation was created, at the latest
	unread   map[checkpoint.FileID]checkpoint.State // known, not read to their end, and not found yet
	lost     map[checkpoint.FileID]checkpoint.State // known, and not found yet
	found    []generation                           // also those that are read to their end
	doubtful []string                               // directories that may belong to other paths
	sight    sight
}

func (s *stream) newSearch(known map[checkpoint.FileID]checkpoint.State, current generation, hasCurrent bool) *search {
	q := &search{
		s: s, known: known, current: current, hasCurrent: hasCurrent,
		unread: map[checkpoint.FileID]checkpoint.State{}, lost: map[checkpoint.FileID]checkpoint.State{},
		sight: newSight(),
	}
	if hasCurrent {
		q.sight.saw(s.path, current)
	}
	for id, st := range known {
		q.last = max(q.last, cmp.Or(st.Since, st.Birth))
		q.stepped = q.stepped || s.c.ahead(q.last) || s.c.ahead(st.Updated.UnixNano())
		if hasCurrent && id == current.id && isSame(st, current) {
			continue
		}
		q.lost[id] = st
		if !st.Done {
			q.unread[id] = st
		}
	}
	if st, ok := known[current.id]; hasCurrent && current.born < q.last && (!ok || !isSame(st, current)) {
		q.stepped = true
	}
	q.stepped = q.stepped && wasCollected(known)
	return q
}

// isSame tells a file from one that uses its inode again.
func isSame(st checkpoint.State, g generation) bool { return st.Birth == 0 || st.Birth == g.born }

// missed lists the generations in the path's directory, and in those to which
// generations are moved, that are not read to their end: those known by their
// identity under any name, or by their content when they were compressed, and siblings that
// were created between the last known one and the current file.
//
// Siblings are looked at first, and all other names only while a known
// generation is missing: a directory may hold ten thousand files that rotate
// in the same minute.
func (s *stream) missed(known map[checkpoint.FileID]checkpoint.State, current generation, hasCurrent bool) ([]generation, error) {
	q := s.newSearch(known, current, hasCurrent)
	packed, err := q.through(func() (names, error) { return s.c.look(s.path) })
	if err != nil {
		return nil, err
	}
	moved, err := q.movedAway()
	if err != nil {
		return nil, err
	}
	if !hasCurrent || len(q.unread) > 0 || q.sight.moving {
		if err := s.verify(q.sight); err != nil {
			return nil, err
		}
	}
	if err := q.judge(append(packed, moved...)); err != nil {
		return nil, err
	}
	return q.result(), nil
}

// through takes what is the path's among the files of a list, and returns
// what is compressed, to be judged.
func (q *search) through(list func() (names, error)) (packed []generation, err error) {
	n, err := q.sight.list(list)
	if err != nil {
		return nil, err
	}
	if err := q.plain(n.siblings, true); err != nil {
		return nil, err
	}
	if err := q.plain(n.others, false); err != nil {
		return nil, err
	}
	return q.packed(n)
}

// plain looks at files that are not compressed.
func (q *search) plain(paths []string, siblings bool) error {
	for _, p := range paths {
		if !siblings && len(q.unread) == 0 {
			return nil
		}
		g, ok, err := q.identify(p)
		if err != nil {
			return err
		}
		if siblings {
			q.sight.saw(p, g)
		}
		inTime := g.born >= q.last && (!q.hasCurrent || g.born <= q.current.born)
		g.doubt = !inTime && (q.stepped || q.s.c.ahead(g.born))
		if ok && siblings && (inTime || g.doubt) && q.isGeneration(p, p) {
			q.found = append(q.found, g)
		}
	}
	return nil
}

// isGeneration reports whether an unknown file is one of the path's
// generations by its name, which before it was compressed may have been another.
func (q *search) isGeneration(path, plain string) bool {
	return isNumbered(filepath.Base(q.s.path), filepath.Base(path)) || (wasCollected(q.known) && !q.s.c.matches(plain))
}

// identify looks at one name, and takes the file if it is a known one; ok
// when it is another.
func (q *search) identify(p string) (g generation, ok bool, err error) {
	g, err = q.s.c.statGeneration(p)
	if err != nil {
		return g, false, q.s.doWithout(p, err)
	}
	if q.hasCurrent && g.id == q.current.id {
		return g, false, nil
	}
	st, isKnown := q.known[g.id]
	if !isKnown || !isSame(st, g) {
		return g, true, nil
	}
	g.state, g.known, g.packed, g.since = st, true, st.Packed != "", st.Since
	delete(q.unread, g.id)
	delete(q.lost, g.id)
	q.found = append(q.found, g)
	return g, false, nil
}

// packed lists the compressed files that are to be judged by their content:
// those that are finished and not older than all that is missing.
func (q *search) packed(n names) (list []generation, err error) {
	floor := q.last
	for _, st := range q.unread {
		floor = min(floor, cmp.Or(st.Since, st.Birth))
	}
	for _, p := range n.packed {
		twin, err := q.s.hasTwin(p, n)
		if err != nil {
			return nil, err
		}
		if twin {
			q.sight.sawTwin(p, n)
			continue
		}
		g, ok, err := q.identify(p)
		if err != nil {
			return nil, err
		}
		q.sight.saw(p, g)
		g.doubt = g.ended() < floor && q.stepped
		if ok && (g.ended() >= floor || g.doubt) && q.s.c.ownable(g.id) {
			g.packed = true
			list = append(list, g)
		}
	}
	return list, nil
}

// mayBeUnseen reports whether a compressed file that is no known generation
// came after the last of them.
func (q *search) mayBeUnseen(g generation) bool {
	if st, ok := q.known[q.current.id]; q.hasCurrent && ok && isSame(st, q.current) {
		return false // nothing came between: it is a copy of what stood in the current file
	}
	floor := q.last
	for _, st := range q.unread {
		if st.Head.Len == 0 { // it was empty: its content tells nothing
			floor = min(floor, st.Birth)
		}
	}
	plain, _ := unpackedName(g.path)
	return (g.ended() >= floor || g.doubt) && q.isGeneration(plain, plain) && (wasCollected(q.known) || g.born >= q.last)
}

// result is what is to be read, oldest first. What comes before a known
// generation by its name was there before it.
func (q *search) result() []generation {
	q.dropOthers()
	base := filepath.Base(q.s.path)
	stepped := q.stepped || slices.ContainsFunc(q.found, func(g generation) bool { return g.doubt })
	sortGenerations(base, q.found, stepped)
	newest := -1
	if nameOrder(base, q.found, stepped) != nil {
		for i, g := range q.found {
			if g.known {
				newest = i
			}
		}
	}
	var list []generation
	for i, g := range q.found {
		if (g.known && g.state.Done) || (g.packed && !g.known && i < newest) || (g.doubt && !g.known && (newest < 0 || i < newest)) {
			continue
		}
		list = append(list, g)
	}
	return list
}

// names are the regular files beside a path.
type names struct {
	siblings []string // they look like rotated generations
	packed   []string // they look like compressed ones
	others   []string
}

func (n names) all() []string { return slices.Concat(n.siblings, n.packed, n.others) }

// plain reports whether a file that is not compressed was there.
func (n names) plain(path string) bool {
	return slices.Contains(n.siblings, path) || slices.Contains(n.others, path)
}

// look lists the directory of a path.
func (c *Collector) look(path string) (n names, err error) {
	dir, base := filepath.Split(path)
	entries, err := c.tail.FS.ReadDir(dir)
	if err != nil {
		return n, err
	}
	for _, e := range entries {
		switch {
		case e.Name() == base || !e.Type().IsRegular():
		case isSibling(base, e.Name()):
			n.siblings = append(n.siblings, dir+e.Name())
		case isPackedSibling(base, e.Name()):
			n.packed = append(n.packed, dir+e.Name())
		default:
			n.others = append(n.others, dir+e.Name())
		}
	}
	sort.Strings(n.siblings)
	sort.Strings(n.packed)
	return n, nil
}

// isCopy recognises what copytruncate leaves: a file that holds what was
// collected of another; with done, of one that is read to its end.
func isCopy(f *tail.File, known map[checkpoint.FileID]checkpoint.State, done bool) bool {
	for _, st := range known {
		if (st.Done || !done) && f.CopyOf(st) {
			return true
		}
	}
	return false
}

// isSibling reports whether name looks like a rotated generation of base:
// NAME.*, NAME-*, or the date or number put before the extension.
func isSibling(base, name string) bool {
	if _, packed := unpackedName(name); packed {
		return false // it holds other bytes than the file that it was made of
	}
	if strings.HasPrefix(name, base+".") || strings.HasPrefix(name, base+"-") {
		return true
	}
	return isNumbered(base, name)
}

// rotatedFrom yields the paths of which path looks like a rotated generation, the
// longest first.
func rotatedFrom(path string) iter.Seq[string] {
	dir, name := filepath.Split(path)
	ext := filepath.Ext(name)
	return func(yield func(string) bool) {
		for i := len(name) - 1; i > 0; i-- {
			for _, base := range []string{name[:i], name[:i] + ext} {
				if base != name && isSibling(base, name) && !yield(filepath.Join(dir, base)) {
					return
				}
			}
		}
	}
}

// isNumbered reports whether name is base with a number or date behind it or
// before its extension.
func isNumbered(base, name string) bool {
	numbered := func(s string) bool {
		return len(s) > 1 && strings.ContainsRune(".-_", rune(s[0])) && s[1] >= '0' && s[1] <= '9'
	}
	if rest, ok := strings.CutPrefix(name, base); ok {
		return numbered(rest)
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if ext == "" || stem == "" || !strings.HasSuffix(name, ext) {
		return false
	}
	middle, ok := strings.CutPrefix(strings.TrimSuffix(name, ext), stem)
	return ok && numbered(middle)
}

// generationOf finds the stream whose rotated generation path looks like.
func (c *Collector) generationOf(path string) *stream {
	dir, name := filepath.Split(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(name) - 1; i > 0; i-- {
		if !strings.ContainsRune(".-_", rune(name[i])) || !isNumbered(name[:i], name) {
			continue
		}
		if s := c.streams[filepath.Join(dir, name[:i])]; s != nil {
			return s
		}
	}
	return nil
}

func (c *Collector) statGeneration(p string) (generation, error) {
	info, err := c.tail.FS.Look(p)
	return newGeneration(p, info), err
}

func newGeneration(p string, info tail.Info) generation {
	return generation{
		path: p, id: info.ID, size: info.Size, mtime: info.Modified,
		birth: info.Birth, born: cmp.Or(info.Birth, info.Modified),
	}
}
