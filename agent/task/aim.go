package task

import (
	"bytes"
	"regexp"
	"slices"
)

// aimKey is how the key select stands in a text.
var (
	aimKey  = []byte("select:")
	lineKey = regexp.MustCompile(`^[a-z_]+:(\s|$)`)
)

// AimText returns the lines of a text that say whom its task is for, without
// decoding the rest: equal lines select equal agents. ok is false when there
// are none, and where only a decoder can tell: JSON, several documents, a value
// that goes on over several lines at their beginning, and the like.
func AimText(data []byte) (lines []byte, ok bool) {
	if !bytes.Contains(data, aimKey) || len(data) > MaxBytes {
		return nil, false
	}
	from, to := -1, len(data)
	for at := 0; at < len(data); {
		end := at + bytes.IndexByte(data[at:], '\n') + 1
		if end == at {
			end = len(data)
		}
		line := bytes.TrimRight(data[at:end], " \r\n")
		isKey := lineKey.Match(line)
		switch {
		case !closed(line):
			return nil, false
		case len(line) == 0, line[0] == ' ', line[0] == '#', bytes.HasPrefix(line, []byte("- ")), isKey:
		default:
			return nil, false
		}
		if isKey && from >= 0 && to == len(data) {
			to = at
		}
		if bytes.HasPrefix(line, aimKey) {
			if from >= 0 {
				return nil, false
			}
			from = at
		}
		at = end
	}
	if from < 0 {
		return nil, false
	}
	return data[from:to], true
}

// closed says whether all quotes and brackets of a line of YAML end in it, for
// sure: every quote must stand where only a quoted text can.
func closed(line []byte) bool {
	depth, before := 0, byte(0) // before: the last character that is no space
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case '\t', '&', '!', '|', '>', '?', '%', '@', '`', '\\', '\r':
			return false
		case '#':
			if i == 0 || line[i-1] == ' ' {
				return depth == 0
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth < 0 {
				return false
			}
		case '"', '\'':
			n := bytes.IndexByte(line[i+1:], c)
			if n < 0 || !opens(line[:i], before) || bytes.IndexByte(line[i+1:i+1+n], '\\') >= 0 {
				return false
			}
			i += n + 1
			if i+1 < len(line) && !slices.Contains([]byte(" ,]}"), line[i+1]) {
				return false
			}
		}
		if line[i] != ' ' {
			before = line[i]
		}
	}
	return depth == 0
}

// opens says whether a quote after the beginning of a line opens a quoted text,
// for sure; before is the last character of it that is no space.
func opens(line []byte, before byte) bool {
	switch before {
	case '[', '{', ',':
		return true
	case ':':
		return line[len(line)-1] == ' '
	case '-':
		return line[len(line)-1] == ' ' && len(bytes.TrimLeft(line, " ")) == len("- ")
	}
	return false
}

// AimOf decodes what AimText returned.
func AimOf(lines []byte) (*Selector, error) {
	defs, err := Parse(lines, "")
	if err != nil {
		return nil, err
	}
	var c checker
	if c.selector(defs[0].Task.Select); len(c.found) > 0 {
		return nil, c.found[0]
	}
	return defs[0].Task.Select, nil
}
