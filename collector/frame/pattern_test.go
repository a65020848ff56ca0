package frame

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheFirstByteDecidesOnlyWhereItCan(t *testing.T) {
	for _, c := range []struct {
		text   string
		yes    string
		no     string
		always bool
	}{
		{`^\d`, "059", "a \x80é", false},
		{`^(?i)k`, "kK\xe2", "a", false}, // K has a fold beyond ASCII
		{`^(?:[ \t]|$|at )`, " \ta", "b", false},
		{`^.`, "a\x80\x00", "", false},
		{`^[^a]`, "b\xff", "a", false},
		{`^é`, "\xc3", "a", false},
		{`\d`, "", "", true},
		{`^a|b`, "", "", true},
		{`^a*`, "", "", true},
		{`(?m)^a`, "", "", true},
		{`^`, "", "", true},
	} {
		first := firstBytes(c.text)
		require.Equal(t, c.always, first == nil, c.text)
		for _, b := range []byte(c.yes) {
			require.True(t, first[b], "%s: %q", c.text, b)
		}
		for _, b := range []byte(c.no) {
			require.False(t, first[b], "%s: %q", c.text, b)
		}
	}
	for _, p := range presets() {
		require.NotNil(t, firstBytes(p), p)
	}
	_, err := Compile("(")
	require.Error(t, err)
}

// A pattern says what its regular expression says.
func FuzzPattern(f *testing.F) {
	for _, p := range presets() {
		f.Add(p, []byte("\tat x"))
	}
	for _, p := range []string{`^(?i)k`, `^(\d|$)`, `^\b`, `^\B`, `\Aé|^\x{212a}`, `^(?m:^a)`, `^(?s:.)b`, `^(a|)$`, `^(?m:$)`, `\x{fffd}`, `\x{d800}`, `text`, `^text$`, `(?i)text`, `te.xt`} {
		f.Add(p, []byte("K\xff"))
		f.Add(p, []byte("\nK\ufffd"))
	}
	f.Fuzz(func(t *testing.T, text string, line []byte) {
		re, err := regexp.Compile(text)
		if err != nil || len(text) > 200 {
			return
		}
		p, err := Compile(text)
		require.NoError(t, err)
		require.Equal(t, re.Match(line), p.Match(line), "%q", line)
	})
}
