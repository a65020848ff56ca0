// Package dissect takes fields out of a text by the plain text between them:
//
//	%{client} - %{user} [%{time}] "%{request}" %{status} %{bytes}
//
// A field ends where the text behind it in the pattern stands for the first
// time; the last one may end with the text. %{} and %{?name} pass over a part,
// and %{name->} also over repetitions of what stands behind it.
package dissect

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// Pattern is a pattern made ready. It may be used from several goroutines.
type Pattern struct {
	prefix []byte
	parts  []part
	names  []string
}

type part struct {
	name  int // of names; -1: passed over
	until []byte
	again bool // what until is may stand there several times
}

var (
	nameRule = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	key      = regexp.MustCompile(`%\{([^{}]*)\}`)
)

// Compile makes a pattern. Its error names what is wrong and what to write
// instead.
func Compile(text string) (*Pattern, error) {
	p := &Pattern{}
	keys := key.FindAllStringSubmatchIndex(text, -1)
	if len(keys) == 0 {
		return nil, fmt.Errorf("%q has no %%{name}; write one where a field is", text)
	}
	p.prefix = []byte(text[:keys[0][0]])
	for i, at := range keys {
		end := len(text)
		if i+1 < len(keys) {
			end = keys[i+1][0]
		}
		until := text[at[1]:end]
		if until == "" && i+1 < len(keys) {
			return nil, fmt.Errorf("%s%s have nothing between them that tells where the first one ends; write the text that does", text[at[0]:at[1]], text[keys[i+1][0]:keys[i+1][1]])
		}
		one := part{name: -1, until: []byte(until)}
		name := text[at[2]:at[3]]
		name, one.again = strings.CutSuffix(name, "->")
		if name != "" && name[0] != '?' {
			if !nameRule.MatchString(name) {
				return nil, fmt.Errorf("%q is no name of a field; use letters, digits, dots, _ and -", name)
			}
			for _, other := range p.names {
				if other == name {
					return nil, fmt.Errorf("%%{%s} is there twice; rename one", name)
				}
			}
			one.name = len(p.names)
			p.names = append(p.names, name)
		}
		p.parts = append(p.parts, one)
	}
	for _, rest := range append([]string{string(p.prefix)}, untils(p.parts)...) {
		if strings.Contains(rest, "%{") {
			return nil, fmt.Errorf("%q has a %%{ that is never closed; write %%{name}", text)
		}
	}
	if len(p.names) == 0 {
		return nil, fmt.Errorf("%q names no field; write %%{name} where one is", text)
	}
	return p, nil
}

func untils(parts []part) (list []string) {
	for _, p := range parts {
		list = append(list, string(p.until))
	}
	return list
}

// Names lists its fields.
func (p *Pattern) Names() []string { return p.names }

// Find appends the fields of text to dst, in the order of Names. ok is false,
// and nothing is certain, for a text that does not look like the pattern.
func (p *Pattern) Find(dst [][]byte, text []byte) (fields [][]byte, ok bool) {
	rest, ok := bytes.CutPrefix(text, p.prefix)
	if !ok {
		return dst, false
	}
	for i := range p.parts {
		one := &p.parts[i]
		value := rest
		if len(one.until) > 0 {
			at := bytes.Index(rest, one.until)
			if at < 0 {
				return dst, false
			}
			value, rest = rest[:at], rest[at+len(one.until):]
			for one.again && bytes.HasPrefix(rest, one.until) {
				rest = rest[len(one.until):]
			}
		}
		if one.name >= 0 {
			dst = append(dst, value)
		}
	}
	return dst, true
}
