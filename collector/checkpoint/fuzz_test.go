package checkpoint

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// Whatever stands in the database's file, a store comes of it that can be
// written to, or an error.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	s, err := Open(dir, time.Hour, NewMetrics(prometheus.NewRegistry()), quiet)
	require.NoError(f, err)
	require.NoError(f, s.Close())
	whole, err := os.ReadFile(filepath.Join(dir, FileName))
	require.NoError(f, err)
	page := os.Getpagesize()
	f.Add([]byte("\xed\xda\x0c\xed"), 16, len(whole))
	f.Add([]byte{}, 0, len(whole)/2)
	f.Add([]byte{0xff, 0xff}, 2*page+8, len(whole))
	f.Add([]byte("x"), 3*page+20, len(whole))
	f.Fuzz(func(t *testing.T, patch []byte, at, size int) { // a file of random bytes would always be refused for its first ones
		data := append([]byte(nil), whole...)
		if at >= 0 && at < len(data) {
			copy(data[at:], patch)
		}
		if size >= 0 && size < len(data) {
			data = data[:size]
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), data, 0o600))
		s, err := Open(dir, time.Hour, NewMetrics(prometheus.NewRegistry()), quiet)
		if err != nil {
			return
		}
		_, _ = s.Load("web")
		require.NoError(t, s.Close())
	})
}
