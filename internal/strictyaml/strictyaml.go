// Package strictyaml decodes YAML that people write by hand. Whatever the
// target does not know, or cannot hold, is refused with one line that names
// file, line and remedy:
//
//	agent.yaml:7: unknown key "brokrs" in kafka; did you mean "brokers"?
//
// JSON is read as well. Targets are structs with `yaml` tags, maps with text
// keys, slices, pointers and scalars; a type that unmarshals itself decides
// about its own content. What a text can make the decoder do is bounded:
// Decode follows aliases up to a limit, DecodePlain refuses them.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Error is what this package returns for bad input. Its text is always one
// line.
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
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some editors begin a file with a byte order mark
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
// decodes it. The first fault, from top to bottom, is returned. A key without
// a value, or with null, leaves the target as it is.
func (d *Document) Decode(into any) error { return d.decode(into, false) }

// DecodePlain is Decode for documents whose every key is meant to be set: it
// refuses a key without a value, and anchors, aliases and merge keys, so that
// each value stands where it is used and none is used twice.
func (d *Document) DecodePlain(into any) error { return d.decode(into, true) }

func (d *Document) decode(into any, plain bool) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("decode %s: target is %T, not a pointer", d.origin, into)
	}
	if d.root == nil {
		return nil
	}
	if !plain {
		d.copyAliasedScalars(d.root)
	}
	c := checker{doc: d, rootType: v.Type().Elem(), plain: plain}
	if err := c.check(d.root, v.Type().Elem(), "", 0); err != nil {
		return err
	}
	if err := d.root.Decode(into); err != nil {
		fault := libraryError(d.origin, err)
		if fault.Line == 0 {
			fault.Line = d.Line
		}
		return fault
	}
	return nil
}

// copyAliasedScalars puts a copy of its own in the place of each alias of a
// scalar: one value may be text in one place and a number in another.
func (d *Document) copyAliasedScalars(n *yaml.Node) {
	for _, child := range n.Content {
		if child.Kind != yaml.AliasNode || child.Alias.Kind != yaml.ScalarNode {
			d.copyAliasedScalars(child)
			continue
		}
		line, source := child.Line, child.Alias
		*child = *source
		child.Line, child.Anchor = line, ""
		d.expanded[child] = d.expanded[source]
	}
}

// Lines returns the 1-based line of every key and list item that was decoded,
// by its dotted path: "kafka.brokers", "tasks.files[1]".
func (d *Document) Lines() map[string]int { return d.lines }

func (d *Document) errorf(n *yaml.Node, format string, args ...any) error {
	return &Error{Origin: d.origin, Line: n.Line, Text: oneLine(fmt.Sprintf(format, args...))}
}
