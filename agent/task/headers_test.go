package task

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const recordHead = "paths: [/a]\ntopic: t\n"

func TestWhatRecordsCarryIsRead(t *testing.T) {
	got, err := DecodeOne([]byte(recordHead+`
value: json
value_fields: [message, labels]
timestamp: read
headers:
  env: prod
  x.pod: "{{.kubernetes.namespace}}/{{ .kubernetes.pod }}"
  zone: '{{.labels.zone}}'
  user: '{{.fields.http.user-id}}'
  app: '{{.kubernetes.labels.app.kubernetes.io/name}} {{.kubernetes.annotations.team}}'
fields: {format: logfmt}
key: '{{.fields.http.user-id}}-{{.host}}'
`), "f", "x")
	require.NoError(t, err)
	require.Equal(t, ValueJSON, got.Value)
	require.Equal(t, []string{"message", "labels"}, got.ValueFields)
	require.Equal(t, TimestampRead, got.Timestamp)
	require.Equal(t, &Fields{Format: FieldsLogfmt}, got.Fields)
	require.Equal(t, Key("{{.fields.http.user-id}}-{{.host}}"), got.Key)
	require.Equal(t, map[string]string{"env": "prod", "x.pod": "{{.kubernetes.namespace}}/{{ .kubernetes.pod }}", "zone": "{{.labels.zone}}", "user": "{{.fields.http.user-id}}", "app": "{{.kubernetes.labels.app.kubernetes.io/name}} {{.kubernetes.annotations.team}}"}, got.Headers)
}

