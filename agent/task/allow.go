package task

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// AllowList is what tasks from etcd can reach: the compiled allow_paths of
// agent.yaml. The zero value allows nothing. It is a value and may be used from
// any goroutine.
type AllowList struct {
	patterns []string
}

// NewAllowList compiles absolute doublestar globs. A pattern without any glob
// character, such as /var/log, stands for that path and all that is below it.
func NewAllowList(patterns []string) (AllowList, error) {
	var a AllowList
	for i, p := range patterns {
		var c checker
		key := fmt.Sprintf("allow_paths[%d]", i)
		if c.pattern(key, p) {
			switch {
			case !strings.HasPrefix(p, "/"):
				c.add(key, "%q is not an absolute path; begin it with /", p)
			case climbs(p):
				c.add(key, "%q holds ..; write the path without it", p)
			}
		}
		if len(c.found) > 0 {
			return AllowList{}, c.found
		}
		if isLiteral(p) {
			p = strings.TrimSuffix(path.Clean(p), "/") + "/**"
		}
		a.patterns = append(a.patterns, p)
	}
	return a, nil
}

// String lists the patterns, for messages.
func (a AllowList) String() string {
	if len(a.patterns) == 0 {
		return "nothing"
	}
	return strings.Join(a.patterns, ", ")
}

// Contains reports whether a file may be opened. name must be the path that
// is left when all symbolic links are resolved; a path that is not absolute
// and clean is not contained.
func (a AllowList) Contains(name string) bool {
	if !strings.HasPrefix(name, "/") || path.Clean(name) != name {
		return false
	}
	for _, p := range a.patterns {
		if doublestar.MatchUnvalidated(p, name) {
			return true
		}
	}
	return false
}

// Covers reports whether a task may ask for the files of a glob: the
// directory in which the glob begins must lie within one of the patterns. That is a first
// look, made before any file is known; each file found is held against
// Contains as well.
func (a AllowList) Covers(glob string) bool {
	if !strings.HasPrefix(glob, "/") || climbs(glob) || !doublestar.ValidatePattern(glob) {
		return false
	}
	if isLiteral(glob) {
		return a.Contains(unescape(glob))
	}
	base, rest := doublestar.SplitPattern(glob)
	for _, p := range a.patterns {
		dir, last := path.Split(p)
		if last == "**" {
			dir = p
		} else if dir != "/" {
			dir = strings.TrimSuffix(dir, "/")
		}
		deep := last == "**" || strings.HasSuffix(dir, "/**")
		oneLevel := !strings.ContainsRune(rest, '/') && !strings.Contains(rest, "**")
		if doublestar.MatchUnvalidated(dir, base) && (deep || oneLevel) {
			return true
		}
	}
	return false
}

// ValidateRemote reports what a valid task must not ask for when its author
// has no account on this host: files outside of allow, and local files to
// write to. The error is of type Problems.
func (t Task) ValidateRemote(allow AllowList) error {
	if found := t.remoteProblems(allow); len(found) > 0 {
		return found
	}
	return nil
}

func (t Task) remoteProblems(allow AllowList) Problems {
	var c checker
	for i, p := range t.Paths {
		if !allow.Covers(p) {
			c.add(fmt.Sprintf("paths[%d]", i), "%q reaches outside of allow_paths (%s); change it, or allow_paths in agent.yaml", p, allow)
		}
	}
	if t.DeadLetter != nil && t.DeadLetter.File != "" {
		c.add("dead_letter.file", "a task from etcd cannot choose a local file to write to; use dead_letter.topic, or set the file in agent.yaml")
	}
	return c.found
}

// climbs reports whether any alternative of a glob has the segment "..".
func climbs(glob string) bool {
	plain := strings.ReplaceAll(glob, `\`, "")
	for _, segment := range strings.FieldsFunc(plain, func(r rune) bool { return strings.ContainsRune("/{},", r) }) {
		if segment == ".." {
			return true
		}
	}
	return false
}

// isLiteral reports whether a glob can match one path only.
func isLiteral(glob string) bool {
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
		case '*', '?', '[', '{':
			return false
		}
	}
	return true
}

// unescape removes the backslashes of a glob's literal part.
func unescape(glob string) string {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		if glob[i] == '\\' && i+1 < len(glob) {
			i++
		}
		b.WriteByte(glob[i])
	}
	return b.String()
}
