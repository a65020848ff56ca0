package strictyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// oneLine keeps foreign text from breaking a one-line error.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, " ")
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors: )?(?:yaml: )?line (\d+): `)

// libraryError turns the YAML library's "yaml: line 3: ..." into an Error.
func libraryError(origin string, err error) *Error {
	msg := oneLine(err.Error())
	out := &Error{Origin: origin, Text: strings.TrimPrefix(msg, "yaml: ")}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		out.Line, _ = strconv.Atoi(m[1]) // digits only, by the pattern
		out.Text = msg[len(m[0]):]
	}
	return out
}

var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)

// parseError is libraryError for text that is no YAML: the line is named even
// where the library leaves it out, and a remedy is added.
func parseError(origin string, data []byte, err error) *Error {
	var syntax *json.SyntaxError
	if looksLikeJSON(data) && errors.As(json.Unmarshal(data, new(any)), &syntax) {
		before := data[:min(max(syntax.Offset-1, 0), int64(len(data)))]
		return &Error{Origin: origin, Line: lineAt(before), Text: "broken JSON: " + syntax.Error() + "; check the commas, quotes and braces before it"}
	}
	out := libraryError(origin, err)
	out.Line = max(out.Line, 1) // the library names no first line
	lines := bytes.Split(data, []byte{'\n'})
	indentedByTab := out.Line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[out.Line-1], " "), []byte{'\t'})
	remedy := "check the brackets, quotes and indentation around it"
	if anchor := unknownAnchor.FindStringSubmatch(out.Text); anchor != nil {
		out.Line = lineAt(data[:max(bytes.Index(data, []byte("*"+anchor[1])), 0)])
		out.Text = "unknown anchor referenced" // its name may be a password without quotes
		remedy = "quote a value that starts with *"
	}
	switch {
	case indentedByTab:
		remedy = "indent with spaces, not with tabs"
	case strings.HasPrefix(out.Text, "mapping values are not allowed"):
		remedy = `check the indentation, and quote a value that holds ": "`
	case strings.HasPrefix(out.Text, "found character that cannot start"):
		remedy = "quote a value that starts with %, @ or `"
	case strings.HasPrefix(out.Text, "did not find expected alphabetic"):
		remedy = "quote a value that starts with * or &"
	}
	out.Text = "broken YAML: " + out.Text + "; " + remedy
	return out
}

// lineAt returns the 1-based number of the line that follows before.
func lineAt(before []byte) int { return 1 + bytes.Count(before, []byte{'\n'}) }
