package frame

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Format is what the lines of a file are wrapped in.
type Format uint8

const (
	CRI       Format = iota // TIME STREAM FLAGS TEXT, as containerd and CRI-O write it: https://github.com/kubernetes/kubernetes, pkg/kubelet/kuberuntime/logs
	Docker                  // {"log":TEXT,"stream":STREAM,"time":TIME}, as Docker's driver json-file writes it
	Container               // either, as each line's first byte tells
)

// InContainerLogs reports whether a path lies where container runtimes keep
// the logs of containers.
func InContainerLogs(path string) bool {
	for _, dir := range []string{"/var/log/pods/", "/var/log/containers/", "/var/lib/docker/containers/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// wrapped is one line of a container's log.
type wrapped struct {
	time    time.Time
	stderr  bool
	partial bool // the next line of its stream goes on with it
	escaped bool // text is escaped as in a JSON string
	text    []byte
}

// unwrap takes a line apart; false when it is not in the format.
func (f Format) unwrap(line []byte, s *stamps) (w wrapped, ok bool) {
	switch {
	case len(line) == 0:
		return w, false
	case line[0] == '{' && f != CRI:
		return unwrapDocker(line, s)
	case f != Docker:
		return unwrapCRI(line, s)
	}
	return w, false
}

func unwrapCRI(line []byte, s *stamps) (w wrapped, ok bool) {
	i := bytes.IndexByte(line[:min(len(line), maxStamp+1)], ' ')
	if i < 0 {
		return w, false
	}
	if w.time, ok = s.parse(line[:i]); !ok {
		return w, false
	}
	rest := line[i+1:]
	if len(rest) < len("stdout F ") || rest[len("stdout")] != ' ' {
		return w, false
	}
	if w.stderr, ok = streamNamed(rest[:len("stdout")]); !ok {
		return w, false
	}
	rest = rest[len("stdout "):]
	switch rest[0] {
	case 'F':
	case 'P':
		w.partial = true
	default:
		return w, false
	}
	switch rest[1] {
	case ' ':
		w.text = rest[2:]
		return w, true
	case ':': // further tags, which nobody has defined yet
		end := bytes.IndexByte(rest, ' ')
		w.text = rest[end+1:]
		return w, end > 0
	}
	return w, false
}

func streamNamed(name []byte) (stderr, ok bool) {
	switch string(name) {
	case "stdout":
		return false, true
	case "stderr":
		return true, true
	}
	return false, false
}

func unwrapDocker(line []byte, s *stamps) (w wrapped, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"log":"`))
	if !ok {
		return w, false
	}
	w.text, rest, ok = untilQuote(rest)
	if !ok {
		return w, false
	}
	if i := bytes.IndexByte(w.text, '\\'); i >= 0 {
		w.escaped = true
		if !EscapesAreRight(w.text[i:]) {
			return w, false
		}
	}
	w.partial = !endsWithNewline(w.text)
	if !w.partial {
		w.text = w.text[:len(w.text)-2]
		w.escaped = bytes.IndexByte(w.text, '\\') >= 0
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"stream":"`)); !ok {
		return w, false
	}
	var name []byte
	if name, rest, ok = untilQuote(rest); !ok {
		return w, false
	}
	if w.stderr, ok = streamNamed(name); !ok {
		return w, false
	}
	if inside, found := bytes.CutPrefix(rest, []byte(`,"attrs":{`)); found {
		if rest, ok = skipPairs(inside); !ok {
			return w, false
		}
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"time":"`)); !ok {
		return w, false
	}
	if name, rest, ok = untilQuote(rest); !ok || string(rest) != "}" {
		return w, false
	}
	w.time, ok = s.parse(name)
	return w, ok
}

// untilQuote splits what stands behind a quote at the one that closes it.
func untilQuote(b []byte) (text, rest []byte, ok bool) {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '"')
		if i < 0 {
			return nil, nil, false
		}
		i += from
		if slashes(b[:i])%2 == 0 {
			return b[:i], b[i+1:], true
		}
		from = i + 1
	}
}

// slashes is how many backslashes b ends with.
func slashes(b []byte) (n int) {
	for n < len(b) && b[len(b)-1-n] == '\\' {
		n++
	}
	return n
}

// endsWithNewline reports whether the escaped text ends with \n.
func endsWithNewline(text []byte) bool {
	return len(text) >= 2 && text[len(text)-1] == 'n' && slashes(text[:len(text)-1])%2 == 1
}

// skipPairs returns what stands behind the object whose beginning was read,
// and which maps texts to texts.
func skipPairs(b []byte) (rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '}' {
		return b[1:], true
	}
	for {
		for _, before := range []string{`"`, `:"`} {
			if b, ok = bytes.CutPrefix(b, []byte(before)); !ok {
				return nil, false
			}
			var text []byte
			if text, b, ok = untilQuote(b); !ok || !EscapesAreRight(text) {
				return nil, false
			}
		}
		switch {
		case len(b) > 0 && b[0] == '}':
			return b[1:], true
		case len(b) == 0 || b[0] != ',':
			return nil, false
		}
		b = b[1:]
	}
}

// EscapesAreRight reports whether each backslash of a text begins an escape as in a JSON string.
func EscapesAreRight(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return true
		}
		if text = text[i+1:]; len(text) == 0 {
			return false
		}
		switch text[0] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			text = text[1:]
		case 'u':
			if _, ok := hex4(text[1:]); !ok {
				return false
			}
			text = text[5:]
		default:
			return false
		}
	}
}

// hex4 is the number that four hexadecimal digits stand for.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// AppendUnescaped appends what a text stands for whose escapes are right. It
// is not longer than the text. Halves of surrogate pairs become U+FFFD; bytes
// that are no UTF-8 stay.
func AppendUnescaped(dst, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		c := text[i+1]
		text = text[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, _ := hex4(text)
			text = text[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
					low, _ := hex4(text[2:])
					pair = utf16.DecodeRune(r, low)
				}
				if r = pair; r != utf8.RuneError {
					text = text[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}
