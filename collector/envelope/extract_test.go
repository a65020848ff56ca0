package envelope

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// taken is what a text holds of some fields.
func taken(t testing.TB, cfg Config, text string, names ...string) map[string]string {
	t.Helper()
	x, err := newExtractor(cfg, names)
	require.NoError(t, err)
	var v values
	x.take([]byte("{\"a\":1,\"b\":\"\\n\"} a=1 b=2"), &v) // what was there before makes no difference
	x.take([]byte(text), &v)
	got := map[string]string{}
	for i, name := range names {
		if v.list[i] != nil {
			got[name] = string(v.list[i])
		}
	}
	return got
}

func TestFieldsAreTakenOutOfTexts(t *testing.T) {
	jsonText, logfmt := Config{FieldFormat: JSONFields}, Config{FieldFormat: Logfmt}
	long := strings.Repeat("é", 2000)
	for _, c := range []struct {
		cfg  Config
		text string
		want map[string]string
	}{
		{jsonText, `{"a":"x","b":{"c":"y","d":{"e":-1.5e3}}}`, map[string]string{"a": "x", "b": `{"c":"y","d":{"e":-1.5e3}}`, "b.c": "y", "b.d.e": "-1.5e3"}},
		{jsonText, ` { "a" : true , "b" : [ 1, {"c":2} ] } `, map[string]string{"a": "true", "b": `[ 1, {"c":2} ]`}},
		{jsonText, `{"a":"say \"hi\"\u00e9","\u0062":{"c":"d"}}`, map[string]string{"a": `say "hi"é`, "b": `{"c":"d"}`, "b.c": "d"}},
		{jsonText, `{"b":{"c":1},"a":1,"a":"last","b":{"x":2}}`, map[string]string{"a": "last", "b": `{"x":2}`}},
		{jsonText, `{"a":null,"b":"","b.c":"no"}`, map[string]string{}},
		{jsonText, `{"a":"x"} trailing`, map[string]string{}},
		{jsonText, `{"a":"x"`, map[string]string{}},
		{jsonText, `{"a":01}`, map[string]string{}},
		{jsonText, `["a"]`, map[string]string{}},
		{jsonText, `no object`, map[string]string{}},
		{jsonText, strings.Repeat(`{"b":`, 100_000), map[string]string{}},
		{jsonText, `{"a":"` + long + `"}`, map[string]string{"a": long[:1024]}},
		{logfmt, `a=x b="say \"hi\"" b.c=y=z a= other`, map[string]string{"b": `say "hi"`, "b.c": "y=z"}},
		{logfmt, `ts=1 level=info a="x y"b=2 "quoted" =a b.c=é`, map[string]string{"a": "x y", "b": "2", "b.c": "é"}},
		{logfmt, `a=1 b="no end`, map[string]string{"a": "1"}},
		{logfmt, `a=1 b="no end\`, map[string]string{"a": "1"}},
		{logfmt, `a="\x1b[31mred\" \n" b=1`, map[string]string{"a": `\x1b[31mred\" \n`, "b": "1"}},
		{logfmt, "a=\"one\ttwo\nthree\" b=1", map[string]string{"a": "one\ttwo\nthree", "b": "1"}},
		{logfmt, `a="C:\dir" b=1`, map[string]string{"a": `C:\dir`, "b": "1"}},
		{Config{FieldPattern: `^(?P<a>\w+) (?:(?P<b>\d+)|x)`}, "GET 200", map[string]string{"a": "GET", "b": "200"}},
		{Config{FieldPattern: `^(?P<a>\w+) (?:(?P<b>\d+)|x)`}, "GET x", map[string]string{"a": "GET"}},
		{Config{FieldPattern: `^(?P<a>\w+) (?:(?P<b>\d+)|x)`}, "-", map[string]string{}},
	} {
		got := taken(t, c.cfg, c.text, "a", "b", "b.c", "b.d.e")
		require.Equal(t, c.want, got, "%.100s", c.text)
	}
}

func TestKeysAndHeadersAreMadeOfFieldsAndLeftOutWithoutThem(t *testing.T) {
	cfg := Config{
		Key: "{{.fields.user}}@{{.host}}", FieldFormat: JSONFields, JSON: []string{"message"},
		Headers: map[string]string{"level": "{{.fields.level}}", "a": "b", "z": "{{.fields.user}}/{{.fields.level}}"},
	}
	recs := []record.Record{{Value: []byte(`{"user":"u1","level":"info"}`)}, {Value: []byte(`{"level":"warn"}`)}, {Value: []byte("none")}}
	var space frame.Space
	form(t, cfg, "/a").Apply(recs, readAt, &space)
	require.Equal(t, "u1@node-1", string(recs[0].Extra.Key))
	require.Equal(t, []string{"a=b", "level=info", "z=u1/info"}, headersOf(recs[0]))
	require.Nil(t, recs[1].Extra.Key)
	require.Equal(t, []string{"a=b", "level=warn"}, headersOf(recs[1]))
	require.Equal(t, []string{"a=b"}, headersOf(recs[2]))
	require.Equal(t, `{"message":"{\"level\":\"warn\"}"}`, string(recs[1].Value))

	// A key of the path alone is made once, and a container's stream stays.
	recs = []record.Record{{Value: []byte("x")}, containerLine("y", 1, record.Stderr), {Value: []byte("z")}}
	form(t, Config{Key: "{{.kubernetes.pod}}"}, podPath).Apply(recs, readAt, &space)
	require.Same(t, recs[0].Extra, recs[2].Extra)
	require.Equal(t, "web-7d9c", string(recs[0].Extra.Key))
	require.Empty(t, recs[0].Extra.Headers)
	require.Equal(t, "web-7d9c", string(recs[1].Extra.Key))
	require.Equal(t, []string{"logferry.stream=stderr"}, headersOf(recs[1]))

	recs = recs[:1]
	recs[0].Extra = nil
	form(t, Config{Key: "{{.kubernetes.pod}}"}, "/a").Apply(recs, readAt, &space)
	require.Nil(t, recs[0].Extra.Key, "no key rather than an empty one")
	_, err := New(Config{Key: "{{.fields.a}}"})
	require.Error(t, err)
}

// Fields of JSON are what encoding/json finds.
func FuzzFields(f *testing.F) {
	for _, text := range []string{
		`{"a":"x","b":{"c":"y"}}`, `{"a":1,"a":{"c":2},"b":[{"c":1}]}`, `{"a":"\ud83d\ude00\n","b":null}`, `{"b":{"c":{},"c":""}}`, `{"b":{"c":-0.5E+7}} `, `{`, `{"a":"\x"}`, "{\"a\":\"\xff\"}", `{"a":1e,}`,
	} {
		f.Add([]byte(text))
	}
	x, err := newExtractor(Config{FieldFormat: JSONFields}, []string{"a", "b", "b.c"})
	require.NoError(f, err)
	lf, err := newExtractor(Config{FieldFormat: Logfmt}, []string{"a", "b", "b.c"})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text []byte) {
		var v values
		lf.take(text, &v) // it ends
		for _, value := range v.list {
			require.LessOrEqual(t, len(value), maxFieldBytes)
		}
		if strings.Count(string(text), "{")+strings.Count(string(text), "[") >= maxNesting || len(text) > maxFieldBytes/3 {
			return
		}
		x.take(text, &v)
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			want = nil
		}
		compare(t, want["a"], v.list[0])
		compare(t, want["b"], v.list[1])
		var inside map[string]json.RawMessage
		if json.Unmarshal(want["b"], &inside) != nil {
			inside = nil
		}
		compare(t, inside["c"], v.list[2])
	})
}

// compare holds a field against what encoding/json keeps of it.
func compare(t *testing.T, want json.RawMessage, got []byte) {
	t.Helper()
	var text string
	switch {
	case want == nil || string(want) == "null" || string(want) == `""`:
		require.Nil(t, got)
	case want[0] == '"':
		require.NoError(t, json.Unmarshal(want, &text))
		require.Equal(t, text, string([]rune(string(got))))
	default:
		require.Equal(t, string(want), string(got))
	}
	if utf8.Valid(want) {
		require.True(t, utf8.Valid(got))
	}
}

func BenchmarkFields(b *testing.B) {
	recs := make([]record.Record, 1300)
	for i := range recs {
		recs[i].Value = []byte(`{"time":"2026-03-01T08:00:01Z","level":"info","user":{"id":4711,"name":"ann"},"message":"GET /index.html","path":"/index.html","status":200,"bytes":1234}`)
	}
	work := make([]record.Record, len(recs))
	f := form(b, Config{Key: "{{.fields.user.id}}", FieldFormat: JSONFields}, podPath)
	var space frame.Space
	b.SetBytes(int64(len(recs) * len(recs[0].Value)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, recs)
		f.Apply(work, readAt, &space)
		space.Reset(512 << 10)
	}
}
