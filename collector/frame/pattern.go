package frame

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// Pattern is a regular expression that is asked of every line: most answers
// are given by the line's first byte, or by a search for plain text. It may be
// used from several goroutines.
type Pattern struct {
	re      *regexp.Regexp
	literal []byte     // its text when it is nothing but text
	first   *[256]bool // what a match can begin with; nil: anything, anywhere
}

// Compile makes a pattern of RE2 text.
func Compile(text string) (*Pattern, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &Pattern{re: re, literal: literal(text), first: firstBytes(text)}, nil
}

// MustCompile is Compile for texts that are known to be right.
func MustCompile(text string) *Pattern {
	p, err := Compile(text)
	if err != nil {
		panic(err)
	}
	return p
}

// String is the text that the pattern was made of.
func (p *Pattern) String() string { return p.re.String() }

// Match reports whether the line holds a match.
func (p *Pattern) Match(line []byte) bool {
	if p.literal != nil {
		return bytes.Contains(line, p.literal)
	}
	if p.first != nil && len(line) > 0 && !p.first[line[0]] {
		return false
	}
	return p.re.Match(line)
}

// literal is the text of a pattern that is nothing but text, and nil of any
// other: regexp.LiteralPrefix takes ^text$ for one, too.
func literal(text string) []byte {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil || tree.Op != syntax.OpLiteral || tree.Flags&syntax.FoldCase != 0 {
		return nil
	}
	for _, r := range tree.Rune {
		if r == utf8.RuneError || !utf8.ValidRune(r) { // the one stands for bytes that are no UTF-8, too, the others for nothing
			return nil
		}
	}
	return []byte(string(tree.Rune))
}

// firstBytes is what a line can begin with that matches; nil unless the
// pattern is bound to the line's beginning.
func firstBytes(text string) *[256]bool {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil || prog.StartCond()&syntax.EmptyBeginText == 0 {
		return nil
	}
	var first [256]bool
	seen := make([]bool, len(prog.Inst))
	todo := []uint32{uint32(prog.Start)}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[at] {
			continue
		}
		seen[at] = true
		switch i := &prog.Inst[at]; i.Op {
		case syntax.InstMatch:
			return nil // it needs no byte
		case syntax.InstAlt, syntax.InstAltMatch:
			todo = append(todo, i.Out, i.Arg)
		case syntax.InstCapture, syntax.InstNop:
			todo = append(todo, i.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(i.Arg)&syntax.EmptyEndText == 0 { // that holds on an empty line, which is always asked
				todo = append(todo, i.Out)
			}
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			for b := range utf8.RuneSelf {
				first[b] = first[b] || i.MatchRune(rune(b))
			}
			for b := utf8.RuneSelf; b < len(first); b++ {
				first[b] = first[b] || wide(i)
			}
		}
	}
	return &first
}

// wide reports whether a letter beyond ASCII may match, or a byte that is none.
func wide(i *syntax.Inst) bool {
	if i.Op == syntax.InstRuneAny || i.Op == syntax.InstRuneAnyNotNL {
		return true
	}
	for _, r := range i.Rune {
		if r >= utf8.RuneSelf {
			return true
		}
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if f >= utf8.RuneSelf {
				return true
			}
		}
	}
	return false
}
