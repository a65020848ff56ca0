package collector

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// onceGlob marks a glob that was looked at once in the store.
const onceGlob = "once:"

// Done looks for what there is to read, and reports whether it is nothing: an
// earlier run came to the end.
func (o *Once) Done() (bool, error) {
	if err := o.look(); err != nil {
		return false, fmt.Errorf("collect task %s: %w", o.cfg.Task, err)
	}
	return len(o.unread()) == 0, nil
}

// look finds the set: what is stored of it, and what matches globs that were
// never looked at. A task of which nothing is stored looks again.
func (o *Once) look() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.looked {
		return nil
	}
	states, err := o.deps.Store.Load(o.cfg.Task)
	if err != nil {
		return err
	}
	seen, err := o.deps.Store.Seen(o.cfg.Task)
	if err != nil {
		return err
	}
	set := map[checkpoint.FileID]*onceFile{}
	for id, st := range states {
		if st.Once != checkpoint.OnceNot && o.cfg.globOf(st.Path) != "" && o.cfg.excludedBy(st.Path) == "" {
			set[id] = &onceFile{path: st.Path, id: id, st: st}
		}
	}
	var fresh, keys []string
	for _, glob := range o.cfg.Paths {
		if !seen[onceGlob+glob] || len(set) == 0 {
			fresh, keys = append(fresh, glob), append(keys, onceGlob+glob)
		}
	}
	for _, glob := range fresh {
		if err := o.lookAt(glob, states, set); err != nil {
			o.log.Warn("some files of a task that reads once cannot be looked at; the next start looks again", "glob", glob, "error", err)
			o.blind = err
		}
	}
	if len(keys) > 0 && o.blind == nil {
		if err := o.deps.Store.MarkSeen(o.cfg.Task, keys); err != nil {
			return err // or files that appear later might be taken for a part of the set
		}
	}
	o.adopt(set)
	o.order(set)
	o.looked = true
	return nil
}

// lookAt adds to the set what matches a glob.
func (o *Once) lookAt(glob string, states map[checkpoint.FileID]checkpoint.State, set map[checkpoint.FileID]*onceFile) error {
	matches, err := doublestar.FilepathGlob(glob, doublestar.WithNoFollow())
	if err != nil {
		return err
	}
	var failed error
	for _, p := range matches {
		if o.cfg.excludedBy(p) != "" {
			continue
		}
		info, err := o.deps.FS.Look(p)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && info.Mode == unix.S_IFDIR:
		case err != nil:
			o.refused[p], failed = err.Error(), err
		case info.Mode != unix.S_IFREG:
			o.refused[p] = tail.WhyNot(info.Mode).Error()
		case o.cfg.IgnoreOlder > 0 && time.Since(time.Unix(0, info.Modified)) > o.cfg.IgnoreOlder:
			o.refused[p] = "it was not changed for longer than ignore_older"
		case !holds(set, info):
			st := states[info.ID]
			if st.Birth != info.Birth {
				st = checkpoint.State{} // its inode is another file's now
			}
			st.Path, st.Birth, st.Until, st.Once, st.Done = p, info.Birth, info.Size, checkpoint.OnceOpen, false
			set[info.ID] = &onceFile{path: p, id: info.ID, st: st}
			o.deps.Store.Put(o.cfg.Task, info.ID, st)
		}
	}
	return failed
}

// holds reports whether a file is in the set. One that is gone may have left its
// inode to another.
func holds(set map[checkpoint.FileID]*onceFile, info tail.Info) bool {
	f := set[info.ID]
	return f != nil && (f.st.Birth == 0 || info.Birth == 0 || f.st.Birth == info.Birth)
}

