// Package shape decides which records are sent, and with which text: they are
// decoded to UTF-8, filters leave some out, masks replace what must not leave
// the host.
//
// It works on records that were cut already and keeps nothing between calls.
// A record that is not changed costs no copy.
package shape

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// Config says what to leave out and what to replace. All patterns are RE2.
type Config struct {
	Charset *frame.Charset // what the records are decoded from; nil: they are UTF-8, or nobody cares
	Raw     bool           // a record that cannot be decoded stays as it is, and gets a header; otherwise U+FFFD stands for what cannot

	Include   []string // a record must match one of them; none: all do
	Exclude   []string // a record that matches one of them is left out
	DropEmpty bool     // leave out records of white space alone
	Mask      []Mask   // applied in their order to what is left

	MaxBytes int  // longest value; one that decoding or masks have made longer is cut or dropped
	DropLong bool // drop it instead of cutting it
}

// Mask replaces every match of a pattern.
type Mask struct {
	Pattern string
	Replace string // $1 and ${name} stand for groups of the pattern
}

// Counts says what one call did.
type Counts struct {
	Include, Exclude, Empty int // left out: matched no include, matched an exclude, empty
	Undecodable             int // records of which something could not be decoded
	Masked                  int // records in which something was replaced
	Cut, Dropped            int // longer than the bound after decoding or masking
}

// Shape is a Config made ready. It may be used from several goroutines.
type Shape struct {
	charset          *frame.Charset
	raw              bool
	include, exclude []*frame.Pattern
	dropEmpty        bool
	masks            []mask
	maxBytes         int
	dropLong         bool
}

// New compiles cfg. It returns nil for one that leaves everything as it is.
func New(cfg Config) (*Shape, error) {
	s := &Shape{charset: cfg.Charset, raw: cfg.Raw, dropEmpty: cfg.DropEmpty, maxBytes: cfg.MaxBytes, dropLong: cfg.DropLong}
	var err error
	if s.include, err = compile(cfg.Include); err != nil {
		return nil, fmt.Errorf("include: %w", err)
	}
	if s.exclude, err = compile(cfg.Exclude); err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	for _, m := range cfg.Mask {
		re, err := regexp.Compile(m.Pattern)
		if err != nil {
			return nil, fmt.Errorf("mask: %w", err)
		}
		s.masks = append(s.masks, mask{re: re, replace: []byte(m.Replace), plain: !strings.Contains(m.Replace, "$")})
	}
	if len(s.include)+len(s.exclude)+len(s.masks) == 0 && !s.dropEmpty && s.charset == nil {
		return nil, nil
	}
	return s, nil
}

// Reason says why a record is left out.
type Reason string

// The reasons, as metrics name them.
const (
	Kept    Reason = ""        // it is not left out
	Include Reason = "include" // it matches no include pattern
	Exclude Reason = "exclude" // it matches an exclude pattern
	Empty   Reason = "empty"   // it holds nothing but white space
	Long    Reason = "long"    // it is too long once it is decoded and masked
)

// judge says whether a value is left out, why, and by which exclude pattern.
func (s *Shape) judge(value []byte) (why Reason, pattern string) {
	if s.dropEmpty && len(bytes.TrimSpace(value)) == 0 {
		return Empty, ""
	}
	if len(s.include) > 0 && find(s.include, value) < 0 {
		return Include, ""
	}
	if i := find(s.exclude, value); i >= 0 {
		return Exclude, s.exclude[i].String()
	}
	return Kept, ""
}

// Apply decodes, leaves out and replaces, in the array of recs, which were cut
// from a file of this unit. Values that it makes stand in space, and are good
// until that is reset.
func (s *Shape) Apply(recs []record.Record, unit frame.Unit, space *Space) ([]record.Record, Counts) {
	var c Counts
	out := recs[:0]
	for i := range recs {
		r := recs[i]
		if why, _ := s.One(&r, unit, space, &c); why == Kept {
			out = append(out, r)
		}
	}
	clear(recs[len(out):])
	return out, c
}

// One is Apply for one record, and says why it is left out, and by which
// exclude pattern. The value of one that is left out is decoded and not masked.
func (s *Shape) One(r *record.Record, unit frame.Unit, space *Space, c *Counts) (why Reason, pattern string) {
	length := len(r.Value)
	if s.charset != nil && !s.charset.Same(r.Value) {
		s.decode(r, unit, space, c)
	}
	switch why, pattern = s.judge(r.Value); why {
	case Include:
		c.Include++
	case Exclude:
		c.Exclude++
	case Empty:
		c.Empty++
	default:
		whole := len(s.masks) == 0 || s.mask(r, space, c)
		if (!whole || len(r.Value) > s.maxBytes) && !s.bound(r, length, c) {
			return Long, ""
		}
	}
	return why, pattern
}

// decode makes r.Value UTF-8.
func (s *Shape) decode(r *record.Record, unit frame.Unit, space *Space, c *Counts) {
	text, whole := s.charset.Append(space.Open(len(r.Value)*3/2), r.Value, unit, r.Extra.Has(record.HeaderTruncated))
	if !whole {
		c.Undecodable++
		if s.raw {
			r.Extra = r.Extra.With(record.HeaderEncoding, []byte(s.charset.Name()))
			return
		}
	}
	r.Value = space.Close(text)
}

// cutMargin is how much of its end a record loses that was cut before the last
// mask saw it: a secret that began there was not seen whole, and so not recognised.
const cutMargin = 1 << 10

// mask replaces in r. whole is false when it did not come to the end.
func (s *Shape) mask(r *record.Record, space *Space, c *Counts) (whole bool) {
	value, changed := r.Value, false
	whole, cut := true, r.Extra.Has(record.HeaderTruncated)
	for i := range s.masks {
		cut = cut || !whole // by a mask before this one
		next, found, all := s.masks[i].apply(value, s.maxBytes, space)
		value, changed, whole = next, changed || found, whole && all
	}
	if changed {
		c.Masked++
	}
	if cut {
		value = value[:len(value)-min(cutMargin, len(value)/2)]
	}
	r.Value = value
	return whole
}

// bound cuts r, which had this length before, or marks what is cut already.
// It returns false when r is to be dropped.
func (s *Shape) bound(r *record.Record, length int, c *Counts) bool {
	if !r.Extra.Has(record.HeaderTruncated) {
		if s.dropLong {
			c.Dropped++
			return false
		}
		c.Cut++
		r.Extra = r.Extra.With(record.HeaderTruncated, strconv.AppendInt(nil, int64(length), 10))
	}
	n := min(len(r.Value), s.maxBytes)
	for back := 0; n > 0 && n < len(r.Value) && back < utf8.UTFMax && !utf8.RuneStart(r.Value[n]); back++ {
		n--
	}
	r.Value = r.Value[:n]
	return true
}

func compile(patterns []string) ([]*frame.Pattern, error) {
	var list []*frame.Pattern
	for _, text := range patterns {
		p, err := frame.Compile(text)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// find returns which of the patterns matches first in their order; -1: none.
func find(list []*frame.Pattern, value []byte) int {
	return slices.IndexFunc(list, func(p *frame.Pattern) bool { return p.Match(value) })
}

// Space holds the values that were made for the records of one batch.
type Space = frame.Space
