// Package strictyaml decodes YAML that people write by hand. Whatever the
// target does not know, or cannot hold, is refused with one line that names
// file, line and remedy:
//
//	agent.yaml:7: unknown key "brokrs" in kafka; did you mean "brokers"?
//
// JSON is read as well, being a subset of YAML. Targets are structs with
// `yaml` tags, maps with text keys, slices, pointers and scalars; a type that
// unmarshals itself decides about its own content.
package strictyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Error is what Parse, Expand and Decode return for bad input. Its text is
// always one line.
type Error struct {
	Origin string // a file name, or another name for where the text stands
	Line   int    // 1-based; 0 where the line is not known
	Text   string // what is wrong and what to write instead
}

// Error returns "ORIGIN:LINE: TEXT".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Origin + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.Origin, e.Line, e.Text)
}

// AsError returns the Error in err's chain, or nil.
func AsError(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}

// Enum is implemented by text types that take only certain values. The empty
// text always stands for "not set".
type Enum interface {
	Values() []string
}

// Document is one parsed YAML document. It is not safe for use from several
// goroutines.
type Document struct {
	// Line is where its first key stands.
	Line int

	origin   string
	root     *yaml.Node // nil for an empty document
	expanded map[*yaml.Node]bool
	lines    map[string]int
}

// Decode parses the one document in data and decodes it into the value that
// into points to. origin is only used in errors. Keys that are missing or null
// leave the target as it is. When Decode fails, the target may be half filled.
func Decode(origin string, data []byte, into any) error {
	doc, err := Parse(origin, data)
	if err != nil {
		return err
	}
	return doc.Decode(into)
}

// Parse reads the one document that data holds; a text with nothing in it is
// an empty document.
func Parse(origin string, data []byte) (*Document, error) {
	docs, err := ParseAll(origin, data)
	switch {
	case err != nil:
		return nil, err
	case len(docs) == 0:
		return newDocument(origin, nil), nil
	case len(docs) > 1:
		return nil, &Error{Origin: origin, Line: docs[1].Line, Text: "a second document starts here; one file holds one document"}
	}
	return docs[0], nil
}

// ParseAll reads every document that data holds. A text with nothing in it
// holds none; an empty document among others is an error.
func ParseAll(origin string, data []byte) ([]*Document, error) {
	if !utf8.Valid(data) {
		return nil, &Error{Origin: origin, Text: "not UTF-8 text; save it as UTF-8"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(adaptJSON(data)))
	var docs []*Document
	for {
		var root yaml.Node
		switch err := dec.Decode(&root); {
		case errors.Is(err, io.EOF):
			if len(docs) == 1 && docs[0].root == nil {
				return nil, nil
			}
			for _, doc := range docs {
				if doc.root == nil {
					return nil, &Error{Origin: origin, Line: doc.Line, Text: `empty document; write keys there or remove its "---"`}
				}
			}
			return docs, nil
		case err != nil:
			return nil, parseError(origin, data, err)
		}
		docs = append(docs, newDocument(origin, &root))
	}
}

func newDocument(origin string, root *yaml.Node) *Document {
	doc := &Document{Line: 1, origin: origin, expanded: map[*yaml.Node]bool{}, lines: map[string]int{}}
	if root == nil {
		return doc
	}
	doc.Line = max(root.Line, 1)
	if len(root.Content) == 1 && root.Content[0].ShortTag() != "!!null" {
		doc.root = root.Content[0]
		doc.Line = doc.root.Line
	}
	return doc
}

// Decode checks the document against the type that into points to and then
// decodes it. The first fault, from top to bottom, is returned.
func (d *Document) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("decode %s: target is %T, not a pointer", d.origin, into)
	}
	if d.root == nil {
		return nil
	}
	c := checker{doc: d, rootType: v.Type().Elem()}
	if err := c.check(d.root, v.Type().Elem(), "", 0); err != nil {
		return err
	}
	if err := d.root.Decode(into); err != nil {
		return libraryError(d.origin, err)
	}
	return nil
}

// Lines returns the 1-based line of every value that Decode met, by its dotted
// path: "kafka.brokers", "tasks.files[1]".
func (d *Document) Lines() map[string]int { return d.lines }

func (d *Document) errorf(n *yaml.Node, format string, args ...any) error {
	return &Error{Origin: d.origin, Line: n.Line, Text: oneLine(fmt.Sprintf(format, args...))}
}

// oneLine keeps foreign text from breaking a one-line error.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

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
