// Package shape decides which records are sent, and with which text: filters
// leave records out, masks replace what must not leave the host.
//
// It works on records that were cut already and keeps nothing between calls.
// A record that is not changed costs no copy.
package shape

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"

	"logferry/internal/record"
)

// Config says what to leave out and what to replace. All patterns are RE2.
type Config struct {
	Include   []string // a record must match one of them; none: all do
	Exclude   []string // a record that matches one of them is left out
	DropEmpty bool     // leave out records of white space alone
	Mask      []Mask   // applied in their order to what is left

	MaxBytes int  // longest value; one that masks have made longer is cut or dropped
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
	Masked                  int // records in which something was replaced
	Cut, Dropped            int // longer than the bound after masking
}

// Shape is a Config made ready. It may be used from several goroutines.
type Shape struct {
	include, exclude []matcher
	dropEmpty        bool
	masks            []mask
	maxBytes         int
	dropLong         bool
}

// New compiles cfg. It returns nil for one that leaves everything as it is.
func New(cfg Config) (*Shape, error) {
	s := &Shape{dropEmpty: cfg.DropEmpty, maxBytes: cfg.MaxBytes, dropLong: cfg.DropLong}
	var err error
	if s.include, err = matchers(cfg.Include); err != nil {
		return nil, fmt.Errorf("include: %w", err)
	}
	if s.exclude, err = matchers(cfg.Exclude); err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	for _, m := range cfg.Mask {
		re, err := regexp.Compile(m.Pattern)
		if err != nil {
			return nil, fmt.Errorf("mask: %w", err)
		}
		s.masks = append(s.masks, mask{re: re, replace: []byte(m.Replace), plain: !bytes.Contains([]byte(m.Replace), []byte("$"))})
	}
	if len(s.include)+len(s.exclude)+len(s.masks) == 0 && !s.dropEmpty {
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
)

// Judge says whether a value is left out, why, and by which exclude pattern.
func (s *Shape) Judge(value []byte) (why Reason, pattern string) {
	if s.dropEmpty && len(bytes.TrimSpace(value)) == 0 {
		return Empty, ""
	}
	if len(s.include) > 0 && find(s.include, value) < 0 {
		return Include, ""
	}
	if i := find(s.exclude, value); i >= 0 {
		return Exclude, s.exclude[i].re.String()
	}
	return Kept, ""
}

// Apply leaves out and replaces, in the array of recs. Values that it makes
// stand in space, and are good until that is reset.
func (s *Shape) Apply(recs []record.Record, space *Space) ([]record.Record, Counts) {
	var c Counts
	out := recs[:0]
	for i := range recs {
		r := recs[i]
		why, _ := s.Judge(r.Value)
		switch why {
		case Include:
			c.Include++
			continue
		case Exclude:
			c.Exclude++
			continue
		case Empty:
			c.Empty++
			continue
		}
		if len(s.masks) > 0 && !s.mask(&r, space, &c) {
			continue
		}
		out = append(out, r)
	}
	clear(recs[len(out):])
	return out, c
}

// cutMargin is how much of its end a record loses that was cut before it was
// masked: a secret that began there was not seen whole, and so not recognised.
const cutMargin = 1 << 10

// mask replaces in r. It returns false when r is to be dropped.
func (s *Shape) mask(r *record.Record, space *Space, c *Counts) bool {
	value, changed, whole := r.Value, false, true
	for i := range s.masks {
		next, found, all := s.masks[i].apply(value, s.maxBytes, space)
		value, changed, whole = next, changed || found, whole && all
	}
	if changed {
		c.Masked++
	}
	switch {
	case r.Extra.Has(record.HeaderTruncated):
		value = value[:len(value)-min(cutMargin, len(value)/2)]
	case !whole || len(value) > s.maxBytes:
		if s.dropLong {
			c.Dropped++
			return false
		}
		c.Cut++
		r.Extra = r.Extra.With(record.HeaderTruncated, strconv.AppendInt(nil, int64(len(r.Value)), 10))
	}
	value = value[:min(len(value), s.maxBytes)]
	r.Value = value
	return true
}

// matcher is a pattern; literal is its text when it is nothing but text.
type matcher struct {
	re      *regexp.Regexp
	literal []byte
}

func matchers(patterns []string) ([]matcher, error) {
	var list []matcher
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, err
		}
		m := matcher{re: re}
		if prefix, whole := re.LiteralPrefix(); whole {
			m.literal = []byte(prefix)
		}
		list = append(list, m)
	}
	return list, nil
}

// find returns which of the patterns matches first in their order; -1: none.
func find(list []matcher, value []byte) int {
	for i := range list {
		m := &list[i]
		if m.literal != nil && bytes.Contains(value, m.literal) || m.literal == nil && m.re.Match(value) {
			return i
		}
	}
	return -1
}
