package envelope

import (
	"bytes"

	"logferry/collector/frame"
)

// maxNesting bounds how deep the objects of a text may stand in each other.
const maxNesting = 64

// scanner walks through JSON once, as RFC 8259 has it, and keeps the fields
// that are asked for. It allocates nothing but what unescaped texts take.
type scanner struct {
	rest []byte
	x    *extractor
	v    *values
}

// document reads an object and nothing else; false when it is none.
func (s *scanner) document() bool {
	s.blanks()
	if len(s.rest) == 0 || s.rest[0] != '{' {
		return false
	}
	// the fields that may be below: all of them
	if len(s.x.names) > 64 || !s.object(^uint64(0), 0) {
		return false
	}
	s.blanks()
	return len(s.rest) == 0
}

func (s *scanner) blanks() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\t' || s.rest[0] == '\n' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
}

func (s *scanner) skip(c byte) bool {
	s.blanks()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// object reads an object whose depth is this; wanted has a bit for each field
// that is in it, or below it.
func (s *scanner) object(wanted uint64, depth int) bool {
	if depth >= maxNesting || !s.skip('{') {
		return false
	}
	if s.skip('}') {
		return true
	}
	for {
		s.blanks()
		name, ok := s.text()
		if !ok || !s.skip(':') {
			return false
		}
		s.blanks()
		begin := s.rest
		inside := s.below(wanted, name, depth)
		if !s.value(inside, depth+1) {
			return false
		}
		s.keep(inside, begin[:len(begin)-len(s.rest)], depth)
		if s.skip('}') {
			return true
		}
		if !s.skip(',') {
			return false
		}
	}
}

// below is which of the wanted fields lead through a name at this depth.
func (s *scanner) below(wanted uint64, name []byte, depth int) (inside uint64) {
	if wanted == 0 || s.x == nil {
		return 0
	}
	if bytes.IndexByte(name, '\\') >= 0 {
		name = s.plain(name)
	}
	for i, path := range s.x.paths {
		if wanted&(1<<i) != 0 && depth < len(path) && path[depth] == string(name) {
			inside |= 1 << i
			s.v.list[i] = nil // what an object of the same name before this one held
		}
	}
	return inside
}

// keep notes the value of the fields that end here; of repeated names the last
// counts.
func (s *scanner) keep(inside uint64, value []byte, depth int) {
	if inside == 0 {
		return
	}
	for i, path := range s.x.paths {
		if inside&(1<<i) == 0 || len(path) != depth+1 {
			continue
		}
		switch value[0] {
		case '"':
			s.v.list[i] = s.plain(value[1 : len(value)-1])
		case 'n':
			s.v.list[i] = nil
		default:
			s.v.list[i] = value
		}
	}
}

// value reads any value.
func (s *scanner) value(inside uint64, depth int) bool {
	if len(s.rest) == 0 {
		return false
	}
	switch c := s.rest[0]; {
	case c == '{':
		return s.object(inside, depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, ok := s.text()
		return ok
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if rest, ok := bytes.CutPrefix(s.rest, []byte(word)); ok {
			s.rest = rest
			return true
		}
	}
	return false
}

func (s *scanner) array(depth int) bool {
	if depth >= maxNesting {
		return false
	}
	s.rest = s.rest[1:]
	if s.skip(']') {
		return true
	}
	for {
		if s.blanks(); !s.value(0, depth+1) {
			return false
		}
		if s.skip(']') {
			return true
		}
		if !s.skip(',') {
			return false
		}
	}
}

func (s *scanner) number() bool {
	b := s.rest
	if b[0] == '-' {
		b = b[1:]
	}
	zero := len(b) > 0 && b[0] == '0'
	n := digits(b)
	if n == 0 || zero && n > 1 {
		return false
	}
	b = b[n:]
	if len(b) > 0 && b[0] == '.' {
		if n = digits(b[1:]); n == 0 {
			return false
		}
		b = b[1+n:]
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if n = digits(b); n == 0 {
			return false
		}
		b = b[n:]
	}
	s.rest = b
	return true
}

// digits is how many digits b begins with.
func digits(b []byte) (n int) {
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

// text reads a string, and returns what stands between its quotes.
func (s *scanner) text() (raw []byte, ok bool) {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil, false
	}
	b := s.rest[1:]
	for n := 0; ; {
		n += plain(b[n:])
		if n >= len(b) || b[n] < 0x20 {
			return nil, false
		}
		switch b[n] {
		case '"':
			s.rest = b[n+1:]
			return b[:n], frame.EscapesAreRight(b[:n])
		case '\\':
			n += 2
			if n > len(b) {
				return nil, false
			}
		default:
			n++
		}
	}
}

// plain is what a string stands for.
func (s *scanner) plain(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	begin := len(s.v.scratch)
	s.v.scratch = frame.AppendUnescaped(s.v.scratch, raw)
	return s.v.scratch[begin:len(s.v.scratch):len(s.v.scratch)]
}
