package task

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const filterHead = "paths: [/a]\ntopic: t\nfilter:\n"

func TestAFilterIsDecoded(t *testing.T) {
	got, err := DecodeOne([]byte(filterHead+`  include: ['^\d']
  exclude: [DEBUG]
  drop_empty: true
  mask:
    - {pattern: '(?P<key>password=)\S+', replace: '${key}***'}
    - {pattern: '\d{16}'}
`), "f", "x")
	require.NoError(t, err)
	require.Equal(t, &Filter{Include: []string{`^\d`}, Exclude: []string{"DEBUG"}, DropEmpty: true, Mask: []Mask{
		{Pattern: `(?P<key>password=)\S+`, Replace: "${key}***"}, {Pattern: `\d{16}`},
	}}, got.Filter)
}

func TestAFilterThatCannotBeMeantIsRefusedWithItsLineAndARemedy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"  drop_empty: false\n", `f:3: filter: says nothing; write at least one of include, exclude, drop_empty: true, mask, where, sample and rate_limit, or take it out`},
		{"  include: [a, '(b']\n", "f:4: filter.include[1]: \"(b\" is not a valid pattern: missing closing ) in \"(b\"; close it, or escape it with \\"},
		{"  exclude:\n    - a\n    - '[b'\n", "f:6: filter.exclude[1]: \"[b\" is not a valid pattern: missing closing ] in \"[b\"; close it, or escape it with \\"},
		{"  exclude: ['(?!a)']\n", "f:4: filter.exclude[0]: \"(?!a)\" is not a valid pattern: \"(?!\" is unknown to RE2, which has no look-around; use include and exclude together, or a group"},
		{"  exclude: ['(a)\\1']\n", `f:4: filter.exclude[0]: "(a)\\1" is not a valid pattern: "\\1" is unknown to RE2; write \\ for a backslash, and groups instead of back references`},
		{"  exclude: ['*.log']\n", `f:4: filter.exclude[0]: "*.log" is not a valid pattern: nothing stands before "*"; escape it with \ to mean the sign itself`},
		{"  exclude: ['']\n", `f:4: filter.exclude[0]: is missing or empty and would match every line; write a pattern or remove it`},
		{"  exclude: ['" + strings.Repeat("a", 5000) + "']\n", `f:4: filter.exclude[0]: is 5000 bytes long, the limit is 4096; split it`},
		{"  mask:\n    - {pattern: 'a*'}\n", `f:5: filter.mask[0].pattern: "a*" matches the empty text, so it would be put between all letters; make a part of it that is needed, such as \S+ instead of \S*`},
		{"  mask: [{pattern: a, replace: $1}]\n", `f:4: filter.mask[0].replace: "$1" names $1, which is no group of the pattern; write ${1}text where text follows a number, and $$ for a $`},
		{"  mask: [{pattern: (a), replace: $1x}]\n", `f:4: filter.mask[0].replace: "$1x" names $1x, which is no group of the pattern; write ${1}text where text follows a number, and $$ for a $`},
		{"  mask: [{pattern: (a), replace: 5$}]\n", `f:4: filter.mask[0].replace: "5$" holds a $ that names no group; write $$ for a $`},
		{"  mask: [{replace: x}]\n", `f:4: filter.mask[0].pattern: is missing or empty and would match every line; write a pattern or remove it`},
		{"  mask: [{patern: x}]\n", `f:4: unknown key "patern" in filter.mask[0]; did you mean "pattern"?`},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, err := DecodeOne([]byte(filterHead+c.text), "f", "x")
			require.EqualError(t, err, c.want)
		})
	}
}

func TestAnEditedFilterIsAnotherTask(t *testing.T) {
	a := Task{Filter: &Filter{Exclude: []string{"a"}}}
	b := Task{Filter: &Filter{Exclude: []string{"a"}}}
	require.True(t, Equal(a, b))
	b.Filter.Exclude = []string{"b"}
	require.False(t, Equal(a, b))
}
