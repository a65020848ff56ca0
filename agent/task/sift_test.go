package task

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatChoosesRecordsIsRead(t *testing.T) {
	got, err := DecodeOne([]byte(recordHead+`
fields: {dissect: '%{time} %{level->} %{trace} %{}'}
timestamp: parsed
parse_time: {field: time, layouts: ['%Y-%m-%d %H:%M:%S', unix_ms], timezone: Europe/Berlin}
filter:
  where:
    - {field: level, in: [ERROR, WARN], not_matches: '^X'}
    - {field: trace, not_in: [health], matches: '^[0-9a-f]+$'}
  sample: {share: 0.25, by: '{{.fields.trace}}'}
  rate_limit: {lines_per_second: 1000, bytes_per_second: 1MiB, burst: 5s, when_over: drop}
`), "f", "x")
	require.NoError(t, err)
	require.Equal(t, &Filter{
		Where:     []Where{{Field: "level", In: []string{"ERROR", "WARN"}, NotMatches: "^X"}, {Field: "trace", NotIn: []string{"health"}, Matches: "^[0-9a-f]+$"}},
		Sample:    &Sample{Share: 0.25, By: "{{.fields.trace}}"},
		RateLimit: &RateLimit{LinesPerSecond: 1000, BytesPerSecond: 1 << 20, Burst: 5 * time.Second, WhenOver: DropWhenOver},
	}, got.Filter)
	require.Equal(t, &ParseTime{Field: "time", Layouts: []string{"%Y-%m-%d %H:%M:%S", "unix_ms"}, Timezone: "Europe/Berlin"}, got.ParseTime)
	text, err := json.Marshal(got)
	require.NoError(t, err)
	require.Contains(t, string(text), `"burst":"5s"`)
	again, err := DecodeOne(text, "f", "x")
	require.NoError(t, err, string(text))
	require.True(t, Equal(got, again))
	require.True(t, Equal(Task{Filter: &Filter{RateLimit: &RateLimit{LinesPerSecond: 1}}}, Task{Filter: &Filter{RateLimit: &RateLimit{LinesPerSecond: 1, Burst: time.Second, WhenOver: WaitWhenOver}}}))
	require.False(t, Equal(Task{Filter: &Filter{RateLimit: &RateLimit{LinesPerSecond: 1}}}, Task{Filter: &Filter{RateLimit: &RateLimit{LinesPerSecond: 2}}}))
}

