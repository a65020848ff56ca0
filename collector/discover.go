package collector

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// firstLook is the first scan of a run: it takes up what was stored.
func (c *Collector) firstLook() error {
	states, err := c.deps.Store.Load(c.cfg.Task)
	if err != nil {
		return err
	}
	seen, err := c.deps.Store.Seen(c.cfg.Task)
	if err != nil {
		return err
	}
	c.stored = map[string]map[checkpoint.FileID]checkpoint.State{}
	for id, st := range states {
		if c.stored[st.Path] == nil {
			c.stored[st.Path] = map[checkpoint.FileID]checkpoint.State{}
		}
		c.stored[st.Path][id] = st
	}
	c.scan(func(glob string) bool { return !seen[glob] })
	for p, ids := range c.stored {
		if c.unfinished(ids) && c.matches(p) {
			c.revive(p)
		}
	}
	c.mu.Lock()
	c.stored = nil
	c.mu.Unlock()
	if err := c.deps.Store.MarkSeen(c.cfg.Task, c.cfg.Paths); err != nil {
		c.log.Warn("the first look cannot be noted; it is repeated at the next start", "error", err)
	}
	return nil
}

func (c *Collector) unfinished(ids map[checkpoint.FileID]checkpoint.State) bool {
	for _, st := range ids {
		if !st.Done {
			return true
		}
	}
	return false
}

// revive makes a stream for a path that is gone but may have left a file
// under another name that is not read to its end.
func (c *Collector) revive(p string) {
	c.mu.Lock()
	if c.streams[p] != nil {
		c.mu.Unlock()
		return
	}
	s := newStream(c, p, false, c.stored[p])
	c.streams[p] = s
	c.mu.Unlock()
	s.wake()
}

// scan looks at everything that matches. fresh says whether a glob is looked
// at for the first time ever; nil: none is.
func (c *Collector) scan(fresh func(glob string) bool) {
	found := map[string]bool{} // path → matched by fresh globs only
	dirs := map[string]bool{}
	for _, glob := range c.cfg.Paths {
		isFresh := fresh != nil && fresh(glob)
		matches, err := doublestar.FilepathGlob(glob, doublestar.WithNoFollow())
		if err != nil {
			c.log.Warn("a glob cannot be read", "glob", glob, "error", err)
			continue
		}
		for _, m := range matches {
			if was, ok := found[m]; !ok || was {
				found[m] = isFresh
			}
		}
		for _, d := range watchDirs(glob) {
			dirs[d] = true
		}
	}
	c.watchAll(dirs)
	paths := make([]string, 0, len(found))
	for p := range found {
		if !c.excluded(p) {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	c.forgetRefused(found)
	for _, p := range paths {
		c.consider(p, found[p])
	}
}

// consider takes up one matching path.
func (c *Collector) consider(p string, firstLook bool) {
	var st unix.Stat_t
	if err := unix.Stat(p, &st); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.refuse(p, &fs.PathError{Op: "stat", Path: p, Err: err})
		}
		return
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		c.refuse(p, tail.ErrNotRegular)
		return
	}
	found := generation{path: p, id: tail.StatID(&st), born: tail.BirthOf(p)}
	c.mu.Lock()
	if s := c.streams[p]; s != nil {
		c.mu.Unlock()
		s.wakeIfChanged()
		return
	}
	if c.byID[found.id] != nil {
		c.mu.Unlock()
		return // the same file under another name
	}
	s := newStream(c, p, firstLook, c.stored[p])
	s.old = c.cfg.IgnoreOlder > 0 && time.Since(time.Unix(st.Mtim.Unix())) > c.cfg.IgnoreOlder
	s.found = found
	c.streams[p] = s
	c.mu.Unlock()
	s.wake()
}

// forgetRefused drops the reasons of paths that are no longer there.
func (c *Collector) forgetRefused(found map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.refused {
		if _, ok := found[p]; !ok {
			delete(c.refused, p)
		}
	}
}

func (c *Collector) matches(p string) bool {
	for _, glob := range c.cfg.Paths {
		if ok, err := doublestar.PathMatch(glob, p); err == nil && ok {
			return !c.excluded(p)
		}
	}
	return false
}

func (c *Collector) excluded(p string) bool {
	for _, ex := range c.cfg.Exclude {
		subject := p
		if !strings.ContainsRune(ex, '/') {
			subject = filepath.Base(p)
		}
		if ok, err := doublestar.PathMatch(ex, subject); err == nil && ok {
			return true
		}
	}
	return false
}

// watchDirs lists the directories in which a match of glob could appear, and
// those in which such a directory could. Of a base that does not exist yet it is the
// nearest directory that does.
func watchDirs(glob string) []string {
	base, rest := doublestar.SplitPattern(filepath.ToSlash(glob))
	for !isDir(base) && base != "/" && base != "." {
		base, rest = path.Dir(base), "" // a new directory brings a new look
	}
	dirs := []string{base}
	segs := strings.Split(rest, "/")
	for i := 1; rest != "" && i <= len(segs); i++ {
		prefix := path.Join(append([]string{base}, segs[:i]...)...)
		if i == len(segs) && segs[i-1] != "**" {
			break
		}
		found, err := doublestar.FilepathGlob(prefix, doublestar.WithNoFollow())
		if err != nil {
			break
		}
		for _, d := range found {
			if isDir(d) {
				dirs = append(dirs, d)
			}
		}
	}
	return dirs
}

func isDir(p string) bool {
	var st unix.Stat_t
	return unix.Stat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// watchAll keeps watches on exactly these directories.
func (c *Collector) watchAll(dirs map[string]bool) {
	if c.cfg.Poll || c.deps.Watcher == nil {
		return
	}
	c.mu.Lock()
	for d, w := range c.dirs {
		if !dirs[d] {
			w.Close()
			delete(c.dirs, d)
		}
	}
	var failed error
	for d := range dirs {
		// Watched again at each look: after a directory was replaced, the old
		// watch is on a directory that nobody can reach. The kernel knows one
		// watch a directory, so this costs nothing.
		w, err := c.deps.Watcher.Dir(d, c.dirCallback(d))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				failed = err
			}
			continue
		}
		if old := c.dirs[d]; old != nil {
			old.Close()
		}
		c.dirs[d] = w
	}
	c.mu.Unlock()
	if failed != nil {
		c.pollToo(failed)
	}
}
