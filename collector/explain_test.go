package collector

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplainSaysWhatBecomesOfAPathAndWhy(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", "1\n2\n")
	w.write("skip.log", "x\n")
	w.write("b.log.1.gz", "no archive\n")
	require.NoError(t, os.Mkdir(w.path("dir.log"), 0o755))
	a := w.start(with(func(c *Config) {
		c.Paths = append(c.Paths, filepath.Join(w.dir, "*.gz"))
		c.Exclude = []string{"skip*"}
	}))
	a.want("a.log", "1", "2")
	a.settled()

	e := a.c.Explain(w.path("a.log"))
	require.True(t, e.Collected)
	require.Len(t, e.Files, 1)
	require.Equal(t, int64(4), e.Files[0].Committed)
	require.NotEmpty(t, e.Files[0].File)

	require.NoError(t, os.Link(w.path("a.log"), w.path("same.log")))
	e = a.c.Explain(w.path("same.log"))
	require.True(t, e.Collected)
	require.Equal(t, w.path("a.log"), e.Under)
	require.Len(t, e.Files, 1)

	w.rotateCreate("a.log", "a.log.1")
	a.until("the rotation is noticed", func() bool { return len(a.c.Files()) == 2 })
	e = a.c.Explain(w.path("a.log.1"))
	require.True(t, e.Collected, e.Why)
	require.Equal(t, w.path("a.log"), e.Under)

	for path, why := range map[string]string{
		w.path("skip.log"):   `exclude "skip*" matches it`,
		w.path("dir.log"):    "it is a directory",
		w.path("later.log"):  "nothing is there; the pattern",
		w.path("b.log.1.gz"): whyPacked,
		w.path("note.txt"):   "no pattern of the task matches it; its paths are",
		"/elsewhere/a.log":   "no pattern of the task matches it; its paths are",
	} {
		e := a.c.Explain(path)
		require.False(t, e.Collected, path)
		require.Contains(t, e.Why, why, path)
		require.Empty(t, e.Files, path)
	}
}
