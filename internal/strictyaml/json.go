package strictyaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// looksLikeJSON tells an object in JSON from other YAML: it begins with {".
func looksLikeJSON(data []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"`))
}

// adaptJSON makes YAML of what YAML refuses or reads differently in JSON,
// without moving a line: tabs between values, an escaped slash, characters
// that are escaped as a pair of surrogates, and characters within text that
// YAML takes for line breaks or not at all.
func adaptJSON(data []byte) []byte {
	if !looksLikeJSON(data) || !json.Valid(data) {
		return data
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		switch {
		case data[i] == '\t': // never inside text, where JSON wants it escaped
			out = append(out, ' ')
			i++
		case data[i] != '\\':
			r, size := utf8.DecodeRune(data[i:])
			if mustEscape(r) {
				out = fmt.Appendf(out, "\\u%04x", r)
			} else {
				out = append(out, data[i:i+size]...)
			}
			i += size
		default:
			r := utf16.DecodeRune(escaped(data[i:]), escaped(data[min(i+6, len(data)):]))
			if r != utf8.RuneError {
				out = utf8.AppendRune(out, r)
				i += 12
				continue
			}
			if data[i+1] != '/' {
				out = append(out, '\\')
			}
			out = append(out, data[i+1])
			i += 2
		}
	}
	return out
}

// mustEscape tells the characters that JSON allows bare in text and YAML does
// not (YAML 1.2, c-printable), or that end a line in YAML 1.1 alone.
func mustEscape(r rune) bool {
	switch r {
	case '\u2028', '\u2029', '\ufeff', '\ufffe', '\uffff':
		return true
	}
	return 0x7f <= r && r <= 0x9f
}

// escaped reads the \uXXXX at the start of data; -1 if there is none.
func escaped(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
