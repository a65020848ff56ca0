package strictyaml

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

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
	if n.Kind != yaml.ScalarNode {
		return c.doc.errorf(n, "%s must be %s, not %s", subject(path), nameOf(t), kindOf(n))
	}
	if fits(n, t) {
		return c.checkEnum(n, t, path)
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	if quoted && fits(&yaml.Node{Kind: yaml.ScalarNode, Value: n.Value}, t) {
		return c.doc.errorf(n, "%s must be %s, not text; write %s without quotes", subject(path), nameOf(t), shorten(n.Value))
	}
	return c.doc.errorf(n, "%s must be %s%s, not %s", subject(path), nameOf(t), bound(n, t), kindOf(n))
}

// fits reports whether a scalar can become a value of type t unchanged.
func fits(n *yaml.Node, t reflect.Type) bool {
	if isInteger(t) && n.ShortTag() == "!!float" {
		return false // the library would drop the fraction
	}
	return n.Decode(reflect.New(t).Interface()) == nil
}

func isInteger(t reflect.Type) bool { return reflect.Int <= t.Kind() && t.Kind() <= reflect.Uint64 }

// nameOf says what a scalar of type t is to the operator.
func nameOf(t reflect.Type) string {
	switch {
	case reflect.PointerTo(t).Implements(textType):
		return "a single value"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case isInteger(t):
		return "a whole number"
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return "a number"
	default:
		return "a value of type " + t.String()
	}
}

var wholeNumber = regexp.MustCompile(`^[-+]?(0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[1-9][0-9_]*)$`)

// bound names the bound that a whole number oversteps when it does not fit
// into t, "" for a value that is no whole number.
func bound(n *yaml.Node, t reflect.Type) string {
	if !isInteger(t) || n.Style&yaml.TaggedStyle != 0 || !wholeNumber.MatchString(n.Value) {
		return ""
	}
	negative, signed := strings.HasPrefix(n.Value, "-"), t.Kind() <= reflect.Int64
	largest := int64(1)<<(t.Bits()-1) - 1
	switch {
	case negative && signed:
		return fmt.Sprintf(" of at least %d", -largest-1)
	case negative:
		return " of at least 0"
	case signed:
		return fmt.Sprintf(" of at most %d", largest)
	default:
		return fmt.Sprintf(" of at most %d", ^uint64(0)>>(64-t.Bits()))
	}
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
