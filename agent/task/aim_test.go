package task

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const ordinaryTask = "# a task\npaths: [/var/log/web/*.log]\nexclude: ['*.gz', \"a b\"]\ntopic: web_log # it's for web\n"

func TestTheLinesOfASelectorAreFoundWithoutADecoder(t *testing.T) {
	for name, text := range map[string]string{
		"last":          ordinaryTask + "select:\n  labels: {app: web}\n",
		"first":         "select:\n  labels: {app: web}\n" + ordinaryTask,
		"in one line":   "select: {labels: {app: web}}\n" + ordinaryTask,
		"no last break": ordinaryTask + "select: {labels: {app: web}}",
		"list below":    "paths:\n- /var/log/web/*.log\n- '/var/log/a b'\nselect:\n  labels:\n    app: web\ntopic: t\n",
		"comment":       "select: # whom\n\n  # those\n  labels: {app: web}\n" + ordinaryTask,
	} {
		lines, ok := AimText([]byte(text))
		require.True(t, ok, name)
		aim, err := AimOf(lines)
		require.NoError(t, err, name)
		require.Equal(t, &Selector{Labels: map[string]LabelValues{"app": {"web"}}}, aim, name)
	}
}

func TestWhatOnlyADecoderCanTellIsLeftToIt(t *testing.T) {
	aim := "select: {labels: {app: web}}\n"
	for name, text := range map[string]string{
		"none":             ordinaryTask,
		"json":             `{"paths": ["/a"], "topic": "t", "select": {"ids": ["a"]}}`,
		"a key in quotes":  `"select": {ids: [a]}` + "\n" + ordinaryTask,
		"two":              aim + ordinaryTask + aim,
		"two documents":    aim + ordinaryTask + "---\n" + aim,
		"a block of text":  "key: |\n  x\n" + aim,
		"open list":        "paths: [/a,\n" + aim + "]\n",
		"open quote":       "topic: 'a\n" + aim + "'\n",
		"open quote, even": "paths: ['\"', \"]\n" + aim + "\"]\n",
		"quote in a list":  "paths: [a '[ ' ]\n" + aim,
		"quote, list, key": "paths: [a:'[ ' ]\n" + aim + "']]\n",
		"escaped quote":    `topic: "a\" , "` + "\n" + aim,
		"too long":         aim + strings.Repeat("#", MaxBytes),
	} {
		_, ok := AimText([]byte(text))
		require.False(t, ok, name)
	}
	_, err := AimOf([]byte("select: {ids: []}\n"))
	require.Error(t, err)
	_, err = AimOf([]byte("select: {id: [a]}\n"))
	require.Error(t, err)
}

// FuzzAimText holds the lines that are found against the decoded task.
func FuzzAimText(f *testing.F) {
	for _, text := range []string{
		ordinaryTask + "select:\n  labels: {app: web}\n", "select: {ids: [a, 'b*']}\n" + ordinaryTask,
		"paths: [a '[ ' ]\nselect: {ids: [a]}\n", "paths: ['\"', \"]\nselect: {ids: [a]}\n\"]\ntopic: t\n",
		"topic: t\npaths:\n- a\n- 'select: b'\nselect:\n  hosts: [x]\n", "topic: 'a'\nselect: {ids: [b]}\npaths: [c]\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, ok := AimText(text)
		if !ok {
			return
		}
		if !bytes.Contains(text, lines) {
			t.Fatal("these lines are not in the text")
		}
		whole, err := Parse(text, "")
		if err != nil {
			return
		}
		alone, err := Parse(lines, "")
		if err != nil || len(whole) != 1 || len(alone) != 1 {
			t.Fatalf("%d tasks, alone %d, %v", len(whole), len(alone), err)
		}
		require.Equal(t, whole[0].Task.Select, alone[0].Task.Select)
	})
}
