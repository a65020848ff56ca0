package task

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const multilineHead = "paths: [/a]\ntopic: t\nmultiline:\n"

func TestMultilineIsDecodedAndShownAsItWasWritten(t *testing.T) {
	got, err := DecodeOne([]byte(multilineHead+"  start: '^\\d'\n  end: ';$'\n  timeout: 5s\n  max_lines: 10\n  max_bytes: 64KiB\n"), "f", "x")
	require.NoError(t, err)
	require.Equal(t, &Multiline{Start: `^\d`, End: ";$", Timeout: 5 * time.Second, MaxLines: 10, MaxBytes: 64 << 10}, got.Multiline)
	text, err := json.Marshal(got)
	require.NoError(t, err)
	require.Contains(t, string(text), `"timeout":"5s"`)
	again, err := DecodeOne(text, "f", "x")
	require.NoError(t, err)
	require.Equal(t, got, again)
	var same Task
	require.NoError(t, json.Unmarshal(text, &same))
	require.True(t, Equal(got, same))
}

func TestMultilineThatCannotBeMeantIsRefusedWithItsLineAndARemedy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"  timeout: 1s\n", `f:3: multiline: says nothing; write one of start, continue, end and preset`},
		{"  preset: java\n  start: a\n", `f:4: multiline.preset: stands for patterns; use it or start, continue and end, not both`},
		{"  preset: cobol\n", `f:4: multiline.preset: cannot be "cobol"; use one of java, python, go, node, ruby, dotnet`},
		{"  start: '('\n", "f:4: multiline.start: \"(\" is not a valid pattern: missing closing ) in \"(\"; close it, or escape it with \\"},
		{"  preset: go\n  timeout: -1s\n", `f:5: multiline.timeout: -1s is negative; leave it out for 2s`},
		{"  preset: go\n  max_lines: -1\n", `f:5: multiline.max_lines: -1 is negative; leave it out for 500`},
		{"  preset: go\n  max_bytes: 2MiB\n", `f:5: multiline.max_bytes: 2MiB is out of bounds; it must not be more than max_line_bytes, 1MiB, which bounds every record`},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, err := DecodeOne([]byte(multilineHead+c.text), "f", "x")
			require.EqualError(t, err, c.want)
		})
	}
}
