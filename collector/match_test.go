package collector

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACollectorSaysWhenNothingOfWhatMatchesIsCollected(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		require.NoError(t, os.Mkdir(w.path("logs"), 0o755))
		require.NoError(t, os.Mkdir(w.path("sub.log"), 0o755)) // of a pattern that matches more it is no mistake
		w.cfg.Paths = []string{w.path("logs"), w.path("*.log")}
		a := w.start()
		a.until("the directory is refused", func() bool { _, _, n := a.c.CollectsNothing(); return n > 0 })
		path, why, n := a.c.CollectsNothing()
		require.Equal(t, w.path("logs"), path)
		require.Equal(t, "it is a directory; a pattern that ends in /** or /*.log collects what is in it", why)
		require.Equal(t, 1, n)
		w.write("a.log", "1\n")
		a.until("a file is collected", func() bool { _, _, n := a.c.CollectsNothing(); return n == 0 })
	})
}

func TestAConfigurationKnowsThePathsThatItCovers(t *testing.T) {
	cfg := Config{Paths: []string{"/var/log/**/*.log", "/srv/a"}, Exclude: []string{"*-debug.log", "/var/log/old/**"}}
	for path, covers := range map[string]bool{
		"/var/log/a.log": true, "/var/log/x/y/a.log": true, "/srv/a": true,
		"/srv/b": false, "/var/log/a-debug.log": false, "/var/log/old/a.log": false, "/var/log/a.txt": false,
	} {
		require.Equal(t, covers, cfg.Covers(path), path)
	}
}