func TestWhatRecordsCannotCarryIsRefusedWithItsLineAndARemedy(t *testing.T) {
	many := "headers:\n"
	for i := range 33 {
		many += fmt.Sprintf("  h%d: a\n", i)
	}
	for _, c := range []struct{ text, want string }{
		{"value: jsn\n", `f:3: value cannot be "jsn"; did you mean "json"?`},
		{"timestamp: now\n", `f:3: timestamp cannot be "now"; use one of container, read, parsed`},
		{"value_fields: [message]\n", `f:3: value_fields: is used with value: json only; set that or remove value_fields`},
		{"value: json\nvalue_fields: [message, ofset]\n", `f:4: value_fields: "ofset" is unknown; did you mean offset?`},
		{"value: json\nvalue_fields: [message, offset, offset]\n", `f:4: value_fields: "offset" is there twice; remove one`},
		{"value: json\nvalue_fields: [offset]\n", `f:4: value_fields: lacks message, so the line itself would not be sent; add it`},
		{"value: json\nvalue_field: [offset]\n", `f:4: unknown key "value_field"; did you mean "value_fields"?`},
		{"headers:\n  a: b\n  pod: '{{.kubernetes.pood}}'\n", `f:5: headers.pod: "kubernetes.pood" is unknown; did you mean kubernetes.pod?`},
		{"headers:\n  a: '{{.nothing}}'\n", `f:4: headers.a: "nothing" is unknown; use one of time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME, fields.NAME, kubernetes.labels.NAME, kubernetes.annotations.NAME`},
		{"headers:\n  a: '{{.kubernetes.labels.a b}}'\n", `f:4: headers.a: "{{.kubernetes.labels.a b}}" holds {{ or }} without the other; write {{.NAME}}`},
		{"headers:\n  a: '{{.kubernetes.label.app}}'\n", `f:4: headers.a: "kubernetes.label.app" is unknown; did you mean kubernetes.labels.app?`},
		{"headers:\n  a: '{{host}}'\n", `f:4: headers.a: "{{host}}" lacks a dot; write {{.host}}`},
		{"headers:\n  a: 'x{{.host}'\n", `f:4: headers.a: "x{{.host}" holds {{ or }} without the other; write {{.NAME}}`},
		{"fields: {format: json}\nheaders:\n  a: '{{fields.user}}'\n", `f:5: headers.a: "{{fields.user}}" lacks a dot; write {{.fields.user}}`},
		{"headers:\n  x: '${hots}'\n", `f:4: headers.x: "${hots}" is no field and would be sent as text; did you mean {{.host}}?`},
		{"headers:\n  x: 'a-${labels.env}-b'\n", `f:4: headers.x: "${labels.env}" is no field and would be sent as text; did you mean {{.labels.env}}?`},
		{"headers:\n  x: 'a ${host'\n", `f:4: headers.x: "${host" is no field and would be sent as text; did you mean {{.host}}?`},
		{"headers:\n  x: $host\n", `f:4: headers.x: "$host" is no field and would be sent as text; did you mean {{.host}}?`},
		{"headers:\n  x: '%{path}'\n", `f:4: headers.x: "%{path}" is no field and would be sent as text; did you mean {{.path}}?`},
		{"headers:\n  x: '{kubernetes.pdo}'\n", `f:4: headers.x: "{kubernetes.pdo}" is no field and would be sent as text; did you mean {{.kubernetes.pod}}?`},
		{"headers:\n  x: '{.host}'\n", `f:4: headers.x: "{.host}" is no field and would be sent as text; did you mean {{.host}}?`},
		{"headers:\n  x: '${whatever}'\n", `f:4: headers.x: "${whatever}" is no field and would be sent as text; write {{.NAME}} with one of time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME, fields.NAME, kubernetes.labels.NAME, kubernetes.annotations.NAME`},
		{"headers:\n  x: '{{.host}'\n", `f:4: headers.x: "{{.host}" holds {{ or }} without the other; write {{.NAME}}`},
		{"headers:\n  x: '{{.host} {{.path}}'\n", `f:4: headers.x: "{{.host} {{.path}}" holds {{ or }} without the other; write {{.NAME}}`},
		{"key: '${host}'\n", `f:3: key: "${host}" is no field and would be sent as text; did you mean {{.host}}?`},
		{"key: '{{.host}}-$path'\n", `f:3: key: "$path" is no field and would be sent as text; did you mean {{.path}}?`},
		{"headers:\n  a: '{{.}}'\n", `f:4: headers.a: "{{.}}" names nothing; write a name such as {{.host}}`},
		{"headers:\n  a: '{{.labels.}}'\n", `f:4: headers.a: "labels." is unknown; use one of time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME, fields.NAME, kubernetes.labels.NAME, kubernetes.annotations.NAME`},
		{"headers:\n  a: ''\n", `f:4: headers.a: is empty; write a text such as prod or {{.host}}, or remove it`},
		{"headers:\n  a b: c\n", `f:3: headers: "a b" is not a valid name; use 1 to 128 printable letters of ASCII, and no blanks`},
		{"headers:\n  logferry.x: c\n", `f:4: headers.logferry.x: begins with logferry., which is for what the agent says of a record; choose another name`},
		{"headers:\n  a: " + strings.Repeat("x", 2000) + "\n", `f:4: headers.a: is 2000 bytes long, the limit is 1024`},
		{"key: hots\n", `f:3: key: cannot be "hots"; did you mean host, or a template such as {{.kubernetes.pod}}`},
		{"key: '{{.kubernetes.pd}}'\n", `f:3: key: "kubernetes.pd" is unknown; did you mean kubernetes.pod?`},
		{"key: '{{.fields.user}}'\n", `f:3: key: names fields.user, and nothing says how fields are found; write fields: {format: json}, {format: logfmt}, {dissect: PATTERN} or {pattern: RE2}`},
		{"key: '{{.fields.user}}'\nfields: {format: jsn}\n", `f:4: fields.format cannot be "jsn"; did you mean "json"?`},
		{"key: '{{.fields.user}}'\nfields: {pattern: '('}\n", "f:4: fields.pattern: \"(\" is not a valid pattern: missing closing ) in \"(\"; close it, or escape it with \\"},
		{"key: '{{.fields.user}}'\nfields: {pattern: '(a)'}\n", `f:4: fields.pattern: "(a)" has no named group; write (?P<name>...) around what a field is`},
		{"key: '{{.fields.usr}}'\nfields: {pattern: '(?P<user>a)(b)'}\n", `f:3: key: "usr" is no group of fields.pattern; did you mean user?`},
		{"key: '{{.fields.a}}'\nfields: {pattern: '(?P<a>a)', format: json}\n", `f:4: fields: must hold exactly one of format, pattern and dissect`},
		{"key: '{{.fields.a..b}}'\nfields: {format: json}\n", `f:3: key: "fields.a..b" is unknown; use one of time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME, fields.NAME, kubernetes.labels.NAME, kubernetes.annotations.NAME`},
		{"fields: {format: json}\n", `f:3: fields: is not used; name a field in key, headers, topic, filter or parse_time, such as {{.fields.user}}, or remove fields`},
		{"fields: {take: json}\n", `f:3: unknown key "take" in fields; the keys here are format, pattern, dissect`},
		{many, `f:3: headers: has 33 entries, the limit is 32`},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, err := DecodeOne([]byte(recordHead+c.text), "f", "x")
			require.EqualError(t, err, c.want)
		})
	}
}

func TestTextsThatOnlyResembleFieldsAreTexts(t *testing.T) {
	for _, text := range []string{"5 $ off", "$5", "$HOME", "{}", "{1}", `{"env":"prod"}`, "a{b,c}", "100%", "{ x }", "{foo bar}", "{a: b}", "$$", "[host]", "<host>"} {
		got, err := DecodeOne([]byte(recordHead+"headers:\n  a: '"+text+"'\n"), "f", "x")
		require.NoError(t, err, text)
		require.Equal(t, text, got.Headers["a"])
	}
}

func TestTasksThatCarryTheSameAreEqual(t *testing.T) {
	require.True(t, Equal(Task{Value: ValueJSON}, Task{Value: ValueJSON, ValueFields: DefaultValueFields(), Headers: map[string]string{}, Timestamp: TimestampContainer}))
	require.False(t, Equal(Task{Headers: map[string]string{"a": "b"}}, Task{Headers: map[string]string{"a": "c"}}))
	require.False(t, Equal(Task{}, Task{Value: ValueJSON}))
}
