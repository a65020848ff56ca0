package pipe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"logferry/collector/tail"
)

const patience = time.Minute

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	return path
}

func open(t *testing.T, path string, maxBytes int) *Reader {
	t.Helper()
	r, err := Open(path, Config{MaxBytes: maxBytes, Check: 5 * time.Millisecond})
	require.NoError(t, err)
	return r
}

// write writes to a named pipe and closes it.
func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func next(t *testing.T, r *Reader) Line {
	t.Helper()
	select {
	case l, ok := <-r.Lines():
		require.True(t, ok, "there are no more lines")
		return l
	case <-time.After(patience):
		require.FailNow(t, "no line comes")
	}
	return Line{}
}

func rest(t *testing.T, r *Reader) (lines []string) {
	t.Helper()
	for l := range r.Lines() {
		lines = append(lines, string(l.Text))
	}
	require.NoError(t, r.Wait())
	return lines
}

func TestLinesOfManyWritersComeInTurn(t *testing.T) {
	path := fifo(t)
	r := open(t, path, 1<<20)
	for i := range 50 {
		write(t, path, fmt.Sprintf("%d a\n%d b without a newline", i, i))
		require.Equal(t, fmt.Sprintf("%d a", i), string(next(t, r).Text))
		require.Equal(t, fmt.Sprintf("%d b without a newline", i), string(next(t, r).Text))
	}
	r.Stop()
	require.Empty(t, rest(t, r))
}

func TestAStopHandsOutAllThatWasReadAndLeavesTheRestInThePipe(t *testing.T) {
	path := fifo(t)
	w, err := os.OpenFile(path, os.O_RDWR, 0) // stays open all the time
	require.NoError(t, err)
	defer w.Close()
	r := open(t, path, 1<<20)
	total, done := 20000, make(chan struct{})
	go func() {
		defer close(done)
		for i := range total {
			_, _ = fmt.Fprintf(w, "line %d\n", i)
		}
	}()
	got := []string{string(next(t, r).Text)}
	for range 100 {
		got = append(got, string(next(t, r).Text))
	}
	r.Stop()
	got = append(got, rest(t, r)...)
	again := open(t, path, 1<<20)
	for len(got) < total {
		got = append(got, string(next(t, again).Text))
	}
	again.Stop()
	require.Empty(t, rest(t, again))
	<-done
	text := strings.Join(got, "\n")
	for i := range total {
		line := fmt.Sprintf("line %d", i)
		if got[min(i, len(got)-1)] != line { // a line may have been cut in two by the stop
			require.Contains(t, strings.ReplaceAll(text, "\n", ""), line)
		}
	}
}

func TestALineIsCutAtItsBoundAndSaysHowLongItWas(t *testing.T) {
	path := fifo(t)
	r := open(t, path, 1000)
	go write(t, path, strings.Repeat("x", 300_000)+"\n"+strings.Repeat("y", 1000)+"\n\nshort\n")
	l := next(t, r)
	require.Equal(t, []int{1000, 300_000}, []int{len(l.Text), l.Length})
	l = next(t, r)
	require.Equal(t, []int{1000, 1000}, []int{len(l.Text), l.Length})
	require.Empty(t, next(t, r).Text)
	require.Equal(t, "short", string(next(t, r).Text))
	r.Stop()
	rest(t, r)
}

func TestAPipeThatIsReplacedIsReadToItsEnd(t *testing.T) {
	path := fifo(t)
	r := open(t, path, 1<<20)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+".old"))
	require.NoError(t, unix.Mkfifo(path, 0o600))
	_, err = w.WriteString("one\n")
	require.NoError(t, err)
	require.Equal(t, "one", string(next(t, r).Text))
	_, err = w.WriteString("two\n")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, []string{"two"}, rest(t, r))
	idle := open(t, path, 1<<20)
	require.NoError(t, os.Remove(path))
	require.Empty(t, rest(t, idle))
}

func TestAKillEndsAReaderThatNobodyListensTo(t *testing.T) {
	path := fifo(t)
	r := open(t, path, 1<<20)
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer w.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 3 {
			_, _ = w.WriteString(strings.Repeat("0123456\n", 8<<10)) // more than all pipes hold
		}
		_ = w.SetWriteDeadline(time.Now())
	}()
	next(t, r)
	r.Kill()
	require.NoError(t, r.Wait())
	drain := make([]byte, 1<<20)
	for ended := false; !ended; {
		select {
		case <-written:
			ended = true
		default:
			_ = w.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = w.Read(drain)
		}
	}
}

func TestOnlyNamedPipesThatAreAllowedAreOpened(t *testing.T) {
	path := fifo(t)
	_, err := Open(filepath.Dir(path), Config{})
	require.ErrorIs(t, err, tail.ErrNotPipe)
	require.NoError(t, os.Symlink(path, path+".link"))
	var asked string
	_, err = Open(path+".link", Config{Allow: func(_, resolved string) error {
		asked = resolved
		return errors.New("no")
	}})
	require.ErrorIs(t, err, tail.ErrNotAllowed)
	want, err := filepath.EvalSymlinks(path)
	require.NoError(t, err)
	require.Equal(t, want, asked)
	_, err = Open(path+".none", Config{})
	require.ErrorIs(t, err, os.ErrNotExist)
}
