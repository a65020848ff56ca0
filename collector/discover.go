package collector

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/collector/watch"
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
	c.mu.Lock()
	c.stored = map[string]map[checkpoint.FileID]checkpoint.State{}
	c.mu.Unlock()
	for id, st := range states {
		if c.stored[st.Path] == nil {
			c.stored[st.Path] = map[checkpoint.FileID]checkpoint.State{}
		}
		c.stored[st.Path][id] = st
	}
	c.scan(func(glob string) bool { return !seen[glob] })
	for p, ids := range c.stored {
		if (c.unfinished(ids) || len(c.stored) <= searchedPaths) && c.matches(p) && !c.isPackedGeneration(p) {
			c.revive(p)
		}
	}
	c.mu.Lock()
	for p, ids := range c.stored {
		if c.streams[p] == nil {
			c.leftBehindLocked(p, ids)
		}
	}
	c.stored = nil
	c.mu.Unlock()
	c.noteLook()
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

// revive makes a stream for a path that is gone but may have left files
// under other names that are not read to their end.
func (c *Collector) revive(p string) {
	c.mu.Lock()
	if c.streams[p] != nil {
		c.mu.Unlock()
		return
	}
	s := newStream(c, p, false, maps.Clone(c.stored[p]))
	c.addLocked(s)
	c.mu.Unlock()
	s.wake()
}

// scan looks at everything that matches. fresh says whether a glob is looked
// at for the first time ever; nil: none is. It returns what matches.
func (c *Collector) scan(fresh func(glob string) bool) map[string]bool {
	began := time.Now()
	// The watches come first: a file that is created after them is told, one
	// that was created before them is found. So it is with directories: after
	// new watches they are listed once more.
	for range 5 {
		if added := c.watchAll(c.watchedDirs()); !added {
			break
		}
	}
	found := map[string]bool{} // path → matched by fresh globs only
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
	}
	paths := make([]string, 0, len(found))
	for p := range found {
		if !c.excluded(p) {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	c.forgetRefused(found)
	for _, p := range paths {
		c.consider(p, found[p], c.pastOf(p, len(paths)))
	}
	c.scanTook = time.Since(began)
	return found
}

// searchedPaths bounds the paths of a task with which each new or revived path's
// directory is read for generations that came and went before.
const searchedPaths = 1000

// pastOf is what is known of a path that a look finds among n: what the store
// holds at the first look; later, that it was not there when the agent began.
func (c *Collector) pastOf(p string, n int) map[checkpoint.FileID]checkpoint.State {
	switch {
	case c.stored != nil:
		return maps.Clone(c.stored[p])
	case n <= searchedPaths:
		c.noteClock()
		return bornSince(c.began.wall)
	}
	return nil
}

// pastOfNew is what is known of a path that directory events name: its first file
// may have been rotated away before anybody looked. events are those that follow.
func (c *Collector) pastOfNew(p string, events []dirEvent) map[checkpoint.FileID]checkpoint.State {
	c.mu.Lock()
	n := len(c.streams)
	c.mu.Unlock()
	dir, name := filepath.Split(p)
	if n > searchedPaths && slices.ContainsFunc(events, func(e dirEvent) bool {
		return e.ev.Gone && e.ev.Name == name && filepath.Clean(e.dir) == filepath.Clean(dir)
	}) {
		n = 1
	}
	return c.pastOf(p, n)
}

// keptPaths bounds the paths that are remembered after they are gone.
const keptPaths = 1000

// leftBehindLocked remembers what was collected of a path that is gone: it may
// return, and its generations, or what they are compressed to, may still be there.
func (c *Collector) leftBehindLocked(p string, known map[checkpoint.FileID]checkpoint.State) {
	if !wasCollected(known) || !c.matches(p) {
		return
	}
	list := make(map[checkpoint.FileID]checkpoint.State, len(known))
	for id, st := range known {
		st.Done = true // what was not read is not to be found any more
		list[id] = st
	}
	for other := range c.left {
		if len(c.left) < keptPaths {
			break
		}
		delete(c.left, other)
	}
	c.left[p] = list
}

// withLeft adds what was collected of a path when it was there before.
func (c *Collector) withLeft(p string, known map[checkpoint.FileID]checkpoint.State) map[checkpoint.FileID]checkpoint.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.left[p]
	delete(c.left, p)
	if left == nil || wasCollected(known) {
		return known
	}
	maps.Copy(left, known)
	return left
}

