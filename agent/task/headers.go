package task

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"logferry/internal/strictyaml"
)

// ValueFields lists what the JSON object of value: json can have.
func ValueFields() []string {
	return []string{"message", "time", "stream", "host", "path", "file", "offset", "task", "labels", "kubernetes", "kubernetes.labels", "kubernetes.annotations"}
}

// DefaultValueFields lists what it has when value_fields is not set; what a
// record does not have is left out of it.
func DefaultValueFields() []string {
	return []string{"message", "time", "stream", "host", "path", "offset", "kubernetes"}
}

// TemplateFields lists what {{.NAME}} can name in a header, besides labels.NAME,
// fields.NAME, kubernetes.labels.NAME and kubernetes.annotations.NAME.
func TemplateFields() []string {
	return []string{
		"time", "stream", "host", "path", "file", "offset", "task",
		"kubernetes.namespace", "kubernetes.pod", "kubernetes.container", "kubernetes.uid",
	}
}

// Bounds of what headers a task can have.
const (
	maxHeaders     = 32
	maxHeaderBytes = 1 << 10
)

var (
	podRule     = regexp.MustCompile(`^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`) // keys of labels and annotations
	headerRule  = regexp.MustCompile(`^[\x21-\x7e]{1,128}$`)
	placeholder = regexp.MustCompile(`\{\{ *(\.?)([^{} ]*) *\}\}`)
)

func (c *checker) valueFields(t Task) {
	if len(t.ValueFields) == 0 {
		return
	}
	if t.Value != ValueJSON {
		c.add("value_fields", "is used with value: json only; set that or remove value_fields")
		return
	}
	for i, name := range t.ValueFields {
		switch {
		case !slices.Contains(ValueFields(), name):
			c.add("value_fields", "%q is unknown; %s", name, didYouMean(name, ValueFields()))
		case slices.Contains(t.ValueFields[:i], name):
			c.add("value_fields", "%q is there twice; remove one", name)
		}
	}
	if !slices.Contains(t.ValueFields, "message") {
		c.add("value_fields", "lacks message, so the line itself would not be sent; add it")
	}
}

func (c *checker) headers(t Task) {
	headers := t.Headers
	if len(headers) > maxHeaders {
		c.add("headers", "has %d entries, the limit is %d", len(headers), maxHeaders)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, key := headers[name], "headers."+name
		switch {
		case !headerRule.MatchString(name):
			c.add("headers", "%q is not a valid name; use 1 to 128 printable letters of ASCII, and no blanks", name)
		case strings.HasPrefix(name, "logferry."):
			c.add(key, "begins with logferry., which is for what the agent says of a record; choose another name")
		case value == "":
			c.add(key, "is empty; write a text such as prod or {{.host}}, or remove it")
		case len(value) > maxHeaderBytes:
			c.add(key, "is %d bytes long, the limit is %d", len(value), maxHeaderBytes)
		default:
			c.template(key, value, t.Fields)
		}
	}
}

// template checks what a text names in {{ }}.
func (c *checker) template(key, text string, fields *Fields) {
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		name := m[2]
		label, isLabel := strings.CutPrefix(name, "labels.")
		field, isField := strings.CutPrefix(name, "fields.")
		pod, isPod := podName(name)
		switch {
		case isField && fieldRule.MatchString(field) && m[1] != "":
			c.field(key, field, fields)
		case name == "":
			c.add(key, "%q names nothing; write a name such as {{.host}}", m[0])
		case isLabel && ValidWord(label), isField && fieldRule.MatchString(field), isPod && podRule.MatchString(pod), slices.Contains(TemplateFields(), name):
			if m[1] == "" {
				c.add(key, "%q lacks a dot; write {{.%s}}", m[0], name)
			}
		case strings.HasPrefix(name, "kubernetes.label."), strings.HasPrefix(name, "kubernetes.annotation."):
			_, rest, _ := strings.Cut(name[len("kubernetes."):], ".")
			c.add(key, "%q is unknown; did you mean kubernetes.%ss.%s?", name, strings.TrimSuffix(name[len("kubernetes."):], "."+rest), rest)
		default:
			c.add(key, "%q is unknown; %s", name, didYouMean(name, fieldWords()))
		}
	}
	rest := placeholder.ReplaceAllString(text, " ")
	if strings.Contains(rest, "{{") || strings.Contains(rest, "}}") {
		c.add(key, "%q holds {{ or }} without the other; write {{.NAME}}", text)
		return
	}
	for _, m := range foreignField.FindAllStringSubmatch(rest, -1) {
		name := m[1] + m[2] + m[3]
		hint := fieldMeant(name)
		switch {
		case hint != "" && (m[3] == "" || hint == name):
			c.add(key, "%q is no field and would be sent as text; did you mean {{.%s}}?", m[0], hint)
		case m[3] == "":
			c.add(key, "%q is no field and would be sent as text; write {{.NAME}} with one of %s", m[0], strings.Join(fieldWords(), ", "))
		}
	}
}

// foreignField is a field as other programs write it: in one pair of braces
// that may lack its end, or behind a dollar.
var foreignField = regexp.MustCompile(`[$%]\{\.?([A-Za-z][A-Za-z0-9_.-]*)\}?|\{\.?([A-Za-z][A-Za-z0-9_.-]*)\}|\$([a-z][A-Za-z0-9_.-]*)`)

// fieldWords lists what a template can name.
func fieldWords() []string {
	return append(TemplateFields(), "labels.NAME", "fields.NAME", "kubernetes.labels.NAME", "kubernetes.annotations.NAME")
}

// fieldMeant is the field that a name stands for or resembles; empty: none.
func fieldMeant(name string) string {
	if label, ok := strings.CutPrefix(name, "labels."); ok && ValidWord(label) {
		return name
	}
	if field, ok := strings.CutPrefix(name, "fields."); ok && fieldRule.MatchString(field) {
		return name
	}
	if slices.Contains(TemplateFields(), name) {
		return name
	}
	return strictyaml.Closest(name, TemplateFields())
}

// podName is the label or annotation of a pod that a template names.
func podName(name string) (pod string, ok bool) {
	if pod, ok = strings.CutPrefix(name, "kubernetes.labels."); ok {
		return pod, true
	}
	return strings.CutPrefix(name, "kubernetes.annotations.")
}

// didYouMean says what to write instead of a name that is unknown.
func didYouMean(name string, names []string) string {
	if hint := strictyaml.Closest(name, names); hint != "" {
		return "did you mean " + hint + "?"
	}
	return "use one of " + strings.Join(names, ", ")
}
