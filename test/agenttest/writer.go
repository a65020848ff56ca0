package agenttest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/bench/gen"
)

// LogWriter writes the generator's lines to a log file, as a program does
// whose log is rotated by renaming.
type LogWriter struct {
	t       testing.TB
	Path    string
	lines   *gen.Lines
	Next    uint64 // number of the next line
	renames int
	File    *os.File
	Wrap    func(lines []byte) []byte // what is written instead of whole lines; nil: themselves
}

// NewLogWriter opens path for the lines of a stream.
func NewLogWriter(t testing.TB, path string, stream uint16) *LogWriter {
	t.Helper()
	w := &LogWriter{t: t, Path: path, lines: gen.New(stream, 1)}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	w.Reopen()
	t.Cleanup(func() { _ = w.File.Close() })
	return w
}

// Reopen goes on in a new file under the same path.
func (w *LogWriter) Reopen() {
	f, err := os.OpenFile(w.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		panic(err) // may run beside the test's goroutine
	}
	w.File = f
}

// Write appends the next n lines.
func (w *LogWriter) Write(n uint64) {
	if _, err := w.lines.Write(write{w}, w.Next, n); err != nil {
		panic(err)
	}
	w.Next += n
}

// write is where the generator's lines go, whole ones each time.
type write struct{ *LogWriter }

func (w write) Write(lines []byte) (int, error) {
	out := lines
	if w.Wrap != nil {
		out = w.Wrap(lines)
	}
	if _, err := w.File.Write(out); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// Rename rotates: the program goes on in a new file.
func (w *LogWriter) Rename() {
	w.renames++
	if err := os.Rename(w.Path, fmt.Sprintf("%s.%d", w.Path, w.renames)); err != nil {
		panic(err)
	}
	_ = w.File.Close()
	w.Reopen()
}
