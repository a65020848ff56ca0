package strictyaml

import (
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldByKey finds the field of struct t that a YAML key fills.
func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for f := range fields(t) {
		if yamlName(f) == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for f := range fields(t) {
		names = append(names, yamlName(f))
	}
	return names
}

// fields yields the fields of t that YAML fills.
func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || yamlName(f) == "-" {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "" {
		return strings.ToLower(f.Name)
	}
	return name
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// subject names a place as the beginning of a sentence.
func subject(path string) string {
	if path == "" {
		return "the document"
	}
	return path
}

func in(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

// kindOf names what stands in the document.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "the alias *" + n.Value
	default:
		return strconv.Quote(shorten(n.Value))
	}
}

func shorten(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}

// listOf writes the list of one item, with quotes where YAML needs them.
func listOf(item string) string {
	item = shorten(item)
	var back []string
	bare := "[" + item + "]"
	if yaml.Unmarshal([]byte(bare), &back) == nil && len(back) == 1 && back[0] == item {
		return bare
	}
	return "[" + strconv.Quote(item) + "]"
}

func example(names []string) string {
	return strings.Join(names[:min(3, len(names))], ", ")
}
