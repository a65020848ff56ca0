package envelope

import (
	"fmt"
	"regexp"
	"strings"
)

// Names of what a record has beside its text, for templates of headers and,
// those without a dot, for the fields of a JSON value.
const (
	message = "message" // the text itself; of JSON values only
	moment  = "time"    // the runtime's, or else when it was read
	stream  = "stream"  // stdout or stderr, of containers
	host    = "host"    // the agent's id
	path    = "path"    // where the file was found
	file    = "file"    // its identity
	offset  = "offset"  // where the record begins in it, in bytes
	task    = "task"
	labels  = "labels" // of the agent; labels.NAME in templates
	kube    = "kubernetes"

	kubeLabels      = kube + ".labels" // of the pod; NAME behind a dot in templates
	kubeAnnotations = kube + ".annotations"
)

// ValueFields lists what a JSON value can have.
func ValueFields() []string {
	return []string{message, moment, stream, host, path, file, offset, task, labels, kube, kubeLabels, kubeAnnotations}
}

// TemplateFields lists what {{.NAME}} can name, besides labels.NAME,
// fields.NAME, kubernetes.labels.NAME and kubernetes.annotations.NAME.
func TemplateFields() []string {
	return []string{moment, stream, host, path, file, offset, task, kube + ".namespace", kube + ".pod", kube + ".container", kube + ".uid"}
}

var placeholder = regexp.MustCompile(`\{\{ *\.([A-Za-z0-9_./-]+) *\}\}`)

// part is a piece of a template: text, or the name of a field.
type part struct{ text, field string }

func parse(template string) (parts []part, err error) {
	rest := template
	for {
		at := placeholder.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		if at[0] > 0 {
			parts = append(parts, part{text: rest[:at[0]]})
		}
		parts = append(parts, part{field: rest[at[2]:at[3]]})
		rest = rest[at[1]:]
	}
	if rest != "" {
		parts = append(parts, part{text: rest})
	}
	for _, p := range parts {
		if strings.Contains(p.text, "{{") || strings.Contains(p.text, "}}") {
			return nil, fmt.Errorf("%q holds {{ or }} that belong to no name", template)
		}
	}
	return parts, nil
}
