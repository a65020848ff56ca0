package configs

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent"
	"logferry/agent/task"
)

var (
	fence     = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	configRow = regexp.MustCompile("(?m)^\\| `(kafka|memory)\\.([a-z_]+)` \\| `([^`]+)` \\|")
)

func readme(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	return b
}

func TestExamplesOfTheDocumentsAreValid(t *testing.T) {
	for _, name := range []string{
		"../README.md", "../docs/dead-letters.md", "../docs/fleet.md", "../docs/kafka-security.md", "../docs/records.md", "../docs/security.md", "../docs/sources.md",
	} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		requireValidExamples(t, text)
	}
}

func requireValidExamples(t *testing.T, text []byte) {
	t.Helper()
	blocks := fence.FindAllSubmatch(text, -1)
	require.NotEmpty(t, blocks)
	for _, m := range blocks {
		kind, _, _ := bytes.Cut(m[1], []byte("\n"))
		switch string(kind) {
		case "# agent.yaml":
			path := filepath.Join(t.TempDir(), "agent.yaml")
			require.NoError(t, os.WriteFile(path, m[1], 0o600))
			cfg, err := agent.LoadConfig(path, nil)
			require.NoError(t, err)
			cfg.SetDefaults()
			require.NoError(t, cfg.Validate())
		case "# task":
			_, err := task.DecodeOne(m[1], "README.md", "example")
			require.NoError(t, err)
		default:
			require.FailNow(t, "the first line of a yaml block says what it is: # agent.yaml or # task", "%s", m[1])
		}
	}
}

func TestTheREADMENamesEveryTaskKey(t *testing.T) {
	text := string(readme(t))
	for f := range reflect.TypeFor[task.Task]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		require.Regexp(t, "(?m)^\\|[^|]*`"+key+"`", text, "key %s", key)
	}
}

func TestTheREADMETellsTheDefaultsOfAgentYAML(t *testing.T) {
	text, err := os.ReadFile("agent.yaml")
	require.NoError(t, err)
	rows := configRow.FindAllSubmatch(readme(t), -1)
	require.Greater(t, len(rows), 5)
	for _, m := range rows {
		require.Regexp(t, "(?ms)^"+string(m[1])+":$.*?^  "+string(m[2])+": "+string(m[3])+"( |$)", string(text))
	}
}
