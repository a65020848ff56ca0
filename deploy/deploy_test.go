// Package deploy_test loads every file of this directory with the types and
// the tools of those who will read it.
package deploy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent"
)

var (
	imageLine = regexp.MustCompile(`(?m)^\s*(?:- )?image:\s*(\S+)|^FROM\s+(\S+)`)
	pinnedTag = regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?([.-][a-z0-9.-]+)?$`)
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// loadAgent reads an agent.yaml as the agent does at its start.
func loadAgent(t *testing.T, path string, env map[string]string) agent.Config {
	t.Helper()
	cfg, err := agent.LoadConfig(path, func(name string) string { return env[name] })
	require.NoError(t, err)
	cfg.SetDefaults()
	require.NoError(t, cfg.Validate())
	return cfg
}

// eachFile calls visit for every file of deploy and configs save the tests.
func eachFile(t *testing.T, visit func(path, text string)) {
	t.Helper()
	for _, root := range []string{".", "../configs"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && filepath.Ext(path) != ".go" {
				visit(path, read(t, path))
			}
			return err
		}))
	}
}

func TestEveryImageIsPinnedToAVersion(t *testing.T) {
	images := 0
	eachFile(t, func(path, text string) {
		require.NotRegexp(t, `(?i)\blatest\b`, text, path)
		for _, match := range imageLine.FindAllStringSubmatch(text, -1) {
			image := match[1] + match[2]
			images++
			if image == "scratch" || image == "logferry:dev" { // nothing, and what is built from this tree
				continue
			}
			require.Regexp(t, pinnedTag, image, path)
		}
	})
	require.Greater(t, images, 8)
}

func TestImageIsStaticAndRunsAsAUserWithoutRights(t *testing.T) {
	text := read(t, "Dockerfile")
	_, final, found := strings.Cut(text, "\nFROM scratch\n")
	require.True(t, found, "the last stage starts from nothing")
	require.NotContains(t, final, "\nRUN ")
	require.Contains(t, text, "CGO_ENABLED=0 go build")
	require.Contains(t, final, "\nUSER 65532:65532\n")
	require.Contains(t, final, `ENTRYPOINT ["/usr/bin/logferry"]`)
	require.Contains(t, final, `CMD ["run", "--config", "/etc/logferry/agent.yaml"]`)
	for _, match := range regexp.MustCompile(`(?m)^COPY (?:--chmod=\S+ )?([a-z]\S+) `).FindAllStringSubmatch(text, -1) {
		require.FileExists(t, filepath.Join("..", match[1]))
	}
}
