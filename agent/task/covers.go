package task

import (
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// nothingLeft adds a problem when exclude surely leaves out whatever paths can
// match: such a task would run and never collect anything.
func (c *checker) nothingLeft(t Task) {
	if len(t.Exclude) == 0 || len(t.Paths) == 0 {
		return
	}
	for _, p := range t.Paths {
		if !leavesOut(t.Exclude, p) {
			return
		}
	}
	c.add("exclude", "leaves out all that paths match, so nothing would be collected; narrow it, or add a path")
}

func leavesOut(excludes []string, pattern string) bool {
	for _, ex := range excludes {
		if strings.Contains(ex, "/") && within(pattern, ex) || !strings.Contains(ex, "/") && within(path.Base(pattern), ex) {
			return true
		}
	}
	return false
}

// anything stands for what a star of a pattern matches. No path has it.
const anything = "\x00"

// within says that all that matches inner matches outer as well. It may say no
// although it is so.
func within(inner, outer string) bool {
	switch {
	case inner == outer, outer == "**", outer == "/**" && strings.HasPrefix(inner, "/"):
		return true
	case strings.ContainsAny(inner, `[{\`) || strings.ContainsAny(outer, `?[{\`): // what these match is not looked at
		return false
	case strings.Contains(inner, "**"):
		return false
	}
	// A star of outer that takes in the stand-in takes in all that it stands for.
	sample := strings.NewReplacer("*", anything, "?", anything).Replace(inner)
	ok, err := doublestar.Match(outer, sample)
	return err == nil && ok
}
