package task

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATaskIsPausedAndResumedAsItIsWritten(t *testing.T) {
	for name, c := range map[string]struct{ text, paused, resumed string }{
		"yaml":             {"# web\npaths: [/a]\ntopic: t # here\n", "# web\npaths: [/a]\ntopic: t # here\npaused: true\n", "# web\npaths: [/a]\ntopic: t # here\n"},
		"without an end":   {"paths: [/a]\ntopic: t", "paths: [/a]\ntopic: t\npaused: true\n", "paths: [/a]\ntopic: t\n"},
		"json":             {`{"paths":["/a"],"topic":"t"}`, `{"paused": true, "paths":["/a"],"topic":"t"}`, `{"paths":["/a"],"topic":"t"}`},
		"json over lines":  {"{\n  \"paths\": [\"/a\"],\n  \"topic\": \"t\"\n}\n", "{\"paused\": true, \n  \"paths\": [\"/a\"],\n  \"topic\": \"t\"\n}\n", "{\"paths\": [\"/a\"],\n  \"topic\": \"t\"\n}\n"},
		"said to be false": {"paused: false # for now\npaths: [/a]\ntopic: t\n", "paused: true # for now\npaths: [/a]\ntopic: t\n", "paths: [/a]\ntopic: t\n"},
		"braces inside":    {"paths: [/a]\ntopic: t\nselect: {ids: [a]}\n", "paths: [/a]\ntopic: t\nselect: {ids: [a]}\npaused: true\n", "paths: [/a]\ntopic: t\nselect: {ids: [a]}\n"},
		"an end of text":   {"paths: [/a]\ntopic: t\n...\n", "paused: true\npaths: [/a]\ntopic: t\n...\n", "paths: [/a]\ntopic: t\n...\n"},
		"the last key":     {`{"topic":"t","paths":["/a"],"paused":false}`, `{"topic":"t","paths":["/a"],"paused":true}`, `{"topic":"t","paths":["/a"]}`},
		"nothing else":     {"topic: 'paused: true'\npaths: ['/paused: true, /a']\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			paused, err := WithPaused([]byte(c.text), "web", true)
			if c.paused == "" {
				require.Error(t, err, "the topic is not valid")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.paused, string(paused))
			again, err := WithPaused(paused, "web", true)
			require.NoError(t, err)
			require.Equal(t, c.paused, string(again))
			resumed, err := WithPaused(paused, "web", false)
			require.NoError(t, err)
			require.Equal(t, c.resumed, string(resumed))
		})
	}
}

func FuzzPause(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte(`{"paths":["/a, paused: true"],"topic":"t","paused":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		before, err := DecodeOne(data, "f", "web")
		for _, paused := range []bool{true, false} {
			text, changeErr := WithPaused(data, "web", paused)
			if err != nil {
				require.Error(t, changeErr)
				continue
			}
			if changeErr != nil {
				continue
			}
			after, err := DecodeOne(text, "f", "web")
			require.NoError(t, err)
			before.Paused = paused
			require.True(t, Equal(before, after))
		}
	})
}
