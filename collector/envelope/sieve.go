package envelope

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"logferry/collector/frame"
	"logferry/internal/record"
	"logferry/internal/timestamp"
)

// Where says what a field must be for a record to be sent. What is not set
// makes no difference.
type Where struct {
	Field      string
	In         []string // it is one of these
	NotIn      []string // it is none of these, or not there
	Matches    string   // RE2
	NotMatches string   // RE2; it does not match, or is not there
}

func (c *Config) sifts() bool {
	return len(c.Where) > 0 || c.Share > 0 || c.RateLimit != nil
}

// condition is a Where made ready. It may be used from several goroutines.
type condition struct {
	field       int
	in, notIn   map[string]bool
	match, none *frame.Pattern
}

func conditions(list []Where, names []string) (out []condition, err error) {
	for _, w := range list {
		c := condition{in: setOf(w.In), notIn: setOf(w.NotIn)}
		for i, name := range names {
			if name == w.Field {
				c.field = i
			}
		}
		for _, p := range []struct {
			text string
			to   **frame.Pattern
		}{{w.Matches, &c.match}, {w.NotMatches, &c.none}} {
			if p.text == "" {
				continue
			}
			if *p.to, err = frame.Compile(p.text); err != nil {
				return nil, fmt.Errorf("where %s: %w", w.Field, err)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

func setOf(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	set := make(map[string]bool, len(list))
	for _, text := range list {
		set[text] = true
	}
	return set
}

// holds reports whether the field is as it must be; nil is one that is not there.
func (c *condition) holds(value []byte) bool {
	switch {
	case value == nil:
		return c.in == nil && c.match == nil
	case c.in != nil && !c.in[string(value)], c.notIn != nil && c.notIn[string(value)]:
		return false
	}
	return (c.match == nil || c.match.Match(value)) && (c.none == nil || !c.none.Match(value))
}

// sieve chooses the records of one file that are sent. It belongs to one
// goroutine.
type sieve struct {
	e    *Envelope
	most uint32 // the greatest hash of a record that is sent
	seed uint32 // of the file's path
	buf  [8]byte
}

func (e *Envelope) newSieve(src *record.Source) *sieve {
	return &sieve{e: e, most: uint32(e.cfg.Share * math.MaxUint32), seed: crc32.Checksum([]byte(src.Path), castagnoli)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// passes reports whether a record is sent, and counts why not. Its fields are
// in f.values.
func (f *Form) passes(k *kind, r *record.Record, at time.Time, counts *Counts) bool {
	e := f.sieve.e
	for i := range e.where {
		if c := &e.where[i]; !c.holds(f.values.list[c.field]) {
			counts.Where++
			return false
		}
	}
	if e.cfg.Share > 0 && !f.chosen(k, r, at) {
		counts.Sample++
		return false
	}
	if l := e.cfg.RateLimit; l != nil && !l.Take(len(r.Value)) {
		counts.Rate++
		return false
	}
	return true
}

// chosen is the same for a record whenever it is read. By a template, it is
// the same for all records of which that makes the same, on every agent.
func (f *Form) chosen(k *kind, r *record.Record, at time.Time) bool {
	by := k.by.same
	if k.by.ops != nil {
		var whole bool
		if f.scratch, whole = f.fill(f.scratch[:0], k.by.ops, r, at); whole {
			by = f.scratch
		}
	}
	if len(by) > 0 {
		return mix(crc32.Checksum(by, castagnoli)) <= f.sieve.most
	}
	s := f.sieve
	binary.LittleEndian.PutUint64(s.buf[:], uint64(r.Offset))
	return mix(crc32.Update(crc32.Update(s.seed, castagnoli, s.buf[:]), castagnoli, r.Value)) <= s.most
}

// mix spreads a checksum over all numbers: the end of the 32-bit hash of
// MurmurHash3.
func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// clock gives records the time that a field of theirs tells. It belongs to one
// goroutine.
type clock struct {
	times *timestamp.Reader
	field int

	text string // what was read last: many records are of the same second
	at   time.Time
	ok   bool
}

// ahead is how much later than the host's clock a time can be: brokers refuse
// records of the future.
const ahead = time.Minute

// stamp sets a record's time, or leaves it as it is and counts that.
func (c *clock) stamp(r *record.Record, fields [][]byte, read time.Time, space *frame.Space, counts *Counts) {
	at, ok := c.read(fields[c.field], read)
	if !ok {
		counts.Unparsed++
		return
	}
	if r.Extra == nil {
		r.Extra = space.Extra()
	}
	r.Extra.Time = at
}

func (c *clock) read(value []byte, read time.Time) (time.Time, bool) {
	if len(value) == 0 {
		return time.Time{}, false
	}
	if string(value) != c.text {
		c.text = string(value)
		c.at, c.ok = c.times.Parse(c.text, read)
	}
	return c.at, c.ok && c.at.Unix() >= 0 && c.at.Before(read.Add(ahead))
}
