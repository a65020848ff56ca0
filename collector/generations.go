package collector

import (
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

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
	born  int64 // creation, or last change where no creation is kept; Unix nanoseconds
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
		if !s.take(f, g, isCurrent, known != nil) {
			f.Close()
			hasCurrent = hasCurrent && !isCurrent
			continue
		}
		files = append(files, f)
	}
	return files, hasCurrent, nil
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
		return false
	}
	st, ok := known[current.id]
	return !ok || (st.Birth != 0 && st.Birth != current.born) // not that file, or its inode used again
}

// missed lists the generations in the path's directory that are not read to
// their end: those known by their identity under any name, and siblings that
// were created between the last known one and the current file.
func (s *stream) missed(known map[checkpoint.FileID]checkpoint.State, current generation, hasCurrent bool) ([]generation, error) {
	dir := filepath.Dir(s.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var last int64
	for _, st := range known {
		last = max(last, st.Birth)
	}
	var list []generation
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if p == s.path || !e.Type().IsRegular() {
			continue
		}
		g, err := statGeneration(p)
		if err != nil || (hasCurrent && g.id == current.id) {
			continue
		}
		st, isKnown := known[g.id]
		if isKnown && (st.Birth == 0 || g.born == st.Birth) {
			g.state, g.known = st, true
			if !st.Done {
				list = append(list, g)
			}
			continue
		}
		if isSibling(filepath.Base(s.path), e.Name()) && g.born >= last &&
			(!hasCurrent || g.born <= current.born) && !s.c.matches(p) {
			list = append(list, g)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].born < list[j].born })
	return list, nil
}

// isCopy recognises what copytruncate leaves: a file that begins like one
// that was collected.
func isCopy(f *tail.File, known map[checkpoint.FileID]checkpoint.State) bool {
	for _, st := range known {
		if f.StartsLike(st.Head) {
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
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if ext == "" || stem == "" || !strings.HasSuffix(name, ext) {
		return false
	}
	middle, ok := strings.CutPrefix(strings.TrimSuffix(name, ext), stem)
	return ok && len(middle) > 1 && strings.ContainsRune(".-_", rune(middle[0])) && middle[1] >= '0' && middle[1] <= '9'
}

func statGeneration(p string) (generation, error) {
	var st unix.Stat_t
	if err := unix.Stat(p, &st); err != nil {
		return generation{}, &os.PathError{Op: "stat", Path: p, Err: err}
	}
	g := generation{path: p, id: tail.StatID(&st), size: st.Size, born: tail.BirthOf(p)}
	if g.born == 0 {
		g.born = st.Mtim.Nano()
	}
	return g, nil
}
