package strictyaml

import (
	"encoding"
	"errors"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of what merge keys and aliases can ask for: how deep they nest, also
// where one contains itself, and how many values they stand for in all.
const (
	maxDepth    = 64
	maxRepeated = 100_000
)

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
	plain    bool // the rules of DecodePlain hold
	aliases  int  // how many aliases were followed to where the walk is
	repeated int  // values met behind aliases so far
}

// check returns the first fault of n as a value of type t. path is where n
// stands, "" for the whole document.
func (c *checker) check(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if err := c.checkPlain(n, path); err != nil {
		return err
	}
	if n.Kind == yaml.AliasNode {
		c.aliases++
		defer func() { c.aliases-- }()
		n = n.Alias
	}
	if c.aliases > 0 {
		c.repeated++
	}
	switch {
	case depth > maxDepth:
		return c.doc.errorf(n, "%s is nested too deep, or contains itself; write it without aliases", subject(path))
	case c.repeated > maxRepeated:
		return c.doc.errorf(n, "aliases stand for more than %d values; use fewer of them", maxRepeated)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.String && c.doc.expanded[n] {
		n.Tag = "!!str" // what a variable holds is text, even where it looks like a number
	}
	if isNull(n) {
		return nil
	}
	return c.checkValue(n, t, path, depth)
}

func (c *checker) checkValue(n *yaml.Node, t reflect.Type, path string, depth int) error {
	ptr := reflect.PointerTo(t)
	ownText := ptr.Implements(textType) && n.Kind == yaml.ScalarNode
	if n.Kind == yaml.ScalarNode && (ownText || t.Kind() == reflect.String) {
		n.Tag = "!!str" // text is taken as it stands
	}
	switch {
	case ptr.Implements(unmarshalerType), ownText:
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
		return c.checkInside(n, path)
	default:
		return c.checkScalar(n, t, path)
	}
}

// checkPlain holds one value to the rules of DecodePlain.
func (c *checker) checkPlain(n *yaml.Node, path string) error {
	switch {
	case !c.plain:
		return nil
	case reference(n) != "":
		return c.doc.errorf(n, "%s uses %s; anchors and aliases are not supported here, write the value out, or quote it if it starts with & or *", subject(path), reference(n))
	case isNull(n):
		return c.emptyValue(n, path)
	}
	return nil
}

// checkInside holds all that n contains to the rules of DecodePlain, where no
// type of ours looks into it.
func (c *checker) checkInside(n *yaml.Node, path string) error {
	if !c.plain {
		return nil
	}
	for _, child := range n.Content {
		if err := c.checkPlain(child, path); err != nil {
			return err
		}
		if err := c.checkInside(child, path); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) emptyValue(n *yaml.Node, path string) error {
	return c.doc.errorf(n, "%s is empty; give it a value or take the line out", subject(path))
}

func (c *checker) checkStruct(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return c.doc.errorf(n, "%s must be a section with keys such as %s, not %s", subject(path), example(fieldNames(t)), kindOf(n))
	}
	return c.checkSection(n, t, path, depth, func(key *yaml.Node) (reflect.Type, error) {
		field, ok := fieldByKey(t, key.Value)
		if !ok {
			return nil, c.unknownKey(key, t, path)
		}
		return field.Type, nil
	})
}

func (c *checker) checkMap(n *yaml.Node, t reflect.Type, path string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return c.doc.errorf(n, "%s must be a section of NAME: VALUE, not %s", subject(path), kindOf(n))
	}
	return c.checkSection(n, t, path, depth, func(*yaml.Node) (reflect.Type, error) { return t.Elem(), nil })
}

// checkSection checks the keys and values of n; typeOf says which type a key's
// value has.
func (c *checker) checkSection(n *yaml.Node, t reflect.Type, path string, depth int, typeOf func(key *yaml.Node) (reflect.Type, error)) error {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) && !c.plain {
			if err := c.checkMerge(value, t, path, depth); err != nil {
				return err
			}
			continue
		}
		if key.Kind != yaml.ScalarNode {
			return c.doc.errorf(key, "a key%s must be a plain word, not %s", in(path), kindOf(key))
		}
		valueType, err := typeOf(key)
		if err != nil {
			return err
		}
		if ref := reference(key); ref != "" && c.plain {
			return c.doc.errorf(key, "key %q%s uses %s; anchors and aliases are not supported here, take it out", key.Value, in(path), ref)
		}
		if first, twice := seen[key.Value]; twice {
			return c.doc.errorf(key, "key %q%s is given twice, first in line %d; keep one", key.Value, in(path), first)
		}
		seen[key.Value] = key.Line
		at := join(path, key.Value)
		c.doc.lines[at] = key.Line
		if err := c.check(value, valueType, at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// checkMerge checks what `<<:` brings in: a section, or a list of sections.
func (c *checker) checkMerge(n *yaml.Node, t reflect.Type, path string, depth int) error {
	sections := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sections = n.Content
	}
	for _, section := range sections {
		if isNull(section) {
			return c.emptyValue(section, join(path, "<<"))
		}
		if err := c.check(section, t, path, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkSlice(n *yaml.Node, t reflect.Type, path string, depth int) error {
	switch n.Kind {
	case yaml.SequenceNode:
	case yaml.ScalarNode:
		return c.doc.errorf(n, "%s must be a list; write %s", subject(path), listOf(n.Value))
	default:
		return c.doc.errorf(n, "%s must be a list, not %s", subject(path), kindOf(n))
	}
	for i, item := range n.Content {
		at := path + "[" + strconv.Itoa(i) + "]"
		c.doc.lines[at] = item.Line
		if err := c.checkPlain(item, at); err != nil {
			return err
		}
		if isNull(item) {
			return c.emptyValue(item, at)
		}
		if err := c.check(item, t.Elem(), at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// checkSelf asks a type that decodes itself, and keeps its own words.
func (c *checker) checkSelf(n *yaml.Node, t reflect.Type, path string) error {
	if err := c.checkInside(n, path); err != nil {
		return err
	}
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

// isNull reports whether n is null, is nothing at all, or is an alias of it.
func isNull(n *yaml.Node) bool { return n.ShortTag() == "!!null" }

// isMerge agrees with the YAML library on what brings in a section.
func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && (key.Tag == "!" || key.ShortTag() == "!!merge")
}

// reference returns the anchor or alias of n as it is written, "" for neither.
func reference(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return "*" + n.Value
	case n.Anchor != "":
		return "&" + n.Anchor
	}
	return ""
}
