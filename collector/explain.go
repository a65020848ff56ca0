package collector

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// Explanation says what becomes of one path, and why.
type Explanation struct {
	Task      string `json:"task"`
	Collected bool   `json:"collected"`
	// Under is the path whose lines these are, where it is another one: of a
	// rotated generation, or of a file with several names.
	Under string       `json:"under,omitempty"`
	Why   string       `json:"why"`
	Files []FileStatus `json:"files,omitempty"` // what is being read of it
}

// Explain says what the task does with a path, which is absolute and clean. It
// looks at no file that the task would not look at by itself.
func (c *Collector) Explain(path string) Explanation {
	e := Explanation{Task: c.cfg.Task}
	if e.Files = c.filesOf(path); e.Files != nil {
		e.Collected, e.Why = true, "it is collected"
		if f := e.Files[0]; f.State == FileFailed {
			e.Collected, e.Why = false, "it is tried again and again: "+f.Error
		}
		return e
	}
	glob, why := c.cfg.globOf(path), c.cfg.whyNot(path, c.Refused()[path])
	if glob == "" && !c.isNeighbour(path) {
		e.Why = why
		return e
	}
	info, err := c.tail.FS.Look(path)
	if err == nil && info.Mode == unix.S_IFREG && c.explainByID(&e, info.ID) {
		return e
	}
	switch {
	case why != "":
		e.Why = why
	case c.isPackedGeneration(path):
		e.Why = whyPacked
	case errors.Is(err, fs.ErrNotExist):
		e.Why = fmt.Sprintf("nothing is there; the pattern %q will take it up when it appears", glob)
	case err != nil:
		e.Why = err.Error()
	case info.Mode == unix.S_IFDIR:
		e.Why = errDirectory.Error()
	case info.Mode != unix.S_IFREG:
		e.Why = tail.WhyNot(info.Mode).Error()
	default:
		e.Why = fmt.Sprintf("the pattern %q matches it, and the next look takes it up", glob)
	}
	return e
}

// whyNot says why the patterns leave a path out, or else the reason for which it
// was refused; "" if neither does.
func (cfg *Config) whyNot(p, refused string) string {
	if cfg.globOf(p) == "" {
		return "no pattern of the task matches it; its paths are " + strings.Join(cfg.Paths, ", ")
	}
	if ex := cfg.excludedBy(p); ex != "" {
		return fmt.Sprintf("the task's exclude %q matches it", ex)
	}
	return refused
}

// filesOf lists the files of a path's stream; nil when it has none.
func (c *Collector) filesOf(path string) (out []FileStatus) {
	c.mu.Lock()
	s := c.streams[path]
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	s.eachFile(func(st FileStatus, id checkpoint.FileID) { out = append(out, st.named(id)) })
	return out
}

// explainByID tells of a file that is being read, under whatever name.
func (c *Collector) explainByID(e *Explanation, id checkpoint.FileID) bool {
	c.mu.Lock()
	s := c.byID[id]
	c.mu.Unlock()
	if s == nil {
		return false
	}
	s.eachFile(func(st FileStatus, of checkpoint.FileID) {
		if of == id {
			e.Files = append(e.Files, st.named(of))
		}
	})
	e.Collected, e.Under = true, s.path
	e.Why = "it is collected as what stands under " + s.path + ", or stood there before it was rotated"
	return true
}

// isNeighbour reports whether a path lies where the task reads files.
func (c *Collector) isNeighbour(path string) bool {
	dir := filepath.Dir(path)
	for _, s := range c.all() {
		if filepath.Dir(s.path) == dir {
			return true
		}
	}
	return false
}
