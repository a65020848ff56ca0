package agent

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"logferry/agent/task"
	"logferry/collector/tail"
)

// What Config.Symlinks can say.
const (
	SymlinksFollow = "follow" // as far as the task may read
	SymlinksRefuse = "refuse" // in no part of a path
)

// reach says which files a task may open. Whoever may write where logs are can
// put a link in a log's place; it must not lead the agent, which may read
// more, to anything that the link's maker may not.
type reach struct {
	allow  task.AllowList
	paths  []string // globs of the task
	remote bool     // the task is from etcd, whose authors reach only allow
}

// check is told the path that was opened and the one that it led to.
func (r reach) check(path, resolved string) error {
	switch {
	case r.allow.Contains(resolved):
		return nil
	case r.remote:
		return fmt.Errorf("%s is outside of allow_paths (%s); extend allow_paths in agent.yaml if tasks from etcd are to read it", resolved, r.allow)
	case filepath.Clean(path) == resolved, r.isBelowPaths(resolved):
		return nil
	}
	return fmt.Errorf("a symbolic link leads to %s, which is neither below the task's own paths nor within allow_paths (%s); name it in the task's paths, or extend allow_paths in agent.yaml",
		resolved, r.allow)
}

// isBelowPaths reports whether a file is below a directory in which one of the
// task's globs begins, wherever that directory is now.
func (r reach) isBelowPaths(resolved string) bool {
	for _, glob := range r.paths {
		base, _ := doublestar.SplitPattern(glob)
		dir, err := filepath.EvalSymlinks(base)
		if err == nil && strings.HasPrefix(resolved, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}

// links is what tailers are told of Symlinks.
func (c *Config) links() tail.Links {
	if c.Symlinks == SymlinksRefuse {
		return tail.LinksRefused
	}
	return tail.LinksOfFiles
}
