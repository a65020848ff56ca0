package collector

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
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
}

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
	current, err := statGeneration(s.path)
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
		f, err := tail.Open(g.path, s.c.tail)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				err = tail.ErrOther // renamed since: look again
			}
			return files, false, err
		}
		if f.ID() != g.id {
			f.Close()
			return files, false, tail.ErrOther
		}
		isCurrent := hasCurrent && i == len(list)-1
		if !isCurrent && !g.known && isCopy(f, known) {
			f.Close()
			continue
		}
		taken, cut := s.take(f, g, isCurrent, wasCollected(known))
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
		} else if isCurrent && !s.cutAt.IsZero() {
			copies, err := s.unseenCopies(f, s.cutAt)
			if err != nil {
				return append(files, f), false, err
			}
			files = append(files, copies...)
		}
		files = append(files, f)
	}
	return files, hasCurrent, nil
}

// bornSince is the known past of a path that nobody collected before but whose
// generations since a moment are wanted: a path that appears while the agent
// runs may have been rotated before its first look.
func bornSince(at time.Time) map[checkpoint.FileID]checkpoint.State {
	return map[checkpoint.FileID]checkpoint.State{{}: {Birth: at.Add(-clockTick).UnixNano(), Done: true}}
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

// missed lists the generations in the path's directory that are not read to
// their end: those known by their identity under any name, and siblings that
// were created between the last known one and the current file.
//
// Siblings are looked at first, and all other names only while a known
// generation is missing: a directory may hold ten thousand files that rotate
// in the same minute.
func (s *stream) missed(known map[checkpoint.FileID]checkpoint.State, current generation, hasCurrent bool) ([]generation, error) {
	siblings, others, err := neighbours(s.path)
	if err != nil {
		return nil, err
	}
	var last int64
	unread := 0
	for id, st := range known {
		last = max(last, st.Birth)
		if !st.Done && (!hasCurrent || id != current.id) {
			unread++
		}
	}
	var list []generation
	for i, p := range append(siblings, others...) {
		if i >= len(siblings) && unread == 0 {
			break
		}
		g, err := statGeneration(p)
		if err != nil || (hasCurrent && g.id == current.id) {
			continue
		}
		st, isKnown := known[g.id]
		switch {
		case isKnown && (st.Birth == 0 || g.born == st.Birth):
			g.state, g.known = st, true
			if !st.Done {
				unread--
				list = append(list, g)
			}
		case i < len(siblings) && g.born >= last && (!hasCurrent || g.born <= current.born) &&
			(isNumbered(filepath.Base(s.path), filepath.Base(p)) || (wasCollected(known) && !s.c.matches(p))):
			list = append(list, g)
		}
	}
	if unread > 0 {
		list = append(list, s.movedAway(known, last, current, hasCurrent)...)
	}
	sort.SliceStable(list, func(i, j int) bool {
		return list[i].born < list[j].born || (list[i].born == list[j].born && list[i].mtime < list[j].mtime)
	})
	return list, nil
}

// neighbours lists the regular files beside a path: those whose names look
// like its rotated generations, and the others.
func neighbours(path string) (siblings, others []string, err error) {
	dir, base := filepath.Split(path)
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = d.Close() }()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		switch {
		case e.Name() == base || !e.Type().IsRegular():
		case isSibling(base, e.Name()):
			siblings = append(siblings, dir+e.Name())
		default:
			others = append(others, dir+e.Name())
		}
	}
	sort.Strings(siblings)
	return siblings, others, nil
}

// isCopy recognises what copytruncate leaves: a file that holds what was
// collected of another.
func isCopy(f *tail.File, known map[checkpoint.FileID]checkpoint.State) bool {
	for _, st := range known {
		if f.CopyOf(st) {
			return true
		}
	}
	return false
}

// compressed siblings hold other bytes than the file they were made of.
var compressedSuffixes = []string{".gz", ".zst", ".bz2", ".xz", ".lz4", ".Z"}

// isSibling reports whether name looks like a rotated generation of base:
// NAME.*, NAME-*, or the date or number put before the extension.
func isSibling(base, name string) bool {
	for _, suffix := range compressedSuffixes {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	if strings.HasPrefix(name, base+".") || strings.HasPrefix(name, base+"-") {
		return true
	}
	return isNumbered(base, name)
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

func statGeneration(p string) (generation, error) {
	info, err := tail.Look(p)
	return newGeneration(p, info), err
}

func newGeneration(p string, info tail.Info) generation {
	return generation{
		path: p, id: info.ID, size: info.Size, mtime: info.Modified,
		birth: info.Birth, born: cmp.Or(info.Birth, info.Modified),
	}
}
