package filesource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"logferry/agent/task"
	"logferry/internal/filemode"
	"logferry/internal/strictyaml"
)

// fileSet remembers the last good tasks of each file. It belongs to the
// goroutine of Run.
type fileSet struct {
	globs    []string
	files    map[string]*file
	owners   map[string]string // task name → path of the file whose task of that name is in use
	last     task.Snapshot
	lastRead bool
}

// file is one task file.
type file struct {
	data    []byte      // what was read last, good or not; nil: nothing yet
	tasks   []task.Task // of the last good version
	lines   []int       // where each of tasks begins
	refusal *task.Refusal
}

func newFileSet(globs []string) fileSet {
	return fileSet{globs: globs, files: map[string]*file{}, owners: map[string]string{}}
}

// directories lists where files of the set are or would appear.
func (s *fileSet) directories() map[string]bool {
	dirs := map[string]bool{}
	for _, g := range s.globs {
		base, rest := doublestar.SplitPattern(g)
		dirs[nearestDirectory(base)] = true
		if !strings.Contains(rest, "/") {
			continue
		}
		// What cannot be read is reported by find.
		below, _ := doublestar.FilepathGlob(filepath.Dir(g))
		for _, d := range below {
			if info, err := os.Stat(d); err == nil && info.IsDir() {
				dirs[d] = true
			}
		}
	}
	for path := range s.files {
		dirs[filepath.Dir(path)] = true
	}
	return dirs
}

// concerns reports whether a change of name can change the set: it lies below
// where a glob begins, beside a known file, or on the way to where a glob begins.
func (s *fileSet) concerns(name string) bool {
	for _, g := range s.globs {
		base, _ := doublestar.SplitPattern(g)
		if within(name, base) || within(base, name) {
			return true
		}
	}
	for path := range s.files {
		if filepath.Dir(path) == filepath.Dir(name) {
			return true
		}
	}
	return false
}

func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// nearestDirectory returns dir, or what exists of the way to it, so that its
// creation is seen.
func nearestDirectory(dir string) string {
	for {
		info, err := os.Stat(dir)
		if (err == nil && info.IsDir()) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// read looks at all files. It returns the snapshot, whether it differs from the
// one before, and the refusals that the one before did not have.
func (s *fileSet) read() (task.Snapshot, bool, []task.Refusal) {
	paths, refusals := s.find()
	for path := range s.files {
		if !paths[path] {
			delete(s.files, path)
		}
	}
	for path := range paths {
		s.readFile(path)
	}
	snapshot := s.assemble(refusals)
	var fresh []task.Refusal
	for _, r := range snapshot.Refused {
		if !slices.Contains(s.last.Refused, r) {
			fresh = append(fresh, r)
		}
	}
	changed := !s.lastRead || !slices.Equal(snapshot.Refused, s.last.Refused) ||
		!slices.EqualFunc(snapshot.Tasks, s.last.Tasks, task.Equal)
	s.last, s.lastRead = snapshot, true
	return snapshot, changed, fresh
}

// find returns the paths that the globs match. A glob that cannot be read
// keeps the files that it matched before.
func (s *fileSet) find() (map[string]bool, []task.Refusal) {
	paths := map[string]bool{}
	var refusals []task.Refusal
	for _, g := range s.globs {
		matches, err := doublestar.FilepathGlob(g, doublestar.WithFailOnIOErrors())
		if err != nil {
			refusals = append(refusals, task.Refusal{Origin: g, Error: fmt.Sprintf("cannot list task files: %v; check the directory's permissions", err)})
			for path := range s.files {
				if doublestar.PathMatchUnvalidated(g, path) {
					paths[path] = true
				}
			}
		}
		for _, m := range matches {
			if info, err := os.Stat(m); err == nil && info.IsDir() {
				continue
			}
			paths[m] = true
		}
	}
	return paths, refusals
}

// readFile takes over what the file says now, or notes why not.
func (s *fileSet) readFile(path string) {
	data, err := readRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.files, path)
		return
	}
	f := s.files[path]
	if f == nil {
		f = &file{}
		s.files[path] = f
	}
	if err != nil {
		f.data = nil
		r := task.Refuse(baseName(path), path, err)
		f.refusal = &r
		return
	}
	if f.data != nil && bytes.Equal(f.data, data) {
		return
	}
	f.data, f.refusal = data, nil
	tasks, lines, err := decode(data, path)
	if err != nil {
		r := task.Refuse(baseName(path), origin(path, err), err)
		f.refusal = &r
		return
	}
	f.tasks, f.lines = tasks, lines
}

