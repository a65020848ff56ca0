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
	"strings"
	"time"

	"logferry/collector/frame"
	"logferry/collector/rate"
	"logferry/internal/record"
	"logferry/internal/timestamp"
)

// Config says what records are to carry.
type Config struct {
	Headers  map[string]string // templates by name; nil: what records have by themselves
	JSON     []string          // the fields of a JSON value, in their order; nil: the value is the text
	ReadTime bool              // timestamps say when records were read, also of those that have a time of their own
	Labels   map[string]string // of the agent
	Pods     Pods              // where labels and annotations of pods are asked for; nil: nowhere

	Topic        string // a template; empty: records go where their task's do
	Key          string // a template; empty: records have no key of their own
	FieldFormat  string // how {{.fields.NAME}} is found in the text: JSONFields or Logfmt
	FieldPattern string // or by the groups of a pattern (RE2)
	FieldDissect string // or by the text between them: see package dissect

	Where     []Where       // records that do not have such fields are left out
	Share     float64       // of these, so many are sent, chosen by SampleBy or else by their text and place; 0: all
	SampleBy  string        // a template: records of which it makes the same are all sent, or none
	RateLimit *rate.Limiter // of these, those that it does not let pass are left out; nil: none
	TimeField string        // a field of the text that is the timestamp; empty: none
	Times     *timestamp.Reader
}

// Envelope is a Config made ready. It may be used from several goroutines.
type Envelope struct {
	cfg     Config
	headers []header // by name
	topic   []part
	key     []part
	extract *extractor // nil: no field of the text is asked for
	where   []condition
	by      []part
	stamped int  // the field that is the timestamp; -1: none
	asks    bool // for labels or annotations of pods
}

// AsksForPods reports whether records are to carry labels or annotations of pods.
func (e *Envelope) AsksForPods() bool { return e != nil && e.asks }

type header struct {
	name  string
	parts []part
}

// New makes cfg ready. It returns nil for one that leaves everything as it is.
func New(cfg Config) (*Envelope, error) {
	if cfg.Headers == nil && cfg.JSON == nil && !cfg.ReadTime && cfg.Key == "" && cfg.Topic == "" && !cfg.sifts() && cfg.TimeField == "" {
		return nil, nil
	}
	e := &Envelope{cfg: cfg, stamped: -1}
	var err error
	if e.key, err = parse(cfg.Key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if e.topic, err = parse(cfg.Topic); err != nil {
		return nil, fmt.Errorf("topic: %w", err)
	}
	if e.by, err = parse(cfg.SampleBy); err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	names := fieldsOf(fieldsOf(fieldsOf(nil, e.key), e.topic), e.by)
	e.asks = asksForPods(e.key) || asksForPods(e.topic) || asksForPods(e.by) ||
		slices.Contains(cfg.JSON, kubeLabels) || slices.Contains(cfg.JSON, kubeAnnotations)
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		parts, err := parse(cfg.Headers[name])
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		e.headers = append(e.headers, header{name: name, parts: parts})
		names = fieldsOf(names, parts)
		e.asks = e.asks || asksForPods(parts)
	}
	for _, w := range cfg.Where {
		names = addName(names, w.Field)
	}
	if cfg.TimeField != "" {
		names = addName(names, cfg.TimeField)
		e.stamped = slices.Index(names, cfg.TimeField)
	}
	if e.extract, err = newExtractor(cfg, names); err != nil {
		return nil, err
	}
	e.where, err = conditions(cfg.Where, names)
	return e, err
}

// fieldsOf adds the fields of the text that a template asks for.
func fieldsOf(names []string, parts []part) []string {
	for _, p := range parts {
		if name, ok := strings.CutPrefix(p.field, fieldPrefix); ok {
			names = addName(names, name)
		}
	}
	return names
}

