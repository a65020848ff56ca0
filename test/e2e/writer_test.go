package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/bench/gen"
)

// logWriter writes the generator's lines to a log file, as a program does
// whose log is rotated by renaming.
type logWriter struct {
	t       testing.TB
	path    string
	lines   *gen.Lines
	next    uint64 // number of the next line
	renames int
	f       *os.File
}

func newLogWriter(t testing.TB, path string, stream uint16) *logWriter {
	t.Helper()
	w := &logWriter{t: t, path: path, lines: gen.New(stream, 1)}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	w.reopen()
	t.Cleanup(func() { _ = w.f.Close() })
	return w
}

func (w *logWriter) reopen() {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		panic(err) // may run beside the test's goroutine
	}
	w.f = f
}

func (w *logWriter) write(n uint64) {
	if _, err := w.lines.Write(w.f, w.next, n); err != nil {
		panic(err)
	}
	w.next += n
}

// rename rotates: the program goes on in a new file.
func (w *logWriter) rename() {
	w.renames++
	if err := os.Rename(w.path, fmt.Sprintf("%s.%d", w.path, w.renames)); err != nil {
		panic(err)
	}
	_ = w.f.Close()
	w.reopen()
}