// readRegular reads a regular file; one larger than task.MaxBytes is cut
// behind that, for the decoder to refuse.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("is not a regular file; put a file in its place or remove it")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w; check its permissions", err)
	}
	defer func() { _ = f.Close() }()
	if filemode.OthersMayWrite(f) {
		return nil, errors.New("may be written to by every user of this host, who could have any file sent; take that right away with chmod o-w")
	}
	data, err := io.ReadAll(io.LimitReader(f, task.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return data, nil
}

// decode returns the tasks of one file, complete and valid.
func decode(data []byte, path string) ([]task.Task, []int, error) {
	defs, err := task.Parse(data, path)
	if err != nil {
		return nil, nil, err
	}
	var problems []error
	tasks, lines := make([]task.Task, 0, len(defs)), make([]int, 0, len(defs))
	seen := map[string]int{}
	for _, d := range defs {
		at := func(text string, args ...any) {
			problems = append(problems, &strictyaml.Error{Origin: path, Line: d.Line, Text: fmt.Sprintf(text, args...)})
		}
		if len(defs) > 1 && d.Task.Name == "" {
			at("name: is missing; a file with several tasks must name each one")
			continue
		}
		t, err := d.Complete(baseName(path))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if line, ok := seen[t.Name]; ok {
			at("name: %q is also that of the task in line %d; give one of them another name", t.Name, line)
			continue
		}
		seen[t.Name] = d.Line
		tasks, lines = append(tasks, t), append(lines, d.Line)
	}
	return tasks, lines, errors.Join(problems...)
}

// assemble joins the files into one set of tasks. Of two files with a task of
// the same name, the one whose task is in use keeps it; the first
// by path if none is.
func (s *fileSet) assemble(refusals []task.Refusal) task.Snapshot {
	paths := slices.Sorted(maps.Keys(s.files))
	owners := map[string]string{}
	for _, path := range paths {
		for _, t := range s.files[path].tasks {
			if current, taken := owners[t.Name]; !taken || (current != path && s.owners[t.Name] == path) {
				owners[t.Name] = path
			}
		}
	}
	s.owners = owners
	var snapshot task.Snapshot
	for _, path := range paths {
		f := s.files[path]
		if f.refusal != nil {
			refusals = append(refusals, *f.refusal)
		}
		for i, t := range f.tasks {
			if owners[t.Name] == path {
				snapshot.Tasks = append(snapshot.Tasks, t)
				continue
			}
			refusals = append(refusals, task.Refusal{Name: t.Name, Origin: fmt.Sprintf("%s:%d", path, f.lines[i]), Error: fmt.Sprintf(
				"name: %q is also that of a task in %s; give one of them another name", t.Name, owners[t.Name])})
		}
	}
	slices.SortFunc(snapshot.Tasks, func(a, b task.Task) int { return strings.Compare(a.Name, b.Name) })
	snapshot.Refused = refusals
	return snapshot
}

// origin returns the path with the line of the first problem.
func origin(path string, err error) string {
	if e := strictyaml.AsError(err); e != nil && e.Line > 0 {
		return fmt.Sprintf("%s:%d", path, e.Line)
	}
	return path
}

// baseName returns the name that a file gives to its task.
func baseName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
