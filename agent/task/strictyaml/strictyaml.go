// Package strictyaml decodes YAML, and JSON with it, into structs of scalars,
// lists and further structs, and refuses whatever they do not know. Its promise: each error is one
// line that names the origin, the line in it, and what to write instead.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Error is one thing that is wrong with a text.
type Error struct {
	Origin string // a file name or another name for where the text stands
	Line   int    // counted from 1; 0: the text as a whole
	Text   string // what is wrong and what to change, in one line
}

// Error returns "ORIGIN:LINE: TEXT".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Origin + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.Origin, e.Line, e.Text)
}

// AsError returns the *Error in err's chain, or nil.
func AsError(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}

// Enum is implemented by string types that take only certain values. The
// empty string always stands for "not set".
type Enum interface {
	Values() []string
}

// Document is one YAML document. It is never changed after Parse and may be
// used from several goroutines.
type Document struct {
	Origin string
	Line   int // where its first key stands
	node   *yaml.Node
}

// Parse splits data into its documents, without decoding them. A text with
// nothing in it yields none; an empty document between others is an error.
// Errors are of type *Error.
func Parse(data []byte, origin string) ([]Document, error) {
	if !utf8.Valid(data) {
		return nil, &Error{Origin: origin, Text: "not UTF-8 text; save it as UTF-8"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(plainEscapes(data)))
	var docs []Document
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, syntaxError(origin, err)
		}
		if len(root.Content) != 1 || isNull(root.Content[0]) {
			return nil, &Error{Origin: origin, Line: max(root.Line, 1), Text: `empty document; write keys there or remove its "---"`}
		}
		docs = append(docs, Document{Origin: origin, Line: root.Content[0].Line, node: root.Content[0]})
	}
}

// Decode fills out, a pointer to a struct, from the document. Keys are those
// of the `yaml` field tags; a field without one is left alone. It returns the
// line of each key that was set, under names such as "topic", "paths[0]" and
// "dead_letter.file". The first problem found ends it; it is of type *Error.
func (d Document) Decode(out any) (map[string]int, error) {
	w := walker{origin: d.Origin, lines: map[string]int{}}
	if err := w.root(d.node, out); err != nil {
		return nil, err
	}
	return w.lines, nil
}

var lineInError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxRemedies answers the parser's most frequent complaints.
var syntaxRemedies = map[string]string{
	"mapping values are not allowed in this context":        `check the indentation, and quote a value that holds ": "`,
	"found character that cannot start any token":           "indent with spaces instead of tabs, and quote a value that starts with % @ or `",
	"found a tab character that violates indentation":       "indent with spaces instead of tabs",
	"did not find expected alphabetic or numeric character": "quote a value that starts with * or &",
}

func syntaxError(origin string, err error) *Error {
	e := &Error{Origin: origin, Line: 1, Text: err.Error()}
	problem := e.Text
	if m := lineInError.FindStringSubmatch(e.Text); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			e.Line = n
		}
		problem = m[2]
	}
	remedy, ok := syntaxRemedies[problem]
	switch {
	case strings.HasPrefix(problem, "unknown anchor"):
		remedy = "quote a value that starts with *"
	case !ok:
		remedy = "check the brackets, quotes and indentation around this line"
	}
	e.Text = oneLine(fmt.Sprintf("not valid YAML: %s; %s", problem, remedy))
	return e
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// oneLine keeps foreign text from breaking a one-line error.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
