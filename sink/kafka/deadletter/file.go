package deadletter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a file when none are given.
const (
	DefaultMaxBytes = 16 << 20
	DefaultMaxFiles = 4
)

// File keeps letters as JSON lines in a file and in the generations that were
// rotated away from it: NAME.1 is the newest of them. No descriptor is kept, so
// a file may be moved away at any time, and several tasks and processes may
// use one at once: each change is made under a lock of its directory.
type File struct {
	Path     string
	MaxBytes int64 // of one file; a single letter may be larger. 0: DefaultMaxBytes
	MaxFiles int   // how many rotated files are kept. 0: DefaultMaxFiles
}

// Lost is what had to make room.
type Lost struct {
	File    string // that was removed
	Letters int    // in it that were never replayed
	Bytes   int64
}

// Append writes a letter and brings it to the disk. A file that would become
// too large is rotated away first; where that removes the oldest one, the
// letters that are lost with it are returned.
func (f File) Append(ctx context.Context, l Letter) (lost Lost, err error) {
	b, err := l.encode()
	if err != nil {
		return Lost{}, err
	}
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Lost{}, err
	}
	unlock, err := lockDir(ctx, dir)
	if err != nil {
		return Lost{}, err
	}
	defer unlock()
	if info, err := os.Stat(f.Path); err == nil && info.Size() > 0 && info.Size()+int64(len(b)) > orElse(f.MaxBytes, DefaultMaxBytes) {
		if lost, err = f.rotate(); err != nil {
			return lost, fmt.Errorf("rotate: %w", err)
		}
	}
	return lost, appendLine(f.Path, b)
}

// rotate moves each generation up by one, as far as there is no gap. The
// directory is locked.
func (f File) rotate() (lost Lost, err error) {
	keep := orElse(f.MaxFiles, DefaultMaxFiles)
	numbers, err := f.generations()
	if err != nil {
		return Lost{}, err
	}
	gap := 1
	for slices.Contains(numbers, gap) {
		gap++
	}
	gap = min(gap, keep)
	for _, n := range slices.Backward(numbers) {
		if n < keep || (n == keep && n != gap) {
			break // it stays, or there is a gap below it to move into
		}
		l, err := f.remove(f.name(n))
		lost = Lost{File: l.File, Letters: lost.Letters + l.Letters, Bytes: lost.Bytes + l.Bytes}
		if err != nil {
			return lost, err
		}
	}
	for n := gap; n > 0; n-- {
		if err := os.Rename(f.name(n-1), f.name(n)); err != nil {
			return lost, err
		}
	}
	return lost, syncDir(filepath.Dir(f.Path))
}

// remove takes a generation away and tells what was in it.
func (f File) remove(name string) (Lost, error) {
	lost := Lost{File: name}
	if info, err := os.Stat(name); err == nil {
		lost.Bytes = info.Size()
	}
	replayed, _ := readJournal(f.journal()) // what cannot be told counts as lost
	if r, err := os.Open(name); err == nil {
		_, _ = eachLine(r, func(b []byte) error {
			if _, ok := replayed[lineID(bytes.TrimSuffix(b, []byte("\n")))]; !ok {
				lost.Letters++
			}
			return nil
		})
		_ = r.Close()
	}
	return lost, os.Remove(name)
}

// name is that of generation n; 0 is the file that is written to.
func (f File) name(n int) string {
	if n == 0 {
		return f.Path
	}
	return f.Path + "." + strconv.Itoa(n)
}

func (f File) journal() string { return f.Path + ".replayed" }

// generations lists the numbers of the rotated files, from the newest on.
func (f File) generations() ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(f.Path))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(f.Path)+".")
		if n, err := strconv.Atoi(suffix); ok && err == nil && n > 0 && strconv.Itoa(n) == suffix {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Read calls each with every letter, oldest first, as they stand at one moment;
// what is written or rotated meanwhile changes nothing. Lines that are no
// letters are counted. A file that does not exist holds none.
func (f File) Read(ctx context.Context, each func(Letter) error) (unreadable int, err error) {
	files, replayed, err := f.open(ctx)
	defer func() {
		for _, r := range files {
			_ = r.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	for _, r := range files {
		n, err := eachLine(r, func(b []byte) error {
			l, err := decode(b)
			if err != nil {
				unreadable++
				return nil
			}
			l.Replayed = replayed[l.ID].Time
			return each(l)
		})
		if err != nil {
			return unreadable, err
		}
		unreadable += n
	}
	return unreadable, nil
}

// open opens all generations, oldest first.
func (f File) open(ctx context.Context) (files []*os.File, replayed journalEntries, err error) {
	unlock, err := lockDir(ctx, filepath.Dir(f.Path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	defer unlock()
	numbers, err := f.generations()
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(numbers)
	for _, n := range append(numbers, 0) {
		r, err := os.Open(f.name(n))
		if n == 0 && errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return files, nil, err
		}
		files = append(files, r)
	}
	replayed, err = readJournal(f.journal())
	return files, replayed, err
}

// Drop removes the letters that match, and what the journal says about letters
// that are no more. Writers wait meanwhile.
func (f File) Drop(ctx context.Context, match func(Letter) bool) (dropped int, err error) {
	j, err := f.OpenJournal()
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	unlock, err := lockDir(ctx, filepath.Dir(f.Path))
	if err != nil {
		return 0, err
	}
	defer unlock()
	numbers, err := f.generations()
	if err != nil {
		return 0, err
	}
	left := map[string]bool{}
	for _, n := range append(numbers, 0) {
		k, err := rewrite(f.name(n), func(b []byte) bool {
			l, err := decode(b)
			if err != nil {
				return true
			}
			l.Replayed = j.entries[l.ID].Time
			if match(l) {
				return false
			}
			left[l.ID] = true
			return true
		})
		if err != nil {
			return dropped, fmt.Errorf("drop dead letters: %w", err)
		}
		dropped += k
	}
	return dropped, j.keep(left)
}

// rewrite leaves out the lines of a file that keep refuses, and the whole file
// when none is left.
func rewrite(name string, keep func([]byte) bool) (dropped int, err error) {
	r, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var left bytes.Buffer // a file is bounded
	_, err = eachLine(r, func(b []byte) error {
		if keep(b) {
			left.Write(b)
		} else {
			dropped++
		}
		return nil
	})
	if err != nil || dropped == 0 {
		return 0, err
	}
	if left.Len() == 0 {
		return dropped, errors.Join(os.Remove(name), syncDir(filepath.Dir(name)))
	}
	out, err := replaceFile(name, left.Bytes())
	if err != nil {
		return 0, err
	}
	return dropped, out.Close()
}

// eachLine calls f with each line of r, newline included. What an interrupted
// write left at the end, or an empty line, is counted instead.
func eachLine(r io.Reader, f func([]byte) error) (broken int, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		b, err := br.ReadBytes('\n')
		switch {
		case err == nil && len(b) > 1:
			if err := f(b); err != nil {
				return broken, err
			}
		case len(b) > 0:
			broken++
		}
		if errors.Is(err, io.EOF) {
			return broken, nil
		} else if err != nil {
			return broken, fmt.Errorf("read dead letters: %w", err)
		}
	}
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
