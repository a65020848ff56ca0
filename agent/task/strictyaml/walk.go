package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var durationType = reflect.TypeFor[time.Duration]()

// walker copies one document into a struct and remembers where each key stood.
type walker struct {
	origin string
	lines  map[string]int
}

func (w *walker) errorf(n *yaml.Node, format string, args ...any) error {
	return &Error{Origin: w.origin, Line: n.Line, Text: oneLine(fmt.Sprintf(format, args...))}
}

func (w *walker) root(n *yaml.Node, out any) error {
	v := reflect.ValueOf(out)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode %s: need a pointer to a struct, not %T", w.origin, out)
	}
	if n.Kind != yaml.MappingNode {
		return w.errorf(n, "must be keys with values such as %q, not %s", fields(v.Elem().Type())[0].name+": ...", kindOf(n))
	}
	return w.mapping(n, v.Elem(), "")
}

func (w *walker) value(n *yaml.Node, out reflect.Value, key string) error {
	switch {
	case n.Kind == yaml.AliasNode:
		return w.errorf(n, "key %q uses the alias *%s; aliases are not supported, write the value out", key, n.Value)
	case isNull(n):
		return w.errorf(n, "key %q has no value; give it one or remove it", key)
	}
	if out.Kind() == reflect.Pointer {
		out.Set(reflect.New(out.Type().Elem()))
		out = out.Elem()
	}
	if _, ok := out.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return w.scalar(n, out, key)
	}
	switch out.Kind() {
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			return w.errorf(n, "key %q must hold keys of its own (%s), not %s", key, strings.Join(names(out.Type()), ", "), kindOf(n))
		}
		return w.mapping(n, out, key+".")
	case reflect.Slice:
		return w.sequence(n, out, key)
	default:
		return w.scalar(n, out, key)
	}
}

func (w *walker) mapping(n *yaml.Node, out reflect.Value, prefix string) error {
	known := fields(out.Type())
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			return w.errorf(k, "a key must be a plain word, not %s", kindOf(k))
		}
		if line, ok := seen[k.Value]; ok {
			return w.errorf(k, "key %q is given twice, first in line %d; remove one of them", prefix+k.Value, line)
		}
		seen[k.Value] = k.Line
		f := slices.IndexFunc(known, func(f field) bool { return f.name == k.Value })
		if f < 0 {
			return w.errorf(k, "unknown key %q; %s", prefix+k.Value, suggest(k.Value, names(out.Type()), "known keys are"))
		}
		w.lines[prefix+k.Value] = k.Line
		if err := w.value(v, out.Field(known[f].index), prefix+k.Value); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) sequence(n *yaml.Node, out reflect.Value, key string) error {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = fmt.Sprintf("; write [%q]", n.Value)
		}
		return w.errorf(n, "key %q must be a list, not %s%s", key, kindOf(n), hint)
	}
	list := reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		name := fmt.Sprintf("%s[%d]", key, i)
		w.lines[name] = item.Line
		if err := w.value(item, list.Index(i), name); err != nil {
			return err
		}
	}
	out.Set(list)
	return nil
}

func (w *walker) scalar(n *yaml.Node, out reflect.Value, key string) error {
	if n.Kind != yaml.ScalarNode {
		return w.errorf(n, "key %q must be %s, not %s", key, wanted(out), kindOf(n))
	}
	if u, ok := out.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			return w.errorf(n, "key %q: %v", key, err)
		}
		return nil
	}
	if out.Kind() == reflect.String {
		out.SetString(n.Value)
		return w.enum(n, out, key)
	}
	if err := n.Decode(out.Addr().Interface()); err != nil {
		return w.errorf(n, "key %q must be %s, not %q", key, wanted(out), n.Value)
	}
	return nil
}

func (w *walker) enum(n *yaml.Node, out reflect.Value, key string) error {
	e, ok := out.Interface().(Enum)
	if !ok || n.Value == "" || slices.Contains(e.Values(), n.Value) {
		return nil
	}
	return w.errorf(n, "key %q cannot be %q; it must be one of %s", key, n.Value, strings.Join(e.Values(), ", "))
}

// wanted describes what a scalar field takes.
func wanted(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "a duration such as 500ms, 5s or 1m30s"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.CanInt():
		return fmt.Sprintf("a whole number of at most %d", uint64(1)<<(v.Type().Bits()-1)-1)
	default:
		return "a single value"
	}
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		return "a single value"
	}
}

type field struct {
	name  string
	index int
}

// fields lists the keys of a struct in the order of its fields.
func fields(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			list = append(list, field{name, i})
		}
	}
	return list
}

func names(t reflect.Type) []string {
	var list []string
	for _, f := range fields(t) {
		list = append(list, f.name)
	}
	return list
}
