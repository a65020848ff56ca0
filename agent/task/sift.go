package task

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Where says what a field of a record's text must be for the record to be
// sent. All that is set must hold.
type Where struct {
	Field      string   `yaml:"field" json:"field"`
	In         []string `yaml:"in,omitempty" json:"in,omitempty"`
	NotIn      []string `yaml:"not_in,omitempty" json:"not_in,omitempty"` // holds also without the field
	Matches    string   `yaml:"matches,omitempty" json:"matches,omitempty"`
	NotMatches string   `yaml:"not_matches,omitempty" json:"not_matches,omitempty"` // holds also without the field
}

// Sample says which share of the records is sent.
type Sample struct {
	Share float64 `yaml:"share" json:"share"`               // of all, more than 0 and less than 1
	By    string  `yaml:"by,omitempty" json:"by,omitempty"` // a template; records of which it makes the same are all sent, or none
}

// RateLimit says how many records are sent on one agent.
type RateLimit struct {
	LinesPerSecond int           `yaml:"lines_per_second,omitempty" json:"lines_per_second,omitempty"` // 0: any number
	BytesPerSecond ByteSize      `yaml:"bytes_per_second,omitempty" json:"bytes_per_second,omitempty"` // of the records' text; 0: any number
	Burst          time.Duration `yaml:"burst,omitempty" json:"burst,omitempty"`                       // for how long what is not used is saved up; 0: DefaultBurst
	WhenOver       WhenOver      `yaml:"when_over,omitempty" json:"when_over,omitempty"`               // empty: WaitWhenOver
}

// WhenOver says what happens to records beyond a rate.
type WhenOver string

const (
	WaitWhenOver WhenOver = "block" // they stay in their files until it is their turn (default)
	DropWhenOver WhenOver = "drop"  // they are counted and left out
)

// Values lists what when_over can be.
func (WhenOver) Values() []string { return []string{string(WaitWhenOver), string(DropWhenOver)} }

// DefaultBurst is for how long what a rate does not use is saved up.
const DefaultBurst = time.Second

// Drops reports whether records beyond the rate are left out.
func (r RateLimit) Drops() bool { return r.WhenOver == DropWhenOver }

// Saved is for how long what is not used is saved up.
func (r RateLimit) Saved() time.Duration { return cmp.Or(r.Burst, DefaultBurst) }

type plainRateLimit RateLimit

type jsonRateLimit struct {
	plainRateLimit
	Burst textDuration `json:"burst,omitempty"`
}

// MarshalJSON writes the burst as "2s".
func (r RateLimit) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonRateLimit{plainRateLimit(r), textDuration(r.Burst)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *RateLimit) UnmarshalJSON(data []byte) error {
	var j jsonRateLimit
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*r = RateLimit(j.plainRateLimit)
	r.Burst = time.Duration(j.Burst)
	return nil
}

// Bounds of what a task can choose by.
const (
	maxWhere      = 32
	maxWhereWords = 1000
	leastBytes    = ByteSize(1 << 10)
	longestBurst  = time.Hour
)

func (c *checker) where(list []Where, fields *Fields) {
	if len(list) > maxWhere {
		c.add("filter.where", "has %d entries, the limit is %d; put some into one pattern with |", len(list), maxWhere)
		return
	}
	for i, w := range list {
		key := fmt.Sprintf("filter.where[%d]", i)
		switch name, _ := strings.CutPrefix(w.Field, "fields."); {
		case w.Field == "":
			c.add(key, "lacks field; name a field of the text, such as level")
		case strings.ContainsAny(w.Field, "{}$%"):
			c.add(key+".field", "%q is a template, and a name is wanted; write level for {{.fields.level}}", w.Field)
		case !fieldRule.MatchString(w.Field):
			c.add(key+".field", "%q is no name of a field; use letters, digits, _, - and .", w.Field)
		case name != w.Field && fields != nil && fields.Format != FieldsJSON:
			c.add(key+".field", "%q begins with fields.; write %s", w.Field, name)
		default:
			c.field(key+".field", w.Field, fields)
		}
		if len(w.In)+len(w.NotIn) == 0 && w.Matches == "" && w.NotMatches == "" {
			c.add(key, "says nothing of the field; write at least one of in, not_in, matches and not_matches")
		}
		if len(w.In)+len(w.NotIn) > maxWhereWords {
			c.add(key, "has %d texts, the limit is %d; use a pattern", len(w.In)+len(w.NotIn), maxWhereWords)
		}
		for _, text := range w.In {
			if slices.Contains(w.NotIn, text) {
				c.add(key, "%q is in in and in not_in; remove it from one", text)
			}
			if text == "" {
				c.add(key+".in", "holds an empty text, and an empty field is none; take it out")
			}
		}
		if w.Matches != "" {
			c.regexp(key+".matches", w.Matches)
		}
		if w.NotMatches != "" {
			c.regexp(key+".not_matches", w.NotMatches)
		}
	}
}

func (c *checker) sample(s *Sample, fields *Fields) {
	if s == nil {
		return
	}
	switch {
	case s.Share == 0:
		c.add("filter.sample.share", "is missing or 0; write the share that is sent, such as 0.1 for a tenth")
	case !(s.Share > 0 && s.Share < 1):
		c.add("filter.sample.share", "%v is out of bounds; write a share between 0 and 1, such as 0.1 for a tenth", s.Share)
	}
	if len(s.By) > maxHeaderBytes {
		c.add("filter.sample.by", "is %d bytes long, the limit is %d", len(s.By), maxHeaderBytes)
		return
	}
	before := len(c.found)
	c.template("filter.sample.by", s.By, fields)
	if s.By != "" && !strings.Contains(s.By, "{{") && len(c.found) == before {
		c.add("filter.sample.by", "%q is the same for all records; name a field, such as {{.fields.trace_id}}", s.By)
	}
}

func (c *checker) rateLimit(r *RateLimit) {
	if r == nil {
		return
	}
	if r.LinesPerSecond == 0 && r.BytesPerSecond == 0 {
		c.add("filter.rate_limit", "bounds nothing; write at least one of lines_per_second and bytes_per_second")
	}
	if r.LinesPerSecond < 0 {
		c.add("filter.rate_limit.lines_per_second", "%d is negative; write a number of lines", r.LinesPerSecond)
	}
	if r.BytesPerSecond < 0 || r.BytesPerSecond > 0 && r.BytesPerSecond < leastBytes {
		c.add("filter.rate_limit.bytes_per_second", "%d bytes are out of bounds; write at least %s", int64(r.BytesPerSecond), leastBytes)
	}
	if r.Burst < 0 || r.Burst > longestBurst {
		c.add("filter.rate_limit.burst", "%s is out of bounds; write a duration of at most %s, such as 5s", r.Burst, longestBurst)
	}
	if r.WhenOver != "" && !slices.Contains(r.WhenOver.Values(), string(r.WhenOver)) {
		c.add("filter.rate_limit.when_over", "cannot be %q; use one of %s", r.WhenOver, strings.Join(r.WhenOver.Values(), ", "))
	}
}
