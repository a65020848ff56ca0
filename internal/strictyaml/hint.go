package strictyaml

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknownKey says what a key of no field of t was meant to be. A key that
// another section knows by this very name was meant for that one, even where
// a key here is spelled nearly so.
func (c *checker) unknownKey(key *yaml.Node, t reflect.Type, path string) error {
	name := shorten(key.Value)
	if place := c.findKey(key.Value); place != "" {
		return c.doc.errorf(key, "unknown key %q%s; it belongs %s", name, in(path), place)
	}
	names := fieldNames(t)
	if hint := Closest(key.Value, names); hint != "" {
		return c.doc.errorf(key, "unknown key %q%s; did you mean %q?", name, in(path), hint)
	}
	return c.doc.errorf(key, "unknown key %q%s; the keys here are %s", name, in(path), strings.Join(names, ", "))
}

// findKey says in which other section a key would be known, the outermost
// first; "" when in none.
func (c *checker) findKey(key string) string {
	type place struct {
		t    reflect.Type
		path string
	}
	for queue := []place{{c.rootType, ""}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for at.t.Kind() == reflect.Pointer {
			at.t = at.t.Elem()
		}
		if at.t.Kind() != reflect.Struct || strings.Count(at.path, ".") > 8 {
			continue
		}
		if _, ok := fieldByKey(at.t, key); ok {
			if at.path == "" {
				return "at the top level"
			}
			return "in " + at.path
		}
		for _, name := range fieldNames(at.t) {
			field, _ := fieldByKey(at.t, name)
			queue = append(queue, place{field.Type, join(at.path, name)})
		}
	}
	return ""
}

// Closest returns the name that a typing mistake most likely meant, or "" when
// none is near: at most one edit in three letters, and never more than three.
// An edit is a letter too many, too few or another one, or two that changed
// places (the optimal string alignment distance).
func Closest(typed string, names []string) string {
	best, bestDistance := "", min(3, max(1, len(typed)/3))+1
	for _, name := range names {
		if d := distance(strings.ToLower(typed), name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 { // no key is that long; keeps hostile input cheap
		return len(a) + len(b)
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
