package dissect

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func find(t *testing.T, pattern, text string) (string, bool) {
	t.Helper()
	p, err := Compile(pattern)
	require.NoError(t, err)
	fields, ok := p.Find(nil, []byte(text))
	if !ok {
		return "", false
	}
	var list []string
	for i, name := range p.Names() {
		list = append(list, name+"="+string(fields[i]))
	}
	return strings.Join(list, "|"), true
}

func TestFieldsAreWhatStandsBetweenTheTextsOfThePattern(t *testing.T) {
	for _, c := range []struct{ pattern, text, want string }{
		{"%{a}", "all of it", "a=all of it"},
		{"%{a} %{b}", "1 2 3", "a=1|b=2 3"},
		{"<%{a}> %{b}.", "<1> x y.z", "a=1|b=x y"},
		{`%{client} - %{user} [%{time}] "%{method} %{path} %{?proto}" %{status} %{}`, `10.0.0.1 - - [01/Mar/2026:08:00:01 +0100] "GET /a HTTP/1.1" 200 17`,
			"client=10.0.0.1|user=-|time=01/Mar/2026:08:00:01 +0100|method=GET|path=/a|status=200"},
		{"%{level->} %{text}", "WARN    disk", "level=WARN|text=disk"},
		{"%{a->}  %{b}", "1    2", "a=1|b=2"},
		{"%{http.status}:%{user-id}", "5:6", "http.status=5|user-id=6"},
		{"%{a} %{b}", " x", "a=|b=x"},
		{"%{a}=%{b}", "=", "a=|b="},
	} {
		got, ok := find(t, c.pattern, c.text)
		require.True(t, ok, c.pattern)
		require.Equal(t, c.want, got)
	}
	for _, c := range [][2]string{{"<%{a}>", "1>"}, {"<%{a}>", "<1"}, {"%{a} %{b}", "one"}, {"x%{a}", ""}} {
		_, ok := find(t, c[0], c[1])
		require.False(t, ok, c)
	}
}

func TestAPatternThatCannotBeMeantIsRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		"":              `"" has no %{name}; write one where a field is`,
		"no field":      `"no field" has no %{name}; write one where a field is`,
		"%{a}%{b}":      `%{a}%{b} have nothing between them that tells where the first one ends; write the text that does`,
		"%{a} %{b":      `"%{a} %{b" has a %{ that is never closed; write %{name}`,
		"%{a b}":        `"a b" is no name of a field; use letters, digits, dots, _ and -`,
		"%{a} %{a}":     `%{a} is there twice; rename one`,
		"%{} %{?other}": `"%{} %{?other}" names no field; write %{name} where one is`,
	} {
		_, err := Compile(pattern)
		require.EqualError(t, err, want)
	}
}

func FuzzFind(f *testing.F) {
	f.Add(`%{a} - [%{b->}] %{?c} "%{d}"`, `1 - [2] 3 "4"`)
	f.Add("%{a}", "")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := Compile(pattern)
		if err != nil {
			return
		}
		fields, ok := p.Find(nil, []byte(text))
		if !ok {
			return
		}
		require.Len(t, fields, len(p.Names()))
		total := 0
		for _, v := range fields {
			total += len(v)
			require.Contains(t, text, string(v))
		}
		require.LessOrEqual(t, total, len(text))
	})
}
