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

	"go.yaml.in/yaml/v3"
)

// Error is what Parse, Expand and Decode return for bad input. Its text is
// always one line.
type Error struct {
	File string
	Line int // 1-based; 0 where the line is not known
	Msg  string
}

// Error returns "FILE:LINE: MSG".
func (e *Error) Error() string {
	msg := strings.Join(strings.Fields(e.Msg), " ")
	if e.Line == 0 {
		return e.File + ": " + msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, msg)
}

// Document is one parsed YAML document. It is not safe for use from several
// goroutines.
type Document struct {
	file     string
	root     *yaml.Node // nil for an empty document
	expanded map[*yaml.Node]bool
	lines    map[string]int
}

// Decode parses data and decodes it into the value that into points to. file
// is only used in errors. Keys that are missing or null leave the target as it
// is. Whenever Decode fails, the target may be half filled.
func Decode(file string, data []byte, into any) error {
	doc, err := Parse(file, data)
	if err != nil {
		return err
	}
	return doc.Decode(into)
}

// Parse reads the one document that data holds.
func Parse(file string, data []byte) (*Document, error) {
	doc := &Document{file: file, expanded: map[*yaml.Node]bool{}, lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(spacesForTabs(data)))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return doc, nil
	case err != nil:
		return nil, parseError(file, data, err)
	}
	var next yaml.Node
	switch err := dec.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, parseError(file, data, err)
	default:
		return nil, &Error{File: file, Line: next.Line, Msg: "a second document starts here; one file holds one document"}
	}
	if len(root.Content) == 1 {
		doc.root = root.Content[0]
	}
	return doc, nil
}

// Decode checks the document against the type that into points to and then
// decodes it. The first fault, from top to bottom, is returned.
func (d *Document) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("decode %s: target is %T, not a pointer", d.file, into)
	}
	if d.root == nil {
		return nil
	}
	c := checker{doc: d, rootType: v.Type().Elem()}
	if err := c.check(d.root, v.Type().Elem(), "", 0); err != nil {
		return err
	}
	if err := d.root.Decode(into); err != nil {
		return libraryError(d.file, err)
	}
	return nil
}

// Lines returns the 1-based line of every value that Decode met, by its dotted
// path: "kafka.brokers", "tasks.files[1]".
func (d *Document) Lines() map[string]int { return d.lines }

func (d *Document) errorf(n *yaml.Node, format string, args ...any) error {
	return &Error{File: d.file, Line: n.Line, Msg: fmt.Sprintf(format, args...)}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors: )?(?:yaml: )?line (\d+): `)

// libraryError turns the YAML library's "yaml: line 3: ..." into an Error.
func libraryError(file string, err error) *Error {
	msg := strings.Join(strings.Fields(err.Error()), " ")
	out := &Error{File: file, Msg: strings.TrimPrefix(msg, "yaml: ")}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		out.Line, _ = strconv.Atoi(m[1]) // digits only, by the pattern
		out.Msg = msg[len(m[0]):]
	}
	return out
}

// parseError is libraryError with better words for the two commonest faults.
func parseError(file string, data []byte, err error) error {
	var syntax *json.SyntaxError
	if looksLikeJSON(data) && errors.As(json.Unmarshal(data, new(any)), &syntax) {
		before := data[:min(max(syntax.Offset-1, 0), int64(len(data)))]
		return &Error{File: file, Line: 1 + bytes.Count(before, []byte{'\n'}), Msg: "broken JSON: " + syntax.Error()}
	}
	out := libraryError(file, err)
	lines := bytes.Split(data, []byte{'\n'})
	if 0 < out.Line && out.Line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[out.Line-1], " "), []byte{'\t'}) {
		out.Msg = "a tab stands in the indentation; YAML wants spaces"
	}
	return out
}

// looksLikeJSON tells an object in JSON from other YAML: it begins with {".
func looksLikeJSON(data []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"`))
}

// spacesForTabs lets JSON that is indented with tabs pass, which YAML itself
// refuses. Inside JSON text a raw tab is not allowed, so none is changed there.
func spacesForTabs(data []byte) []byte {
	if !looksLikeJSON(data) {
		return data
	}
	return bytes.ReplaceAll(data, []byte{'\t'}, []byte{' '})
}
