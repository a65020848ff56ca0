package envelope

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"logferry/collector/frame"
	"logferry/internal/dissect"
)

// The formats of texts that fields are taken from.
const (
	JSONFields = "json"   // an object; NAME.NAME is a field of an object inside of it
	Logfmt     = "logfmt" // NAME=VALUE NAME="VALUE" ...
)

// fieldPrefix is what names of fields of the text begin with in templates.
const fieldPrefix = "fields."

// maxFieldBytes is the most that is taken of a field.
const maxFieldBytes = 1 << 10

// extractor takes fields out of texts. It may be used from several goroutines.
type extractor struct {
	names   []string   // of the fields that somebody asks for
	paths   [][]string // the same, by object
	format  string
	pattern *regexp.Regexp
	dissect *dissect.Pattern
	groups  []int // of pattern or dissect, by name; -1: it has none
}

// newExtractor is nil when nobody asks for a field.
func newExtractor(cfg Config, names []string) (*extractor, error) {
	if len(names) == 0 {
		return nil, nil
	}
	x := &extractor{names: names, format: cfg.FieldFormat}
	for _, name := range names {
		x.paths = append(x.paths, strings.Split(name, "."))
	}
	switch {
	case cfg.FieldPattern != "":
		re, err := regexp.Compile(cfg.FieldPattern)
		if err != nil {
			return nil, fmt.Errorf("fields: %w", err)
		}
		x.pattern = re
		for _, name := range names {
			x.groups = append(x.groups, re.SubexpIndex(name))
		}
	case cfg.FieldDissect != "":
		p, err := dissect.Compile(cfg.FieldDissect)
		if err != nil {
			return nil, fmt.Errorf("fields: %w", err)
		}
		x.dissect = p
		for _, name := range names {
			x.groups = append(x.groups, slices.Index(p.Names(), name))
		}
	case cfg.FieldFormat != JSONFields && cfg.FieldFormat != Logfmt:
		return nil, fmt.Errorf("fields.%s is asked for, and nothing says how fields are found", names[0])
	}
	return x, nil
}

// find is the number of a field that somebody asks for.
func (x *extractor) find(name string) int { return slices.Index(x.names, name) }

// values is what one text holds of the fields, by number; nil: it does not have it.
type values struct {
	list    [][]byte
	scratch []byte   // unescaped
	found   [][]byte // by dissect
}

// take finds the fields of a text. They are good until the next call, or until
// the text changes.
func (x *extractor) take(text []byte, v *values) {
	if v.list == nil {
		v.list = make([][]byte, len(x.names))
	}
	clear(v.list)
	v.scratch = v.scratch[:0]
	switch {
	case x.pattern != nil:
		at := x.pattern.FindSubmatchIndex(text)
		for i, g := range x.groups {
			if at != nil && g >= 0 && at[2*g] >= 0 {
				v.list[i] = text[at[2*g]:at[2*g+1]]
			}
		}
	case x.dissect != nil:
		x.dissected(text, v)
	case x.format == Logfmt:
		x.logfmt(text, v)
	default:
		s := scanner{rest: text, x: x, v: v}
		if !s.document() {
			clear(v.list)
		}
	}
	for i, value := range v.list {
		if len(value) == 0 {
			v.list[i] = nil
		} else if len(value) > maxFieldBytes {
			n := maxFieldBytes
			for back := 0; back < utf8.UTFMax && !utf8.RuneStart(value[n]); back++ {
				n--
			}
			v.list[i] = value[:n]
		}
	}
}

// dissected takes what stands between the texts of a pattern.
func (x *extractor) dissected(text []byte, v *values) {
	var ok bool
	if v.found, ok = x.dissect.Find(v.found[:0], text); !ok {
		return
	}
	for i, g := range x.groups {
		if g >= 0 {
			v.list[i] = v.found[g]
		}
	}
}

// logfmt takes NAME=VALUE pairs between blanks. A value in quotes has the
// escapes of JSON, or stays as it is if it has others: many writers quote as Go
// does. Of repeated names the last counts. What is neither is passed over.
func (x *extractor) logfmt(text []byte, v *values) {
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] > ' ' && text[n] != '=' && text[n] != '"' {
			n++
		}
		name := text[:n]
		text = text[n:]
		if len(text) == 0 || text[0] != '=' || n == 0 {
			text = text[min(1, len(text)):]
			continue
		}
		text = text[1:]
		var value []byte
		if len(text) > 0 && text[0] == '"' {
			end := closing(text)
			if end < 0 {
				return
			}
			if value = text[1:end]; frame.EscapesAreRight(value) {
				value = (&scanner{v: v}).plain(value)
			}
			text = text[end+1:]
		} else {
			n = 0
			for n < len(text) && text[n] > ' ' {
				n++
			}
			value, text = text[:n], text[n:]
		}
		for i := range x.names {
			if x.names[i] == string(name) {
				v.list[i] = value
			}
		}
	}
}

// closing is where the quote is closed that a text begins with; -1: nowhere.
func closing(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return -1
}
