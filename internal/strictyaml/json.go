package strictyaml

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// looksLikeJSON tells an object in JSON from other YAML: it begins with {".
func looksLikeJSON(data []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"`))
}

// adaptJSON makes YAML of the three things in JSON that YAML refuses, without
// moving a line: tabs between values, an escaped slash, and characters that
// are escaped as a pair of surrogates.
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
			out = append(out, data[i])
			i++
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
