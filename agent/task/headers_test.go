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
`), "f", "x")
	require.NoError(t, err)
	require.Equal(t, ValueJSON, got.Value)
	require.Equal(t, []string{"message", "labels"}, got.ValueFields)
	require.Equal(t, TimestampRead, got.Timestamp)
	require.Equal(t, map[string]string{"env": "prod", "x.pod": "{{.kubernetes.namespace}}/{{ .kubernetes.pod }}", "zone": "{{.labels.zone}}"}, got.Headers)
}

func TestWhatRecordsCannotCarryIsRefusedWithItsLineAndARemedy(t *testing.T) {
	many := "headers:\n"
	for i := range 33 {
		many += fmt.Sprintf("  h%d: a\n", i)
	}
	for _, c := range []struct{ text, want string }{
		{"value: jsn\n", `f:3: value cannot be "jsn"; did you mean "json"?`},
		{"timestamp: now\n", `f:3: timestamp cannot be "now"; use one of container, read`},
		{"value_fields: [message]\n", `f:3: value_fields: is used with value: json only; set that or remove value_fields`},
		{"value: json\nvalue_fields: [message, ofset]\n", `f:4: value_fields: "ofset" is unknown; did you mean offset?`},
		{"value: json\nvalue_fields: [message, offset, offset]\n", `f:4: value_fields: "offset" is there twice; remove one`},
		{"value: json\nvalue_fields: [offset]\n", `f:4: value_fields: lacks message, so the line itself would not be sent; add it`},
		{"value: json\nvalue_field: [offset]\n", `f:4: unknown key "value_field"; did you mean "value_fields"?`},
		{"headers:\n  a: b\n  pod: '{{.kubernetes.pood}}'\n", `f:5: headers.pod: "kubernetes.pood" is unknown; did you mean kubernetes.pod?`},
		{"headers:\n  a: '{{.nothing}}'\n", `f:4: headers.a: "nothing" is unknown; use one of time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME`},
		{"headers:\n  a: '{{host}}'\n", `f:4: headers.a: "{{host}}" lacks a dot; write {{.host}}`},
		{"headers:\n  a: 'x{{.host}'\n", `f:4: headers.a: "x{{.host}" holds {{ or }} without the other; write {{.NAME}}`},
		{"headers:\n  a: '{{.}}'\n", `f:4: headers.a: "{{.}}" names nothing; write a name such as {{.host}}`},
		{"headers:\n  a: '{{.labels.}}'\n", `f:4: headers.a: "labels." is unknown; use one of time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME`},
		{"headers:\n  a: ''\n", `f:4: headers.a: is empty; write a text such as prod or {{.host}}, or remove it`},
		{"headers:\n  a b: c\n", `f:3: headers: "a b" is not a valid name; use 1 to 128 printable letters of ASCII, and no blanks`},
		{"headers:\n  logferry.x: c\n", `f:4: headers.logferry.x: begins with logferry., which is for what the agent says of a record; choose another name`},
		{"headers:\n  a: " + strings.Repeat("x", 2000) + "\n", `f:4: headers.a: is 2000 bytes long, the limit is 1024`},
		{many, `f:3: headers: has 33 entries, the limit is 32`},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, err := DecodeOne([]byte(recordHead+c.text), "f", "x")
			require.EqualError(t, err, c.want)
		})
	}
}

func TestTasksThatCarryTheSameAreEqual(t *testing.T) {
	require.True(t, Equal(Task{Value: ValueJSON}, Task{Value: ValueJSON, ValueFields: DefaultValueFields(), Headers: map[string]string{}, Timestamp: TimestampContainer}))
	require.False(t, Equal(Task{Headers: map[string]string{"a": "b"}}, Task{Headers: map[string]string{"a": "c"}}))
	require.False(t, Equal(Task{}, Task{Value: ValueJSON}))
}
