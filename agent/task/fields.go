package task

import (
	"regexp"
	"slices"
	"strings"
)

// Fields says how the fields of a record's text are found, which templates name
// as {{.fields.NAME}}. One of the two is set.
type Fields struct {
	Format  FieldFormat `yaml:"format,omitempty" json:"format,omitempty"`
	Pattern string      `yaml:"pattern,omitempty" json:"pattern,omitempty"` // RE2; its named groups are the fields
}

// FieldFormat is what fields are taken from.
type FieldFormat string

const (
	FieldsJSON   FieldFormat = "json"   // the text is a JSON object; NAME.NAME is in an object inside of it
	FieldsLogfmt FieldFormat = "logfmt" // the text holds NAME=VALUE and NAME="VALUE"
)

// Values lists what fields.format can be.
func (FieldFormat) Values() []string { return []string{string(FieldsJSON), string(FieldsLogfmt)} }

// maxFields bounds how many fields a task takes out of a text.
const maxFields = 32

var fieldRule = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

func (c *checker) fields(t Task) {
	f := t.Fields
	if f == nil {
		return
	}
	switch {
	case (f.Format == "") == (f.Pattern == ""):
		c.add("fields", "must hold exactly one of format and pattern")
	case f.Format != "" && !slices.Contains(f.Format.Values(), string(f.Format)):
		c.add("fields.format", "cannot be %q; use one of %s", f.Format, strings.Join(f.Format.Values(), ", "))
	case f.Pattern != "":
		if re := c.regexp("fields.pattern", f.Pattern); re != nil && len(groupNames(re)) == 0 {
			c.add("fields.pattern", "%q has no named group; write (?P<name>...) around what a field is", f.Pattern)
		}
	}
	used := map[string]bool{}
	for _, text := range templates(t) {
		for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[2], "fields.") {
				used[m[2]] = true
			}
		}
	}
	switch {
	case len(used) == 0:
		c.add("fields", "is not used; name a field in key or headers, such as {{.fields.user}}, or remove fields")
	case len(used) > maxFields:
		c.add("fields", "%d fields are named, the limit is %d", len(used), maxFields)
	}
}

// templates lists the texts of a task that can name fields.
func templates(t Task) []string {
	list := []string{string(t.Key), t.Topic}
	for _, text := range t.Headers {
		list = append(list, text)
	}
	return list
}

// field checks a name in {{.fields.NAME}}.
func (c *checker) field(key, name string, f *Fields) {
	if f == nil {
		c.add(key, "names fields.%s, and nothing says how fields are found; write fields: {format: json}, {format: logfmt} or {pattern: RE2}", name)
		return
	}
	re, err := regexp.Compile(f.Pattern)
	if f.Pattern == "" || err != nil {
		return
	}
	if groups := groupNames(re); len(groups) > 0 && !slices.Contains(groups, name) {
		c.add(key, "%q is no group of fields.pattern; %s", name, didYouMean(name, groups))
	}
}

func groupNames(re *regexp.Regexp) []string {
	return slices.DeleteFunc(slices.Clone(re.SubexpNames()), func(name string) bool { return name == "" })
}

// IsTemplate reports whether the key is made of what {{ }} names.
func (k Key) IsTemplate() bool { return strings.Contains(string(k), "{{") }

func (c *checker) key(t Task) {
	words := []string{string(KeyHost), string(KeyPath)}
	switch {
	case t.Key.IsTemplate() && len(t.Key) > maxHeaderBytes:
		c.add("key", "is %d bytes long, the limit is %d", len(t.Key), maxHeaderBytes)
	case t.Key.IsTemplate():
		c.template("key", string(t.Key), t.Fields)
	case foreignField.MatchString(string(t.Key)) && !slices.Contains(words, string(t.Key)):
		c.template("key", string(t.Key), t.Fields)
	case t.Key != KeyNone && !slices.Contains(words, string(t.Key)):
		c.add("key", "cannot be %q; %s, or a template such as {{.kubernetes.pod}}", t.Key, strings.TrimSuffix(didYouMean(string(t.Key), words), "?"))
	}
}
