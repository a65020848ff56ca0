// Package envelope says what a record carries beside its text: headers, a
// timestamp, and, around the text, a JSON object.
//
// All that is the same for the records of a file is put together once for the
// file. What is the same for a whole record is shared by all that have it.
package envelope

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// Config says what records are to carry.
type Config struct {
	Headers  map[string]string // templates by name; nil: what records have by themselves
	JSON     []string          // the fields of a JSON value, in their order; nil: the value is the text
	ReadTime bool              // timestamps say when records were read, also of those that have a time of their own
	Labels   map[string]string // of the agent
}

// Envelope is a Config made ready. It may be used from several goroutines.
type Envelope struct {
	cfg     Config
	headers []header // by name
}

type header struct {
	name  string
	parts []part
}

// New makes cfg ready. It returns nil for one that leaves everything as it is.
func New(cfg Config) (*Envelope, error) {
	if cfg.Headers == nil && cfg.JSON == nil && !cfg.ReadTime {
		return nil, nil
	}
	e := &Envelope{cfg: cfg}
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		parts, err := parse(cfg.Headers[name])
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		e.headers = append(e.headers, header{name: name, parts: parts})
	}
	return e, nil
}

// Form is what the records of one file carry. It is used by one goroutine at a
// time.
type Form struct {
	json, relabel, readTime bool
	kinds                   [3]kind // by record.Stream
	moments                 moments
	scratch                 []byte
}

// kind is what records of one stream carry, or those of none.
type kind struct {
	extra   *record.Extra // of records that have nothing of their own; nil: each has
	headers []record.Header
	own     []ownHeader // headers that differ from record to record
	value   []op
	size    int // of a value without its text, about
}

type ownHeader struct {
	at    int // its place in headers
	value []op
}

// op is a piece of text, and behind it a field that differs from record to record.
type op struct {
	text  []byte
	field string // message, moment, offset, or none
}

// For makes the form of a file.
func (e *Envelope) For(src *record.Source) *Form {
	f := &Form{json: e.cfg.JSON != nil, relabel: e.cfg.Headers != nil, readTime: e.cfg.ReadTime}
	of := origin{src: src, labels: e.cfg.Labels}
	of.kube, of.isKube = KubernetesOf(src.Path)
	for s := range f.kinds {
		k := &f.kinds[s]
		of.stream = record.Stream(s).String()
		k.addHeaders(e.headers, of)
		k.addValue(e.cfg.JSON, of)
		if len(k.own) == 0 {
			k.extra = &record.Extra{Headers: k.headers}
		}
	}
	return f
}

// Apply gives records, which were read at this time, what they are to carry.
// Values and Extras that it makes stand in space.
func (f *Form) Apply(recs []record.Record, read time.Time, space *frame.Space) {
	if f.json {
		total := 0
		for i := range recs {
			total += f.room(&recs[i])
		}
		space.Open(total) // for all of them
	}
	for i := range recs {
		r := &recs[i]
		s, at := record.NoStream, read
		if x := r.Extra; x != nil {
			if s = x.Stream; !x.Time.IsZero() {
				at = x.Time
			}
		}
		k := &f.kinds[s]
		if f.json {
			r.Value = space.Close(f.fill(space.Open(f.room(r)), k.value, r, at))
		}
		if f.relabel {
			f.label(k, r, at, space)
		}
		if f.readTime && r.Extra != nil && r.Extra != k.extra {
			r.Extra.Time = time.Time{}
		}
	}
}

// room is how much a record's JSON value takes, about.
func (f *Form) room(r *record.Record) int {
	return len(r.Value) + len(r.Value)/8 + f.kinds[record.Stderr].size
}

// fill appends what ops say of a record.
func (f *Form) fill(dst []byte, ops []op, r *record.Record, at time.Time) []byte {
	for i := range ops {
		dst = append(dst, ops[i].text...)
		switch ops[i].field {
		case message:
			dst = appendText(dst, r.Value)
		case moment:
			dst = f.moments.append(dst, at)
		case offset:
			dst = strconv.AppendInt(dst, r.Offset, 10)
		}
	}
	return dst
}

// label gives a record its headers. Those that say what became of it stay.
func (f *Form) label(k *kind, r *record.Record, at time.Time, space *frame.Space) {
	x := r.Extra
	if x == nil {
		if k.extra != nil {
			r.Extra = k.extra
			return
		}
		x = space.Extra()
		r.Extra = x
	}
	marks := x.Headers
	if x.Stream != record.NoStream && len(marks) > 0 && marks[0].Key == record.HeaderStream {
		marks = marks[1:]
	}
	if len(k.own) == 0 && len(marks) == 0 {
		x.Headers = k.headers
		return
	}
	x.Headers = append(append(space.Headers(len(k.headers)+len(marks)), k.headers...), marks...)
	for i := range k.own {
		o := &k.own[i]
		f.scratch = f.fill(f.scratch[:0], o.value, r, at)
		x.Headers[o.at].Value = space.Close(append(space.Open(len(f.scratch)), f.scratch...))
	}
}
