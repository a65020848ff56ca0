// Package timestamp reads times as logs write them: by the layouts of Go and of
// strftime, as RFC 3339, and as numbers since 1970.
package timestamp

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the host may have none
)

// Words lists the layouts that have a name.
func Words() []string {
	return []string{"rfc3339", "unix", "unix_ms", "unix_us", "unix_ns"}
}

// units says how many nanoseconds a number of Words counts.
var units = map[string]int64{"unix": 1e9, "unix_ms": 1e6, "unix_us": 1e3, "unix_ns": 1}

// Reader reads times by some layouts. It may be used from several goroutines.
type Reader struct {
	layouts []layout
	zone    *time.Location
}

type layout struct {
	text   string
	unit   int64 // not 0: a number of so many nanoseconds
	noYear bool
}

// New makes a reader that tries layouts in their order. zone is that of times
// which tell none: empty for UTC, Local, or a name such as Europe/Berlin. Its
// errors name what is wrong and what to write instead.
func New(layouts []string, zone string) (*Reader, error) {
	if zone == "" {
		zone = "UTC"
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("timezone %q is unknown; write UTC, Local, or a name such as Europe/Berlin", zone)
	}
	if len(layouts) == 0 {
		layouts = []string{"rfc3339"}
	}
	r := &Reader{zone: loc}
	for _, text := range layouts {
		l, err := compile(text)
		if err != nil {
			return nil, err
		}
		r.layouts = append(r.layouts, l)
	}
	return r, nil
}

func compile(text string) (layout, error) {
	if unit := units[text]; unit > 0 {
		return layout{unit: unit}, nil
	}
	l := layout{text: text}
	switch {
	case text == "rfc3339":
		l.text = time.RFC3339
	case text == "%s":
		return layout{unit: units["unix"]}, nil
	case strings.Contains(text, "%"):
		var err error
		if l.text, err = fromStrftime(text); err != nil {
			return l, err
		}
	}
	at := time.Date(2006, time.November, 12, 1, 14, 15, 0, time.UTC)
	same := func(other time.Time) bool { return at.Format(l.text) == other.Format(l.text) }
	switch {
	case same(at.Add(24*time.Hour)) || same(at.AddDate(0, 1, 0)):
		return l, fmt.Errorf("%q does not tell the day of the year; write a layout such as 2006-01-02 15:04:05 or %%Y-%%m-%%d %%H:%%M:%%S, or one of %s", text, strings.Join(Words(), ", "))
	case same(at.Add(time.Hour)) || same(at.Add(12*time.Hour)):
		return l, fmt.Errorf("%q does not tell the hour of the day; add 15 or %%H, or PM or %%p beside an hour of twelve", text)
	}
	if _, err := time.Parse(l.text, at.Format(l.text)); err != nil {
		return l, fmt.Errorf("%q cannot be read back: %w", text, err)
	}
	l.noYear = same(at.AddDate(1, 0, 0))
	return l, nil
}

// strftime is what stands for a conversion in Go's layouts. Go takes fractions
// of a second behind the seconds by itself.
var strftime = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
	'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'j': "002", 'z': "-0700", 'Z': "MST",
	'T': "15:04:05", 'F': "2006-01-02", 'D': "01/02/06", 'R': "15:04", '%': "%",
}

var fractions = strings.NewReplacer("%S.%f", "%S", "%S,%f", "%S", "%S.%L", "%S", "%S,%L", "%S", "%T.%f", "%T", "%T,%f", "%T", "%T.%L", "%T", "%T,%L", "%T", "%:z", "%\x00")

func fromStrftime(text string) (string, error) {
	var out strings.Builder
	short := fractions.Replace(text)
	for i := 0; i < len(short); i++ {
		c := short[i]
		if c != '%' {
			if c != 'T' && c != 'Z' && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
				return "", fmt.Errorf("%q mixes %%conversions with letters or digits; write it as a layout of Go, with the time 2006-01-02 15:04:05", text)
			}
			out.WriteByte(c)
			continue
		}
		i++
		if i == len(short) {
			return "", fmt.Errorf("%q ends with %%; write %%%% for that sign", text)
		}
		if short[i] == 0 {
			out.WriteString("-07:00")
			continue
		}
		to, ok := strftime[short[i]]
		if !ok {
			return "", fmt.Errorf("%q: %%%c is unknown, or stands where it cannot; use %%Y %%m %%d %%H %%M %%S %%z and the like, and %%f behind %%S only", text, short[i])
		}
		out.WriteString(to)
	}
	return out.String(), nil
}

// Parse reads a time. What lacks a year is of the year that makes it the last
// one before near, or a day after it. ok is false for a text in no layout.
func (r *Reader) Parse(text string, near time.Time) (t time.Time, ok bool) {
	for i := range r.layouts {
		l := &r.layouts[i]
		if l.unit > 0 {
			if t, ok = number(text, l.unit); ok {
				return t, true
			}
			continue
		}
		t, err := time.ParseInLocation(l.text, text, r.zone)
		if err != nil || !known(t, r.zone) {
			continue
		}
		if l.noYear {
			t = lastBefore(t, near.In(r.zone))
		}
		return t, true
	}
	return time.Time{}, false
}

// known reports whether the zone of a time that was parsed has an offset that
// somebody told: Go makes one up for abbreviations that it does not know.
func known(t time.Time, zone *time.Location) bool {
	if t.Location() == zone || t.Location() == time.UTC || t.Location() == time.Local {
		return true
	}
	name, offset := t.Zone()
	return name == "" || name == "UTC" || name == "GMT" || offset != 0
}

// number reads a count with a fraction, without loss.
func number(text string, unit int64) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 0 || n > (1<<63-1)/unit || whole[0] == '+' {
		return time.Time{}, false
	}
	ns, part := n*unit, unit
	for i := range len(fraction) {
		c := fraction[i]
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		part /= 10
		if ns > 1<<63-1-int64(c-'0')*part {
			return time.Time{}, false
		}
		ns += int64(c-'0') * part
	}
	return time.Unix(0, ns), true
}

func lastBefore(t, near time.Time) time.Time {
	latest := near.Add(24 * time.Hour)
	for year := near.Year() + 1; ; year-- {
		at := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
		if !at.After(latest) && at.Day() == t.Day() || year < near.Year()-8 {
			return at
		}
	}
}
