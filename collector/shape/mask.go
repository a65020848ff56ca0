package shape

import "regexp"

// maxMatches bounds what is replaced in one record, and with it the memory
// that finding it takes. What stands behind the last of them is left out.
const maxMatches = 4096

type mask struct {
	re      *regexp.Regexp
	replace []byte
	plain   bool // replace stands for itself
}

// apply returns value with every match replaced, made in space if there is
// any. It stops soon behind the first bound bytes, or maxMatches: the result is
// not whole then.
func (m *mask) apply(value []byte, bound int, space *Space) (masked []byte, found, whole bool) {
	if !m.re.Match(value) { // allocates nothing
		return value, false, true
	}
	matches := m.re.FindAllSubmatchIndex(value, maxMatches+1)
	out, last := space.Open(len(value)), 0
	for i, at := range matches {
		if i == maxMatches || len(out) > bound {
			return space.Close(out), true, false
		}
		out = append(out, value[last:at[0]]...)
		if m.plain {
			out = append(out, m.replace...)
		} else {
			out = m.re.Expand(out, m.replace, value, at)
		}
		last = at[1]
	}
	out = append(out, value[last:]...)
	return space.Close(out), true, true
}
