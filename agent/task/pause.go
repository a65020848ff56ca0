package task

import (
	"bytes"
	"errors"
	"regexp"
)

// The ways in which a task's text may say that it is paused.
var (
	pausedLine  = regexp.MustCompile(`(?m)^"?paused"?[ \t]*:[ \t]*true[ \t]*(#.*)?\r?(\n|\z)`)
	pausedFirst = regexp.MustCompile(`"?paused"?\s*:\s*true\s*,\s*`)
	pausedLast  = regexp.MustCompile(`\s*,\s*"?paused"?\s*:\s*true`)
	pausedNo    = regexp.MustCompile(`("?paused"?\s*:\s*)false`)
	pausedYes   = regexp.MustCompile(`("?paused"?\s*:\s*)true`)
)

// WithPaused returns the text of the task name with paused set or taken out.
// All else stays as it is written, comments included. The text must be valid.
func WithPaused(data []byte, name string, paused bool) ([]byte, error) {
	before, err := DecodeOne(data, name, name)
	if err != nil {
		return nil, err
	}
	if before.Paused == paused {
		return data, nil
	}
	want := before
	want.Paused = paused
	for _, text := range pauseCandidates(data, paused) {
		if after, err := DecodeOne(text, name, name); err == nil && Equal(after, want) {
			return text, nil
		}
	}
	return nil, errors.New("paused cannot be changed in this text without changing more; write or remove 'paused: true' by hand, and put it")
}

// pauseCandidates are texts of which one is right, the nicest first.
func pauseCandidates(data []byte, paused bool) [][]byte {
	if !paused {
		return [][]byte{
			replaceOnce(pausedLine, data, ""), replaceOnce(pausedFirst, data, ""), replaceOnce(pausedLast, data, ""), replaceOnce(pausedYes, data, "${1}false"),
		}
	}
	line := []byte("paused: true\n")
	list := [][]byte{replaceOnce(pausedNo, data, "${1}true")}
	if brace := bytes.IndexByte(data, '{'); brace >= 0 { // JSON, or YAML written like it
		list = append(list, bytes.Join([][]byte{data[:brace+1], data[brace+1:]}, []byte(`"paused": true, `)))
	}
	ended := bytes.TrimRight(data, "\r\n")
	return append(list, bytes.Join([][]byte{ended, line}, []byte("\n")), append(line, data...))
}

// replaceOnce replaces the first match.
func replaceOnce(pattern *regexp.Regexp, data []byte, by string) []byte {
	at := pattern.FindSubmatchIndex(data)
	if at == nil {
		return data
	}
	out := append([]byte{}, data[:at[0]]...)
	out = pattern.Expand(out, []byte(by), data, at)
	return append(out, data[at[1]:]...)
}
