package agent

import (
	"fmt"
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

func TestATrialShowsTheLinesOfContainers(t *testing.T) {
	decoded, err := task.DecodeOne([]byte("paths: [/a]\ntopic: t\n"), "f", "x")
	require.NoError(t, err)
	for _, file := range []string{"cri-interleaved", "docker", "cri-partials", "cri-never-finished"} {
		log, err := os.ReadFile("../collector/tail/testdata/containers/" + file + ".log")
		require.NoError(t, err)
		want, err := os.ReadFile("../collector/tail/testdata/containers/" + file + ".want")
		require.NoError(t, err)
		var got strings.Builder
		_, err = Try(decoded, "host", "/var/log/pods/a_b_c/d/0.log", strings.NewReader(string(log)), func(r Trial) error {
			partial := r.Headers["logferry.partial"]
			if partial != "" {
				partial += " "
			}
			_, err := fmt.Fprintf(&got, "%d %s %s %s%q\n", r.Offset, r.Headers["logferry.stream"], r.Time, partial, r.Value)
			return err
		})
		require.NoError(t, err)
		require.Equal(t, string(want), got.String())
	}
}

func TestATryOfATaskThatReadsOnceUnpacksTheLog(t *testing.T) {
	one := task.Task{Name: "old", Paths: []string{"/srv/*.gz"}, Topic: "t", Once: true}
	one.SetDefaults()
	for _, log := range []string{"a\nb\n", packed(t, "a\nb\n")} {
		var got []string
		whole, err := Try(one, "host", "/srv/a.gz", strings.NewReader(log), func(r Trial) error {
			got = append(got, r.Value)
			return nil
		})
		require.NoError(t, err)
		require.True(t, whole)
		require.Equal(t, []string{"a", "b"}, got)
	}
}