// adopt takes what stands now under the path of a file that could not be read to
// its end: it was restored. It is read on behind what is delivered if it begins with that.
func (o *Once) adopt(set map[checkpoint.FileID]*onceFile) {
	for id, f := range set {
		info, err := o.deps.FS.Look(f.path)
		if f.st.Once != checkpoint.OnceFailed || err != nil || info.Mode != unix.S_IFREG {
			continue
		}
		f.st.Once, f.st.Birth, f.st.Until = checkpoint.OnceOpen, info.Birth, info.Size
		if !holds(set, info) {
			o.deps.Store.Delete(o.cfg.Task, id)
			delete(set, id)
			f.id = info.ID
			set[f.id] = f
		}
		o.deps.Store.Put(o.cfg.Task, f.id, f.st)
	}
}

// order sorts the set by when its files were last changed: of one log, the oldest
// lines come first.
func (o *Once) order(set map[checkpoint.FileID]*onceFile) {
	o.files = slices.Collect(maps.Values(set))
	for _, f := range o.files {
		f.state, f.started = FileWaiting, time.Now()
		if f.st.Once == checkpoint.OnceEnded {
			f.state = FileEnded
			continue
		}
		if info, err := o.deps.FS.Look(f.path); err == nil {
			f.mtime = info.Modified
		}
	}
	slices.SortFunc(o.files, func(a, b *onceFile) int {
		return cmp.Or(cmp.Compare(a.mtime, b.mtime), strings.Compare(a.path, b.path))
	})
}

// Files lists the set.
func (o *Once) Files() []FileStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]FileStatus, len(o.files))
	for i, f := range o.files {
		out[i] = o.statusLocked(f).named(f.id)
	}
	return out
}

func (o *Once) statusLocked(f *onceFile) FileStatus {
	st := FileStatus{Task: o.cfg.Task, Path: f.path, State: f.state, Started: f.started, Size: max(f.st.Until, f.st.Offset), Read: f.st.Offset, Committed: f.st.Offset}
	if f.err != nil {
		st.Error = f.err.Error()
	}
	if f.f != nil {
		t := f.f.Status()
		st.Size, st.Read, st.Committed, st.Deleted = max(t.Size, t.Read), t.Read, t.Committed, t.Deleted
		if !t.Oldest.IsZero() {
			st.LagSeconds = time.Since(t.Oldest).Seconds()
		}
	}
	if f.state != FileEnded {
		st.LagBytes = max(st.Size-st.Committed, 0)
	}
	return st
}

// onceStates lists the states of files that are read once.
var onceStates = []FileState{FileWaiting, FileReading, FileEnded, FileFailed}

// Totals sums up the set. Of a compressed file that was not read yet the size is
// the compressed one.
func (o *Once) Totals() Totals {
	t := newTotals(onceStates)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.files {
		t.add(o.statusLocked(f))
	}
	return t
}

// Refused lists the paths that match and are no part of the set, with the reason.
func (o *Once) Refused() map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.refused)
}

// CollectsNothing says why no file is read although paths match, see Collector.
func (o *Once) CollectsNothing() (path, why string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.files) > 0 {
		return "", "", 0
	}
	return firstRefused(o.refused)
}

// NotCollected counts what Refused holds, see Collector.
func (o *Once) NotCollected() (n int, example string) { return notCollected(o.Refused()) }

// Abandoned is how many bytes were given up: none ever are.
func (o *Once) Abandoned() int64 { return 0 }

// Explain says what the task does with a path, which is absolute and clean.
func (o *Once) Explain(path string) Explanation {
	e := Explanation{Task: o.cfg.Task}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.files {
		if f.path != path {
			continue
		}
		e.Collected, e.Why = true, "it is read once"
		if e.Files = append(e.Files, o.statusLocked(f).named(f.id)); f.state == FileFailed {
			e.Collected, e.Why = false, f.err.Error()
		}
		return e
	}
	switch why := o.cfg.whyNot(path, o.refused[path]); {
	case why != "":
		e.Why = why
	default:
		e.Why = "it was not there when the task began, which reads once"
	}
	return e
}
