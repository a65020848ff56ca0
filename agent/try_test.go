package agent

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
)

func try(t *testing.T, text, log string) (values, left []string) {
	t.Helper()
	decoded, err := task.DecodeOne([]byte("paths: [/a]\ntopic: t\n"+text), "f", "x")
	require.NoError(t, err)
	whole, err := Try(decoded, "host", "/a", strings.NewReader(log), func(r Trial) error {
		if r.LeftOut == "" {
			values = append(values, r.Value)
		} else {
			left = append(left, r.LeftOut+" "+r.Pattern)
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, whole)
	return values, left
}

func TestATrialShowsWhatWouldBeSentAndWhyTheRestWouldNot(t *testing.T) {
	sent, left := try(t, "", strings.Repeat("a\n", 5000)+"rest")
	require.Len(t, sent, 5001)
	require.Equal(t, "rest", sent[5000])
	require.Empty(t, left)

	sent, left = try(t, "long_lines: drop\nmax_line_bytes: 1KiB\nfilter: {drop_empty: true, exclude: [b], include: ['[ab]']}\n",
		"a\n\nb\nc\n"+strings.Repeat("a", 2000)+"\n")
	require.Equal(t, []string{"a"}, sent)
	require.Equal(t, []string{"empty ", "exclude b", "include ", "long "}, left)

	sent, _ = try(t, "encoding: utf-16\nmultiline: {continue: '^ '}\n", "\xfe\xff\x00a\x00\n\x00 \x00b\x00\n\x00c")
	require.Equal(t, []string{"a\n b", "c"}, sent)
}

func TestATrialOfTracesIsWhatTheCollectorMakesOfThem(t *testing.T) {
	for _, language := range []string{"java", "python", "go", "node", "ruby", "dotnet"} {
		log, err := os.ReadFile("../collector/tail/testdata/traces/" + language + ".log")
		require.NoError(t, err)
		want, err := os.ReadFile("../collector/tail/testdata/traces/" + language + ".want")
		require.NoError(t, err)
		sent, _ := try(t, "multiline: {preset: "+language+"}\n", string(log))
		require.Equal(t, strings.Split(strings.TrimSuffix(string(want), "\n"), "\n=====\n"), sent)
	}
}
