package collector

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
)

// sortGenerations puts the generations of a path in their order, oldest first.
//
// Plain files are told apart by their creation. A compressed one has lost
// that: it is placed by its name where all names are of one kind, because a
// file may be written to after it was renamed, and by its last change otherwise.
// So are plain ones when the clock was set back between them.
func sortGenerations(base string, list []generation, stepped bool) {
	packed := slices.ContainsFunc(list, func(g generation) bool { return g.packed })
	if !packed {
		slices.SortStableFunc(list, func(a, b generation) int {
			return cmp.Or(cmp.Compare(a.born, b.born), cmp.Compare(a.mtime, b.mtime))
		})
	} else {
		slices.SortStableFunc(list, func(a, b generation) int {
			return cmp.Or(cmp.Compare(a.mtime, b.mtime), cmp.Compare(a.born, b.born))
		})
	}
	if !packed && !stepped {
		return
	}
	if byName := nameOrder(base, list, stepped); byName != nil {
		slices.SortStableFunc(list, byName)
	}
}

// nameOrder is the order of the names: numbers fall, or rise if the files'
// times say so, and dates rise. nil when the names have no common order. The
// times have no say when the clock was set back between them.
func nameOrder(base string, list []generation, stepped bool) func(a, b generation) int {
	keys := make(map[string]string, len(list))
	numbers, dates := true, true
	for _, g := range list {
		key, isNumber := nameKey(base, filepath.Base(g.path))
		if key == "" || filepath.Dir(g.path) != filepath.Dir(list[0].path) {
			return nil
		}
		keys[g.path] = key
		numbers, dates = numbers && isNumber, dates && !isNumber
	}
	compare := func(a, b generation) int {
		x, y := keys[a.path], keys[b.path]
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	}
	falling := func(a, b generation) int { return compare(b, a) }
	switch {
	case dates && (stepped || votes(list, compare) >= 0):
		return compare
	case numbers && (stepped || votes(list, falling) >= 0):
		return falling
	case numbers:
		return compare
	}
	return nil
}

// votes counts the pairs whose times agree with an order, less those that do
// not. When files were created tells more than when compressed ones were last
// changed: lines may be written to a file long after the next one was made.
func votes(list []generation, order func(a, b generation) int) int {
	created, changed := 0, 0
	for i, a := range list {
		for _, b := range list[i+1:] {
			switch x, y := a.created(), b.created(); {
			case x != 0 && y != 0:
				created += cmp.Compare(x, y) * order(a, b)
			case a.packed && b.packed:
				changed += cmp.Compare(a.mtime, b.mtime) * order(a, b)
			}
		}
	}
	return cmp.Or(created, changed)
}

// created is when the file came to be, or the one that a compressed file was
// made of; 0 when nothing tells.
func (g generation) created() int64 {
	switch {
	case !g.packed:
		return g.born
	case g.known:
		return g.since
	}
	return 0
}

// nameKey is the number or date that tells a generation's name from base,
// without leading zeros; "" when there is none.
func nameKey(base, name string) (key string, isNumber bool) {
	name, _ = unpackedName(name)
	middle, ok := strings.CutPrefix(name, base)
	if !ok {
		ext := filepath.Ext(base)
		middle, ok = strings.CutPrefix(strings.TrimSuffix(name, ext), strings.TrimSuffix(base, ext))
	}
	if !ok || len(middle) < 2 || !strings.ContainsRune(".-_", rune(middle[0])) {
		return "", false
	}
	key = middle[1:]
	digits := 0
	for _, r := range key {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case !strings.ContainsRune(".-_:T", r):
			return "", false
		}
	}
	if isNumber = digits == len(key) && digits < 6; isNumber {
		key = cmp.Or(strings.TrimLeft(key, "0"), "0")
	}
	return key, isNumber
}
