// Package docs checks that what the documents name exists.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	named    = regexp.MustCompile("`([a-z0-9]+(?:-[a-z0-9]+)*|(?:Test|Fuzz)[A-Za-z0-9]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.[TF]\)`)
	scenario = regexp.MustCompile(`(?m)^\s*\{(?:name: )?"([a-z0-9-]+)",`)
)

// proofs lists the tests and the fault scenarios of the tree.
func proofs(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	root := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(b, -1) {
			found[string(m[1])] = true
		}
		if strings.Contains(path, filepath.Join("test", "faults")) {
			for _, m := range scenario.FindAllSubmatch(b, -1) {
				found[string(m[1])] = true
			}
		}
		return err
	}))
	return found
}

func TestEachProofThatTheGuaranteesNameExists(t *testing.T) { requireProofs(t, "guarantees.md", 20) }

func TestEachProofThatThePageOnSecurityNamesExists(t *testing.T) { requireProofs(t, "security.md", 30) }

// requireProofs looks for what the last columns of a page's tables name, more
// than least proofs.
func requireProofs(t *testing.T, page string, least int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	require.NoError(t, err)
	exist := proofs(t)
	checked := 0
	for _, line := range strings.Split(string(b), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 { // only a table's last column names proofs
			continue
		}
		for _, m := range named.FindAllStringSubmatch(cells[len(cells)-2], -1) {
			checked++
			require.True(t, exist[m[1]], "docs/%s names %s, which does not exist", page, m[1])
		}
	}
	require.Greater(t, checked, least)
}
