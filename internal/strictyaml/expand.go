package strictyaml

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Expand replaces ${VAR} and ${VAR:-default} in every scalar value, never in
// keys, and $${ by a literal ${. A variable that is unset or empty takes its
// default; without one that is an error. Values are put in after parsing, so
// that nothing in a variable can change the document's structure.
func (d *Document) Expand(getenv func(string) string) error {
	if d.root == nil {
		return nil
	}
	return d.expand(d.root, getenv)
}

func (d *Document) expand(n *yaml.Node, getenv func(string) string) error {
	switch n.Kind {
	case yaml.ScalarNode:
		return d.expandScalar(n, getenv)
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if err := d.expand(n.Content[i], getenv); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if err := d.expand(item, getenv); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Document) expandScalar(n *yaml.Node, getenv func(string) string) error {
	if !strings.Contains(n.Value, "${") {
		return nil
	}
	var out strings.Builder
	for rest := n.Value; ; {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			out.WriteString(rest)
			break
		}
		if strings.HasSuffix(before, "$") {
			out.WriteString(before + "{")
			rest = after
			continue
		}
		out.WriteString(before)
		inner, behind, closed := strings.Cut(after, "}")
		if !closed {
			return d.errorf(n, "${ has no closing brace; write $${ for a literal ${") // what follows may be a password
		}
		name, fallback, hasFallback := strings.Cut(inner, ":-")
		if !isVariable(name) {
			return d.errorf(n, "${...} names no variable; write ${NAME}, ${NAME:-default}, or $${ for a literal ${")
		}
		value := getenv(name)
		if value == "" {
			if !hasFallback {
				return d.errorf(n, "variable %s is not set; set it, or write ${%s:-default}", name, name)
			}
			value = fallback
		}
		out.WriteString(value)
		rest = behind
	}
	n.Value = out.String()
	d.expanded[n] = true
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0 {
		n.Tag = "" // number, boolean or text is decided by what the variable held
	}
	return nil
}

func isVariable(name string) bool {
	for i, r := range name {
		switch {
		case r == '_', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		case '0' <= r && r <= '9' && i > 0:
		default:
			return false
		}
	}
	return name != ""
}