// consider takes up one matching path with what is known of its past.
func (c *Collector) consider(p string, firstLook bool, known map[checkpoint.FileID]checkpoint.State) {
	c.mu.Lock()
	s := c.streams[p]
	c.mu.Unlock()
	if s != nil {
		s.wakeIfChanged()
		return
	}
	if c.isPackedGeneration(p) {
		c.leave(p, whyPacked)
		return
	}
	info, err := c.tail.FS.Look(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		c.lookFailed(p, err)
		return
	case info.Mode == unix.S_IFDIR:
		if slices.Contains(c.cfg.Paths, p) { // of a pattern that matches more it is no mistake
			c.refuse(p, errDirectory)
		}
		return
	case info.Mode != unix.S_IFREG:
		c.refuse(p, tail.WhyNot(info.Mode))
		return
	}
	c.mu.Lock()
	if c.byID[info.ID] != nil {
		c.mu.Unlock()
		return // the same file under another name
	}
	c.mu.Unlock()
	if !firstLook && !wasCollected(known) && c.leaveToSibling(p, info) {
		return
	}
	s = newStream(c, p, firstLook, c.withLeft(p, known))
	g := newGeneration(p, info)
	s.foundID, s.foundBorn = g.id, g.born
	age := max(c.now().Sub(time.Unix(0, info.Modified)), 0)
	s.active = time.Now().Add(-age)
	s.old = c.cfg.IgnoreOlder > 0 && age > c.cfg.IgnoreOlder
	c.mu.Lock()
	c.addLocked(s)
	c.mu.Unlock()
	s.wake()
}

// considerGone takes up a path whose file was renamed before anybody could
// look at it: the file is searched for among the path's siblings.
func (c *Collector) considerGone(p string) {
	if _, err := c.tail.FS.Look(p); !errors.Is(err, fs.ErrNotExist) || c.isPackedGeneration(p) {
		return
	}
	c.mu.Lock()
	collected := c.streams[p] != nil
	c.mu.Unlock()
	if collected {
		return
	}
	c.noteClock()
	s := newStream(c, p, false, c.withLeft(p, bornSince(c.began.wall)))
	c.mu.Lock()
	c.addLocked(s)
	c.mu.Unlock()
	s.wake()
}

func (c *Collector) addLocked(s *stream) {
	c.streams[s.path] = s
	if c.stored != nil {
		s.awaited = true
		c.awaited++
	}
}

// opened is told when a stream has tried to open its files for the first time.
func (c *Collector) opened(s *stream) {
	s.mu.Lock()
	s.triedOpen = true
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.awaited {
		return
	}
	s.awaited = false
	if c.awaited--; c.awaited == 0 {
		c.notifyLoop()
	}
}

// noteLook notes the first look at each glob as done, once every file that it
// found has its place in the store.
func (c *Collector) noteLook() {
	c.mu.Lock()
	ready := !c.noted && c.awaited == 0
	c.noted = c.noted || ready
	c.mu.Unlock()
	if !ready {
		return
	}
	if err := c.deps.Store.MarkSeen(c.cfg.Task, c.cfg.Paths); err != nil {
		c.log.Warn("the first look cannot be noted; it is repeated at the next start", "error", err)
	}
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

func (c *Collector) matches(p string) bool { return c.cfg.globOf(p) != "" && !c.excluded(p) }

func (c *Collector) excluded(p string) bool { return c.cfg.excludedBy(p) != "" }

// excludedBy is the first pattern that excludes a path; "" if none does.
func (cfg *Config) excludedBy(p string) string {
	for _, ex := range cfg.Exclude {
		subject := p
		if !strings.ContainsRune(ex, '/') {
			subject = filepath.Base(p)
		}
		if ok, err := doublestar.PathMatch(ex, subject); err == nil && ok {
			return ex
		}
	}
	return ""
}

// globOf is the first pattern of the task that matches a path; "" if none does.
func (cfg *Config) globOf(p string) string {
	for _, glob := range cfg.Paths {
		if ok, err := doublestar.PathMatch(glob, p); err == nil && ok {
			return glob
		}
	}
	return ""
}

func (c *Collector) watchedDirs() map[string]bool {
	dirs := map[string]bool{}
	if c.cfg.Poll || c.deps.Watcher == nil {
		return dirs
	}
	for _, glob := range c.cfg.Paths {
		for _, d := range watchDirs(glob) {
			dirs[d] = true
		}
	}
	return dirs
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

// watchAll keeps watches on exactly these directories, and reports whether
// some of them were not watched before.
func (c *Collector) watchAll(dirs map[string]bool) (added bool) {
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
			if !vanished(err) {
				failed = err
			}
			continue
		}
		if old := c.dirs[d]; old != nil {
			old.Close()
		} else {
			added = true
		}
		c.dirs[d] = w
	}
	c.mu.Unlock()
	if failed != nil {
		c.pollToo(failed)
	}
	return added
}

// vanished tells what was there a moment ago, or a watcher that is ending,
// from a watch that cannot be set.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, watch.ErrEnded)
}
