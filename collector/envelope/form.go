package envelope

import (
	"maps"
	"slices"
	"strings"

	"logferry/internal/record"
)

// origin is what a file's records have in common.
type origin struct {
	src    *record.Source
	stream string // empty: none
	labels map[string]string
	kube   Kubernetes
	isKube bool
	pod    *Pod // nil: nothing is known of it

	extract *extractor
}

// get returns a field that is the same for all records; ok is false when they
// have none.
func (o *origin) get(field string) (value string, ok bool) {
	switch field {
	case stream:
		value = o.stream
	case host:
		value = o.src.Host
	case path:
		value = o.src.Path
	case file:
		value = o.src.File
	case task:
		value = o.src.Task
	case kube + ".namespace":
		value = o.kube.Namespace
	case kube + ".pod":
		value = o.kube.Pod
	case kube + ".container":
		value = o.kube.Container
	case kube + ".uid":
		value = o.kube.UID
	default:
		if name, ok := strings.CutPrefix(field, kubeLabels+"."); ok {
			value = o.pod.labels()[name]
		} else if name, ok := strings.CutPrefix(field, kubeAnnotations+"."); ok {
			value = o.pod.annotations()[name]
		} else {
			value = o.labels[strings.TrimPrefix(field, labels+".")]
		}
	}
	return value, value != ""
}

// prepare makes ops of a template. They are nil when text is all of it; ok is
// false when it names what the records do not have.
func (o *origin) prepare(parts []part) (ops []op, text []byte, ok bool) {
	for _, p := range parts {
		name, isField := strings.CutPrefix(p.field, fieldPrefix)
		switch {
		case p.field == "":
			text = append(text, p.text...)
		case p.field == moment, p.field == offset:
			ops = append(ops, op{text: text, field: p.field})
			text = nil
		case isField:
			ops = append(ops, op{text: text, field: fieldPrefix, index: o.extract.find(name)})
			text = nil
		default:
			value, ok := o.get(p.field)
			if !ok {
				return nil, nil, false
			}
			text = append(text, value...)
		}
	}
	if ops != nil {
		return append(ops, op{text: text}), nil, true
	}
	return nil, text, true
}

// addHeaders adds those of which the records have all that they name.
func (k *kind) addHeaders(list []header, of origin) {
	for _, h := range list {
		ops, text, ok := of.prepare(h.parts)
		if !ok {
			continue
		}
		if ops != nil {
			k.own = append(k.own, ownHeader{at: len(k.headers), value: ops})
		}
		k.headers = append(k.headers, record.Header{Key: h.name, Value: text})
	}
	k.headers = slices.Clip(k.headers)
}

// filling prepares a template.
func (o *origin) filling(parts []part) (t filling) {
	if ops, text, ok := o.prepare(parts); ok {
		t = filling{ops: ops, same: text}
	}
	return t
}

// addValue makes the JSON object of these fields, without those that the
// records do not have.
func (k *kind) addValue(fields []string, of origin) {
	text, separator := []byte{'{'}, byte(0)
	put := func(name string) {
		if separator != 0 {
			text = append(text, separator)
		}
		separator = ','
		text = append(appendText(text, []byte(name)), ':')
	}
	kubeDone := false
	for _, name := range fields {
		switch name {
		case message, offset:
			put(name)
			k.value = append(k.value, op{text: text, field: name})
			text = nil
		case moment:
			put(name)
			k.value = append(k.value, op{text: append(text, '"'), field: name})
			text = []byte{'"'}
		case labels:
			if len(of.labels) > 0 {
				put(name)
				text = appendObject(text, slices.Sorted(maps.Keys(of.labels)), func(key string) string { return of.labels[key] })
			}
		case kube, kubeLabels, kubeAnnotations:
			if object := of.kubeObject(fields); len(object) > 2 && !kubeDone {
				put(kube)
				text = append(text, object...)
			}
			kubeDone = true
		default:
			if value, ok := of.get(name); ok {
				put(name)
				text = appendText(text, []byte(value))
			}
		}
	}
	k.value = append(k.value, op{text: append(text, '}')})
	k.size = 64 // the fields that differ
	for _, o := range k.value {
		k.size += len(o.text)
	}
}

// kubeObject is the JSON object of those of the fields that are of Kubernetes.
func (o *origin) kubeObject(fields []string) []byte {
	object := []byte{'{'}
	add := func(key string, value []byte) {
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(append(appendText(object, []byte(key)), ':'), value...)
	}
	if slices.Contains(fields, kube) && o.isKube {
		for _, key := range []string{"namespace", "pod", "container", "uid"} {
			if value, ok := o.get(kube + "." + key); ok {
				add(key, appendText(nil, []byte(value)))
			}
		}
	}
	for _, m := range []struct {
		name, key string
		of        map[string]string
	}{{kubeLabels, "labels", o.pod.labels()}, {kubeAnnotations, "annotations", o.pod.annotations()}} {
		if slices.Contains(fields, m.name) && len(m.of) > 0 {
			add(m.key, appendObject(nil, slices.Sorted(maps.Keys(m.of)), func(key string) string { return m.of[key] }))
		}
	}
	return append(object, '}')
}

// appendObject appends an object of the keys that have a value.
func appendObject(dst []byte, keys []string, get func(key string) string) []byte {
	separator := byte('{')
	for _, key := range keys {
		if value := get(key); value != "" {
			dst = append(dst, separator)
			dst = append(appendText(dst, []byte(key)), ':')
			dst = appendText(dst, []byte(value))
			separator = ','
		}
	}
	return append(dst, '}')
}
