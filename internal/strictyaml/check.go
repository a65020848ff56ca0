package strictyaml

import (
	"encoding"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds merge keys and aliases that contain themselves.
const maxDepth = 64

var (
	durationType    = reflect.TypeFor[time.Duration]()
	unmarshalerType = reflect.TypeFor[yaml.Unmarshaler]()
	textType        = reflect.TypeFor[encoding.TextUnmarshaler]()
	enumType        = reflect.TypeFor[Enum]()
)

// checker walks a document beside the type that is to hold it.
type checker struct {
	doc      *Document
	rootType reflect.Type
}

// check returns the first fault of n as a value of type t. path is where n
// stands, "" for the whole document.
func (c *checker) check(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if depth > maxDepth {
		return c.doc.errorf(n, "%s is nested too deep, or contains itself", subject(path))
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if path != "" {
		c.doc.lines[path] = n.Line
	}
	if t.Kind() == reflect.String && c.doc.expanded[n] {
		n.Tag = "!!str" // what a variable holds is text, even where it looks like a number
	}
	if n.ShortTag() == "!!null" {
		return nil
	}
	if t.Kind() == reflect.String && n.Kind == yaml.ScalarNode {
		n.Tag = "!!str"
	}
	ptr := reflect.PointerTo(t)
	switch {
	case ptr.Implements(unmarshalerType), ptr.Implements(textType) && n.Kind == yaml.ScalarNode:
		return c.checkSelf(n, t, path)
	case t == durationType:
		return c.checkDuration(n, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.checkStruct(n, t, path, depth)
	case reflect.Map:
		return c.checkMap(n, t, path, depth)
	case reflect.Slice:
		return c.checkSlice(n, t, path, depth)
	case reflect.Interface:
		return nil
	default:
		return c.checkScalar(n, t, path)
	}
}

func (c *checker) checkStruct(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return c.doc.errorf(n, "%s must be a section with keys such as %s, not %s", subject(path), example(fieldNames(t)), kindOf(n))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			if err := c.checkMerge(value, t, path, depth); err != nil {
				return err
			}
			continue
		}
		field, ok := fieldByKey(t, key.Value)
		if !ok || key.Kind != yaml.ScalarNode {
			return c.unknownKey(key, t, path)
		}
		if first, twice := seen[key.Value]; twice {
			return c.doc.errorf(key, "key %q%s stands here and in line %d; keep one", key.Value, in(path), first)
		}
		seen[key.Value] = key.Line
		if err := c.check(value, field.Type, join(path, key.Value), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// checkMerge checks what `<<:` brings in: a section, or a list of sections.
func (c *checker) checkMerge(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if n.Kind != yaml.SequenceNode {
		return c.check(n, t, path, depth+1)
	}
	for _, item := range n.Content {
		if err := c.check(item, t, path, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkMap(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return c.doc.errorf(n, "%s must be a section of NAME: VALUE, not %s", subject(path), kindOf(n))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			if err := c.checkMerge(value, t, path, depth); err != nil {
				return err
			}
			continue
		}
		if key.Kind != yaml.ScalarNode {
			return c.doc.errorf(key, "a name in %s must be text, not %s", subject(path), kindOf(key))
		}
		if first, twice := seen[key.Value]; twice {
			return c.doc.errorf(key, "key %q%s stands here and in line %d; keep one", key.Value, in(path), first)
		}
		seen[key.Value] = key.Line
		if err := c.check(value, t.Elem(), join(path, key.Value), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkSlice(n *yaml.Node, t reflect.Type, path string, depth int) error {
	switch n.Kind {
	case yaml.SequenceNode:
	case yaml.ScalarNode:
		return c.doc.errorf(n, "%s must be a list; write [%s]", subject(path), shorten(n.Value))
	default:
		return c.doc.errorf(n, "%s must be a list, not %s", subject(path), kindOf(n))
	}
	for i, item := range n.Content {
		at := path + "[" + strconv.Itoa(i) + "]"
		if item.ShortTag() == "!!null" {
			return c.doc.errorf(item, "%s is empty; give it a value or take the line out", subject(at))
		}
		if err := c.check(item, t.Elem(), at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkDuration(n *yaml.Node, path string) error {
	if n.Kind == yaml.ScalarNode {
		if n.Value == "0" {
			n.Value, n.Tag, n.Style = "0s", "!!str", 0
			return nil
		}
		if _, err := time.ParseDuration(n.Value); err == nil {
			n.Tag = "!!str"
			return nil
		}
	}
	return c.doc.errorf(n, "%s must be a duration with a unit, such as 5s, 250ms or 2h, not %s", subject(path), kindOf(n))
}

func (c *checker) checkScalar(n *yaml.Node, t reflect.Type, path string) error {
	cut := isInteger(t.Kind()) && n.ShortTag() == "!!float" // the library would drop the fraction
	if n.Kind == yaml.ScalarNode && !cut && n.Decode(reflect.New(t).Interface()) == nil {
		return c.checkEnum(n, t, path)
	}
	want := "a value of type " + t.String()
	switch t.Kind() {
	case reflect.String:
		want = "text"
	case reflect.Bool:
		want = "true or false"
	case reflect.Float32, reflect.Float64:
		want = "a number"
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		want = "a whole number"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		want = "a whole number below " + strconv.FormatInt(1<<(t.Bits()-1), 10)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		want = "a whole number from 0 to " + strconv.FormatUint(1<<t.Bits()-1, 10)
	}
	return c.doc.errorf(n, "%s must be %s, not %s", subject(path), want, kindOf(n))
}

func (c *checker) checkEnum(n *yaml.Node, t reflect.Type, path string) error {
	if !t.Implements(enumType) || n.Value == "" {
		return nil
	}
	values := reflect.Zero(t).Interface().(Enum).Values()
	if slices.Contains(values, n.Value) {
		return nil
	}
	if hint := Closest(n.Value, values); hint != "" {
		return c.doc.errorf(n, "%s cannot be %q; did you mean %q?", subject(path), shorten(n.Value), hint)
	}
	return c.doc.errorf(n, "%s cannot be %q; use one of %s", subject(path), shorten(n.Value), strings.Join(values, ", "))
}

func isInteger(k reflect.Kind) bool { return reflect.Int <= k && k <= reflect.Uint64 }

// checkSelf asks a type that decodes itself, and keeps its own words.
func (c *checker) checkSelf(n *yaml.Node, t reflect.Type, path string) error {
	err := n.Decode(reflect.New(t).Interface())
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	fault := libraryError(c.doc.origin, err)
	if fault.Line == 0 {
		fault.Line = n.Line
	}
	fault.Text = subject(path) + ": " + fault.Text
	return fault
}

func (c *checker) unknownKey(key *yaml.Node, t reflect.Type, path string) error {
	names := fieldNames(t)
	if hint := Closest(key.Value, names); hint != "" {
		return c.doc.errorf(key, "unknown key %q%s; did you mean %q?", key.Value, in(path), hint)
	}
	if place := c.findKey(key.Value); place != "" {
		return c.doc.errorf(key, "unknown key %q%s; it belongs %s", key.Value, in(path), place)
	}
	return c.doc.errorf(key, "unknown key %q%s; the keys here are %s", key.Value, in(path), strings.Join(names, ", "))
}

// findKey says in which other section a key would be known, the outermost
// first; "" when in none.
func (c *checker) findKey(key string) string {
	type place struct {
		t    reflect.Type
		path string
	}
	for queue := []place{{c.rootType, ""}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for at.t.Kind() == reflect.Pointer {
			at.t = at.t.Elem()
		}
		if at.t.Kind() != reflect.Struct || strings.Count(at.path, ".") > 8 {
			continue
		}
		if _, ok := fieldByKey(at.t, key); ok {
			if at.path == "" {
				return "at the top level"
			}
			return "in " + at.path
		}
		for _, name := range fieldNames(at.t) {
			field, _ := fieldByKey(at.t, name)
			queue = append(queue, place{field.Type, join(at.path, name)})
		}
	}
	return ""
}
