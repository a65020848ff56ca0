package task

import (
	"fmt"

	"logferry/internal/timestamp"
)

// ParseTime says how a record's timestamp is read from its text.
type ParseTime struct {
	Field    string   `yaml:"field" json:"field"`                           // of the text
	Layouts  []string `yaml:"layouts,omitempty" json:"layouts,omitempty"`   // tried in their order: words, layouts of Go, or of strftime; none: rfc3339
	Timezone string   `yaml:"timezone,omitempty" json:"timezone,omitempty"` // of times that tell none; empty: UTC
}

const maxLayouts = 16

func (c *checker) parseTime(t Task) {
	p := t.ParseTime
	switch {
	case p == nil && t.Timestamp == TimestampParsed:
		c.add("timestamp", "parsed needs parse_time; name the field, such as parse_time: {field: time}")
	case p == nil:
	case t.Timestamp != TimestampParsed:
		c.add("parse_time", "is used with timestamp: parsed only; set that or remove parse_time")
	case p.Field == "":
		c.add("parse_time", "lacks field; name a field of the text, such as time")
	case !fieldRule.MatchString(p.Field):
		c.add("parse_time.field", "%q is no name of a field; write time for {{.fields.time}}", p.Field)
	case len(p.Layouts) > maxLayouts:
		c.add("parse_time.layouts", "has %d entries, the limit is %d", len(p.Layouts), maxLayouts)
	default:
		c.field("parse_time.field", p.Field, t.Fields)
		if _, err := timestamp.New(nil, p.Timezone); err != nil {
			c.add("parse_time.timezone", "%s", err)
		}
		for i, layout := range p.Layouts {
			if _, err := timestamp.New([]string{layout}, ""); err != nil {
				c.layout(fmt.Sprintf("parse_time.layouts[%d]", i), layout, err)
			}
		}
	}
}

func (c *checker) layout(key, layout string, err error) {
	if hint := didYouMean(layout, timestamp.Words()); len(layout) < 10 && hint[0] == 'd' {
		c.add(key, "%q is no layout; %s", layout, hint)
		return
	}
	c.add(key, "%s", err)
}