func addName(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// Form is what the records of one file carry. It is used by one goroutine at a
// time.
type Form struct {
	json, relabel, readTime bool

	sieve   *sieve // nil: nothing is left out
	clock   *clock // nil: times are those that records have, or that of the read
	extract *extractor
	values  values
	kinds   [3]kind // by record.Stream
	moments moments
	scratch []byte

	file origin
	from *Envelope // what it is made of
	pods Pods      // nil: the file is of no pod, or nothing is asked of pods
}

// kind is what records of one stream carry, or those of none.
type kind struct {
	extra   *record.Extra // of records that have nothing of their own; nil: each has
	headers []record.Header
	own     []ownHeader // headers that differ from record to record, in the order of their places
	key     filling
	topic   filling
	by      filling // what records are chosen by
	value   []op
	size    int // of a value without its text, about
}

// filling is what a template makes of records.
type filling struct {
	ops  []op   // where that differs; nil: it is same
	same []byte // nil: they lack what it names
}

type ownHeader struct {
	at    int // its place in headers
	value []op
}

// op is a piece of text, and behind it a field that differs from record to record.
type op struct {
	text  []byte
	field string // message, moment, offset, fieldPrefix, or none
	index int    // of a field of the text
}

// For makes the form of a file.
func (e *Envelope) For(src *record.Source) *Form {
	f := &Form{json: e.cfg.JSON != nil, relabel: e.cfg.Headers != nil || e.cfg.Key != "" || e.cfg.Topic != "", readTime: e.cfg.ReadTime, extract: e.extract}
	f.from, f.file = e, origin{src: src, labels: e.cfg.Labels, extract: e.extract}
	f.file.kube, f.file.isKube = KubernetesOf(src.Path)
	if e.asks && e.cfg.Pods != nil && f.file.isKube {
		f.pods = e.cfg.Pods
		f.file.pod = f.pods.Await(f.file.kube)
	}
	if e.cfg.sifts() {
		f.sieve = e.newSieve(src)
	}
	if e.stamped >= 0 {
		f.clock = &clock{times: e.cfg.Times, field: e.stamped}
	}
	f.prepare()
	return f
}

// prepare puts together what is the same for many records.
func (f *Form) prepare() {
	e, of := f.from, f.file
	for s := range f.kinds {
		k := &f.kinds[s]
		*k = kind{}
		of.stream = record.Stream(s).String()
		if e.cfg.Headers == nil && of.stream != "" {
			k.headers = []record.Header{{Key: record.HeaderStream, Value: []byte(of.stream)}}
		}
		k.addHeaders(e.headers, of)
		k.key, k.topic, k.by = of.filling(e.key), of.filling(e.topic), of.filling(e.by)
		k.addValue(e.cfg.JSON, of)
		if len(k.own) == 0 && k.key.ops == nil && k.topic.ops == nil && f.clock == nil {
			k.extra = &record.Extra{Headers: k.headers, Key: k.key.same, Topic: k.topic.same}
		}
	}
}

// Why records are left out, as metrics name it.
const (
	LeftWhere  = "where"  // a field is not as it must be
	LeftSample = "sample" // it was not chosen
	LeftRate   = "rate"   // there were too many
)

// Counts says what one call did.
type Counts struct {
	Where, Sample, Rate int // left out: lacked a field, not chosen, too many
	Unparsed            int // records whose timestamp could not be read
}

// Apply gives records, which were read at this time, what they are to carry,
// and leaves out those that are not to be sent, in the array of recs. Values and
// Extras that it makes stand in space.
func (f *Form) Apply(recs []record.Record, read time.Time, space *frame.Space) ([]record.Record, Counts) {
	if f.pods != nil {
		f.renew()
	}
	if f.json && f.sieve == nil {
		total := 0
		for i := range recs {
			total += f.room(&recs[i])
		}
		space.Open(total) // for all of them
	}
	var counts Counts
	kept := 0
	for i := range recs {
		r := &recs[i]
		s, at := record.NoStream, read
		if x := r.Extra; x != nil {
			if s = x.Stream; !x.Time.IsZero() {
				at = x.Time
			}
		}
		k := &f.kinds[s]
		if f.extract != nil {
			f.extract.take(r.Value, &f.values)
		}
		if f.sieve != nil {
			if !f.passes(k, r, at, &counts) {
				continue
			}
			recs[kept] = *r
			r = &recs[kept]
		}
		kept++
		f.give(k, r, at, read, space, &counts)
	}
	clear(recs[kept:])
	return recs[:kept], counts
}

// give makes a record carry what it is to; at is its time as the runtime or
// else the read has it.
func (f *Form) give(k *kind, r *record.Record, at, read time.Time, space *frame.Space, counts *Counts) {
	if f.relabel {
		f.label(k, r, at, space)
	}
	if f.clock != nil {
		f.clock.stamp(r, f.values.list, read, space, counts)
	}
	if f.json {
		value, _ := f.fill(space.Open(f.room(r)), k.value, r, at)
		r.Value = space.Close(value)
	}
	if f.readTime && r.Extra != nil && r.Extra != k.extra {
		r.Extra.Time = time.Time{}
	}
}

// room is how much a record's JSON value takes, about.
func (f *Form) room(r *record.Record) int {
	return len(r.Value) + len(r.Value)/8 + f.kinds[record.Stderr].size
}

// fill appends what ops say of a record; whole is false when it lacks one of
// the fields.
func (f *Form) fill(dst []byte, ops []op, r *record.Record, at time.Time) (out []byte, whole bool) {
	for i := range ops {
		dst = append(dst, ops[i].text...)
		switch ops[i].field {
		case message:
			dst = appendText(dst, r.Value)
		case moment:
			dst = f.moments.append(dst, at)
		case offset:
			dst = strconv.AppendInt(dst, r.Offset, 10)
		case fieldPrefix:
			value := f.values.list[ops[i].index]
			if value == nil {
				return dst, false
			}
			dst = append(dst, value...)
		}
	}
	return dst, true
}

// made is what ops say of a record, in space; nil when it lacks a field.
func (f *Form) made(ops []op, r *record.Record, at time.Time, space *frame.Space) []byte {
	var whole bool
	if f.scratch, whole = f.fill(f.scratch[:0], ops, r, at); !whole {
		return nil
	}
	return space.Close(append(space.Open(len(f.scratch)), f.scratch...))
}

// of is what a template makes of a record; nil when that lacks a field.
func (f *Form) of(t *filling, r *record.Record, at time.Time, space *frame.Space) []byte {
	if t.ops == nil {
		return t.same
	}
	return f.made(t.ops, r, at, space)
}

// label gives a record its headers, key and topic. Those that say what became of it stay.
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
	x.Key, x.Topic = f.of(&k.key, r, at, space), f.of(&k.topic, r, at, space)
	if len(k.own) == 0 && len(marks) == 0 {
		x.Headers = k.headers
		return
	}
	headers, own := space.Headers(len(k.headers)+len(marks)), k.own
	for i, h := range k.headers {
		if len(own) > 0 && own[0].at == i {
			h.Value = f.made(own[0].value, r, at, space)
			if own = own[1:]; h.Value == nil {
				continue // a field that it names is missing
			}
		}
		headers = append(headers, h)
	}
	x.Headers = append(headers, marks...)
}
