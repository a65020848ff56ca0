package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheBillOfABinaryNamesItsModules(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	var first, second bytes.Buffer
	require.NoError(t, run(&first, []string{self}, "1.2.3"))
	require.NoError(t, run(&second, []string{self}, "1.2.3"))
	require.Equal(t, first.String(), second.String())
	var b bom
	dec := json.NewDecoder(&first)
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&b))
	require.Equal(t, []string{"CycloneDX", "1.6", "1.2.3"}, []string{b.Format, b.Spec, b.Metadata.Component.Version})
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, b.Serial)
	require.Len(t, b.Metadata.Component.Hashes[0].Content, 64)
	refs := map[string]bool{}
	for _, c := range b.Components {
		require.False(t, refs[c.Ref], "%s stands twice", c.Ref)
		refs[c.Ref] = true
		require.True(t, strings.HasPrefix(c.PURL, "pkg:golang/"), c.PURL)
	}
	require.Equal(t, len(b.Components), len(b.Dependencies[0].DependsOn))
	require.Contains(t, second.String(), `"pkg:golang/std@1.`)
}

func TestTheBillNamesWhatAModuleIsReplacedBy(t *testing.T) {
	b := newBOM(&debug.BuildInfo{GoVersion: "go1.26", Deps: []*debug.Module{
		{Path: "a", Version: "v1.0.0", Replace: &debug.Module{Path: "b", Version: "v2.0.0+incompatible", Sum: "h1:x="}},
	}}, "x", "1", [32]byte{})
	require.Equal(t, "pkg:golang/b@v2.0.0%2Bincompatible", b.Components[1].PURL)
	require.Equal(t, []property{{"go:sum", "h1:x="}}, b.Components[1].More)
}

func TestWhatIsNoGoBinaryHasNoBill(t *testing.T) {
	require.Error(t, run(&bytes.Buffer{}, []string{"/etc/passwd"}, ""))
	require.Error(t, run(&bytes.Buffer{}, nil, ""))
}
