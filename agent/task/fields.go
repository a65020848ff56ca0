package task

import (
	"regexp"
	"slices"
	"strings"

	"logferry/internal/dissect"
)

// Fields says how the fields of a record's text are found, which templates name
// as {{.fields.NAME}}. One of the three is set.
type Fields struct {
	Format  FieldFormat `yaml:"format,omitempty" json:"format,omitempty"`
	Pattern string      `yaml:"pattern,omitempty" json:"pattern,omitempty"` // RE2; its named groups are the fields
	Dissect string      `yaml:"dissect,omitempty" json:"dissect,omitempty"` // what stands between the fields: see package dissect
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
	case ways(f) != 1:
		c.add("fields", "must hold exactly one of format, pattern and dissect")
	case f.Dissect != "":
		if len(f.Dissect) > maxPatternBytes {
			c.add("fields.dissect", "is %d bytes long, the limit is %d", len(f.Dissect), maxPatternBytes)
		} else if _, err := dissect.Compile(f.Dissect); err != nil {
			c.add("fields.dissect", "%s", err)
		}
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
	for _, name := range namedFields(t) {
		used["fields."+name] = true
	}
	switch {
	case len(used) == 0:
		c.add("fields", "is not used; name a field in key, headers, topic, filter or parse_time, such as {{.fields.user}}, or remove fields")
	case len(used) > maxFields:
		c.add("fields", "%d fields are named, the limit is %d", len(used), maxFields)
	}
}

// templates lists the texts of a task that can name fields.
func templates(t Task) []string {
	list := []string{string(t.Key), t.Topic}
	if t.Filter != nil && t.Filter.Sample != nil {
		list = append(list, t.Filter.Sample.By)
	}
	for _, text := range t.Headers {
		list = append(list, text)
	}
	return list
}

// namedFields lists the fields that a task names without a template.
func namedFields(t Task) (names []string) {
	if t.Filter != nil {
		for _, w := range t.Filter.Where {
			names = append(names, w.Field)
		}
	}
	if t.ParseTime != nil {
		names = append(names, t.ParseTime.Field)
	}
	return names
}

// ways counts how fields are said to be found.
func ways(f *Fields) (n int) {
	for _, text := range []string{string(f.Format), f.Pattern, f.Dissect} {
		if text != "" {
			n++
		}
	}
	return n
}

// field checks a name in {{.fields.NAME}}.
func (c *checker) field(key, name string, f *Fields) {
	if f == nil {
		c.add(key, "names fields.%s, and nothing says how fields are found; write fields: {format: json}, {format: logfmt}, {dissect: PATTERN} or {pattern: RE2}", name)
		return
	}
	if f.Dissect != "" {
		if p, err := dissect.Compile(f.Dissect); err == nil && !slices.Contains(p.Names(), name) {
			c.add(key, "%q is no field of fields.dissect; %s", name, didYouMean(name, p.Names()))
		}
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
