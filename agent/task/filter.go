package task

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// Filter says which records are sent, and what is replaced in them before they
// leave the host. Patterns are RE2 and match anywhere unless they are anchored. A
// record that is left out is counted, and moves the committed offset in its turn.
type Filter struct {
	Include   []string `yaml:"include,omitempty" json:"include,omitempty"`       // only records that match one of them
	Exclude   []string `yaml:"exclude,omitempty" json:"exclude,omitempty"`       // of these, none that matches one of them
	DropEmpty bool     `yaml:"drop_empty,omitempty" json:"drop_empty,omitempty"` // none of white space alone
	Mask      []Mask   `yaml:"mask,omitempty" json:"mask,omitempty"`             // applied in their order to what is left

	Where     []Where    `yaml:"where,omitempty" json:"where,omitempty"`           // of these, only records of which all hold
	Sample    *Sample    `yaml:"sample,omitempty" json:"sample,omitempty"`         // of these, a share
	RateLimit *RateLimit `yaml:"rate_limit,omitempty" json:"rate_limit,omitempty"` // of these, so many in a time
}

// Mask replaces every match of a pattern.
type Mask struct {
	Pattern string `yaml:"pattern" json:"pattern"`
	Replace string `yaml:"replace,omitempty" json:"replace,omitempty"` // $1 and ${name} are groups of the pattern, $$ is a $
}

// Bounds of what patterns a task can have.
const (
	maxPatterns     = 64
	maxPatternBytes = 4 << 10
	maxReplaceBytes = 256
	maxReferences   = 8
)

func (c *checker) filter(f *Filter, fields *Fields) {
	if f == nil {
		return
	}
	if len(f.Include)+len(f.Exclude)+len(f.Mask)+len(f.Where) == 0 && !f.DropEmpty && f.Sample == nil && f.RateLimit == nil {
		c.add("filter", "says nothing; write at least one of include, exclude, drop_empty: true, mask, where, sample and rate_limit, or take it out")
	}
	c.where(f.Where, fields)
	c.sample(f.Sample, fields)
	c.rateLimit(f.RateLimit)
	c.patterns("filter.include", f.Include)
	c.patterns("filter.exclude", f.Exclude)
	if len(f.Mask) > maxPatterns {
		c.add("filter.mask", "has %d entries, the limit is %d; join some patterns with |", len(f.Mask), maxPatterns)
		return
	}
	for i, m := range f.Mask {
		c.mask(fmt.Sprintf("filter.mask[%d]", i), m)
	}
}

func (c *checker) patterns(key string, list []string) {
	if len(list) > maxPatterns {
		c.add(key, "has %d entries, the limit is %d; join some patterns with |", len(list), maxPatterns)
		return
	}
	for i, p := range list {
		c.regexp(fmt.Sprintf("%s[%d]", key, i), p)
	}
}

// regexp compiles a pattern; nil if it is refused.
func (c *checker) regexp(key, pattern string) *regexp.Regexp {
	if pattern == "" {
		c.add(key, "is missing or empty and would match every line; write a pattern or remove it")
		return nil
	}
	if len(pattern) > maxPatternBytes {
		c.add(key, "is %d bytes long, the limit is %d; split it", len(pattern), maxPatternBytes)
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		c.add(key, "%s is not a valid pattern: %s", strconv.Quote(pattern), patternHelp(err))
		return nil
	}
	return re
}

// patternHelp says what is wrong with a pattern and what to write instead.
func patternHelp(err error) string {
	var wrong *syntax.Error
	if !errors.As(err, &wrong) {
		return err.Error() + "; use the syntax of RE2"
	}
	switch {
	case wrong.Code == syntax.ErrInvalidPerlOp && strings.HasPrefix(wrong.Expr, "(?"):
		return fmt.Sprintf("%s is unknown to RE2, which has no look-around; use include and exclude together, or a group", strconv.Quote(wrong.Expr))
	case wrong.Code == syntax.ErrInvalidEscape:
		return fmt.Sprintf("%s is unknown to RE2; write \\\\ for a backslash, and groups instead of back references", strconv.Quote(wrong.Expr))
	case wrong.Code == syntax.ErrMissingParen, wrong.Code == syntax.ErrUnexpectedParen, wrong.Code == syntax.ErrMissingBracket:
		return fmt.Sprintf("%s in %s; close it, or escape it with \\", wrong.Code, strconv.Quote(wrong.Expr))
	case wrong.Code == syntax.ErrMissingRepeatArgument:
		return fmt.Sprintf("nothing stands before %s; escape it with \\ to mean the sign itself", strconv.Quote(wrong.Expr))
	}
	return fmt.Sprintf("%s: %s; use the syntax of RE2", wrong.Code, strconv.Quote(wrong.Expr))
}

// reference is a group in a replacement, as regexp.Expand reads it.
var reference = regexp.MustCompile(`\$(?:\$|\{(\w+)\}|(\w+))?`)

func (c *checker) mask(key string, m Mask) {
	re := c.regexp(key+".pattern", m.Pattern)
	if re == nil {
		return
	}
	if re.MatchString("") {
		c.add(key+".pattern", "%q matches the empty text, so it would be put between all letters; make a part of it that is needed, such as \\S+ instead of \\S*", m.Pattern)
	}
	if len(m.Replace) > maxReplaceBytes {
		c.add(key+".replace", "is %d bytes long, the limit is %d", len(m.Replace), maxReplaceBytes)
	}
	references := reference.FindAllStringSubmatch(m.Replace, -1)
	if len(references) > maxReferences {
		c.add(key+".replace", "names more than %d groups", maxReferences)
	}
	for _, r := range references {
		name := r[1] + r[2]
		n, err := strconv.Atoi(name)
		known := err == nil && n <= re.NumSubexp() || err != nil && name != "" && re.SubexpIndex(name) >= 0
		switch {
		case r[0] == "$$" || known:
		case r[0] == "$":
			c.add(key+".replace", "%q holds a $ that names no group; write $$ for a $", m.Replace)
		default:
			c.add(key+".replace", "%q names %s, which is no group of the pattern; write ${1}text where text follows a number, and $$ for a $", m.Replace, r[0])
		}
	}
}