func TestWhatCannotChooseRecordsIsRefusedWithItsLineAndARemedy(t *testing.T) {
	const j = "fields: {format: json}\n"
	for _, c := range []struct{ text, want string }{
		{j + "filter: {where: [{field: level}]}\n", `f:4: filter.where[0]: says nothing of the field; write at least one of in, not_in, matches and not_matches`},
		{j + "filter: {where: [{in: [a]}]}\n", `f:4: filter.where[0]: lacks field; name a field of the text, such as level`},
		{j + "filter: {where: [{field: '{{.fields.level}}', in: [a]}]}\n", `f:4: filter.where[0].field: "{{.fields.level}}" is a template, and a name is wanted; write level for {{.fields.level}}`},
		{"filter: {where: [{field: level, in: [a]}]}\n", `f:3: filter.where[0].field: names fields.level, and nothing says how fields are found; write fields: {format: json}, {format: logfmt}, {dissect: PATTERN} or {pattern: RE2}`},
		{"fields: {dissect: '%{level} %{text}'}\nfilter: {where: [{field: levl, in: [a]}]}\n", `f:4: filter.where[0].field: "levl" is no field of fields.dissect; did you mean level?`},
		{j + "filter: {where: [{field: a, in: [a], not_in: [a]}]}\n", `f:4: filter.where[0]: "a" is in in and in not_in; remove it from one`},
		{j + "filter: {where: [{field: a, in: ['']}]}\n", `f:4: filter.where[0].in: holds an empty text, and an empty field is none; take it out`},
		{j + "filter: {where: [{field: a, matches: '('}]}\n", "f:4: filter.where[0].matches: \"(\" is not a valid pattern: missing closing ) in \"(\"; close it, or escape it with \\"},
		{j + "filter: {where: [{feild: a, in: [a]}]}\n", `f:4: unknown key "feild" in filter.where[0]; did you mean "field"?`},
		{"filter: {sample: {share: 1}}\n", `f:3: filter.sample.share: 1 is out of bounds; write a share between 0 and 1, such as 0.1 for a tenth`},
		{"filter: {sample: {share: .nan}}\n", `f:3: filter.sample.share: NaN is out of bounds; write a share between 0 and 1, such as 0.1 for a tenth`},
		{"filter: {sample: {by: '{{.host}}'}}\n", `f:3: filter.sample.share: is missing or 0; write the share that is sent, such as 0.1 for a tenth`},
		{"filter: {sample: {share: 0.1, by: trace}}\n", `f:3: filter.sample.by: "trace" is the same for all records; name a field, such as {{.fields.trace_id}}`},
		{"filter: {sample: {share: 0.1, by: '${host}'}}\n", `f:3: filter.sample.by: "${host}" is no field and would be sent as text; did you mean {{.host}}?`},
		{"filter: {sample: {rate: 0.1}}\n", `f:3: unknown key "rate" in filter.sample; the keys here are share, by`},
		{"filter: {rate_limit: {when_over: drop}}\n", `f:3: filter.rate_limit: bounds nothing; write at least one of lines_per_second and bytes_per_second`},
		{"filter: {rate_limit: {lines_per_second: -1}}\n", `f:3: filter.rate_limit.lines_per_second: -1 is negative; write a number of lines`},
		{"filter: {rate_limit: {bytes_per_second: 10}}\n", `f:3: filter.rate_limit.bytes_per_second: 10 bytes are out of bounds; write at least 1KiB`},
		{"filter: {rate_limit: {lines_per_second: 1, burst: 2h}}\n", `f:3: filter.rate_limit.burst: 2h0m0s is out of bounds; write a duration of at most 1h0m0s, such as 5s`},
		{"filter: {rate_limit: {lines_per_second: 1, burst: 0s}}\n", `f:3: filter.rate_limit.burst: must be more than 0; leave it out for the default`},
		{"filter: {rate_limit: {lines_per_second: 1, when_over: wait}}\n", `f:3: filter.rate_limit.when_over cannot be "wait"; use one of block, drop`},
		{"filter: {rate_limit: {lines_per_secnd: 1}}\n", `f:3: unknown key "lines_per_secnd" in filter.rate_limit; did you mean "lines_per_second"?`},
		{"timestamp: parsed\n", `f:3: timestamp: parsed needs parse_time; name the field, such as parse_time: {field: time}`},
		{j + "parse_time: {field: time}\n", `f:4: parse_time: is used with timestamp: parsed only; set that or remove parse_time`},
		{j + "timestamp: parsed\nparse_time: {layouts: [unix]}\n", `f:5: parse_time: lacks field; name a field of the text, such as time`},
		{j + "timestamp: parsed\nparse_time: {field: '{{.fields.a}}'}\n", `f:5: parse_time.field: "{{.fields.a}}" is no name of a field; write time for {{.fields.time}}`},
		{j + "timestamp: parsed\nparse_time: {field: a, layouts: [unx]}\n", `f:5: parse_time.layouts[0]: "unx" is no layout; did you mean unix?`},
		{j + "timestamp: parsed\nparse_time: {field: a, layouts: ['15:04:05']}\n", `f:5: parse_time.layouts[0]: "15:04:05" does not tell the day of the year; write a layout such as 2006-01-02 15:04:05 or %Y-%m-%d %H:%M:%S, or one of rfc3339, unix, unix_ms, unix_us, unix_ns`},
		{j + "timestamp: parsed\nparse_time: {field: a, timezone: Berlin}\n", `f:5: parse_time.timezone: timezone "Berlin" is unknown; write UTC, Local, or a name such as Europe/Berlin`},
		{"fields: {dissect: '%{a}%{b}'}\nkey: '{{.fields.a}}'\n", `f:3: fields.dissect: %{a}%{b} have nothing between them that tells where the first one ends; write the text that does`},
		{"fields: {dissect: '%{a}', format: json}\nkey: '{{.fields.a}}'\n", `f:3: fields: must hold exactly one of format, pattern and dissect`},
	} {
		_, err := DecodeOne([]byte(recordHead+c.text), "f", "x")
		require.EqualError(t, err, c.want, c.text)
	}
}
