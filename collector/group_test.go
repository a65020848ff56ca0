package collector

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
)

// grouped joins indented lines to the one before, which is complete when the file was
// quiet for this long.
func grouped(quiet time.Duration) option {
	return with(func(c *Config) {
		c.Groups = &frame.Groups{Continue: frame.MustCompile(`^ `), MaxLines: 100, MaxBytes: c.MaxLineBytes}
		c.GroupQuiet = quiet
	})
}

func TestTheLastGroupOfAQuietFileIsSentAfterItsTimeAndNotBefore(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a\n 1\nb\n 2\n")
		a := w.start(grouped(time.Hour))
		a.want("a.log", "a\n 1")
		a.settled()
		require.Equal(t, int64(5), a.c.Files()[0].Committed, "it stays before the open group")
		w.write("a.log", " 3\nc\n")
		a.want("a.log", "a\n 1", "b\n 2\n 3")
		a.settled()
		a.stop()

		a = w.start(grouped(20 * time.Millisecond))
		a.want("a.log", "c")
		a.settled()
		require.Equal(t, int64(15), a.c.Files()[0].Committed)
		w.write("a.log", "d\n 4\n")
		a.until("d is sent", func() bool { return strings.HasSuffix(strings.Join(a.lines(w.path("a.log")), "|"), " 4") })
	})
}

func TestAGroupIsJoinedAcrossARestart(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", "a\n 1\n 2")
		a := w.start(grouped(time.Hour))
		a.settled()
		a.stop()
		w.write("a.log", "2\n 3\n")
		a = w.start(grouped(time.Hour))
		a.settled()
		a.stop()
		w.write("a.log", " 4\nb\n")
		a = w.start(grouped(time.Hour))
		a.want("a.log", "a\n 1\n 22\n 3\n 4")
		a.settled()
	})
}

func TestAGroupIsJoinedAcrossARotationAndComesBeforeTheNextFile(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.RotateWait = time.Hour
		w.write("a.log", "first\na\n 1\n")
		a := w.start(grouped(time.Hour))
		a.want("a.log", "first")
		a.settled()
		w.rename("a.log", "a.log.1")
		w.write("a.log", "c\n")
		w.write("a.log.1", " 2\nb\n 3\n") // late
		a.want("a.log", "first", "a\n 1\n 2")
		a.settled() // it rests although the path leads to another file
		a.stop()

		a = w.start(grouped(50 * time.Millisecond))
		a.want("a.log", "b\n 3", "c")
		w.write("a.log", "d\n")
		a.want("a.log", "b\n 3", "c", "d")
	})
}

func TestAFileThatIsWrittenToWithoutARestKeepsTheNextOneWaitingForAWhileOnly(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", "first\n")
	a := w.start(grouped(50 * time.Millisecond))
	a.want("a.log", "first")
	rest := w.keepWriting("a.log")
	w.rotateCreate("a.log", "a.log.1")
	w.write("a.log", "next\n")
	a.until("the next file is read", func() bool {
		return strings.Contains(strings.Join(a.lines(w.path("a.log")), "|"), "next")
	})
	rest()
	a.settled()
	data, err := os.ReadFile(w.path("a.log.1"))
	require.NoError(t, err)
	a.until("each line is there once", func() bool { return a.count() == strings.Count(string(data), "\n")+1 })
}

func TestGroupsAreTheSameThroughTruncationsRotationsAndRestarts(t *testing.T) {
	throughEverything(t, func() option { return grouped(200 * time.Millisecond) }, func(n int) (text string, records []string) {
		g := fmt.Sprintf("group %d\n one\n two", n)
		return g + "\n", []string{g}
	})
}

// throughEverything demands the same records of a.log through rotations,
// truncations and restarts. part is the text of the part that comes behind n records, and its own records.
func throughEverything(t *testing.T, how func() option, part func(n int) (text string, records []string)) {
	t.Helper()
	inBothModes(t, func(t *testing.T, w *world) {
		var want []string
		next := func(parts int) string {
			var b strings.Builder
			for range parts {
				text, records := part(len(want))
				want = append(want, records...)
				b.WriteString(text)
			}
			return b.String()
		}
		w.write("a.log", next(500))
		a := w.start(how(), acking(ackShuffled))
		a.want("a.log", want...)
		a.release()
		w.rotateCreate("a.log", "a.log.1")
		w.write("a.log", next(300))
		a.want("a.log", want...)
		a.settled()
		w.rotateCopyTruncate("a.log", "a.log.copy")
		w.write("a.log", next(200))
		a.want("a.log", want...)
		a.settled()
		a.stop()
		sent := len(want)
		w.rotateCreate("a.log", "a.log.2")
		w.write("a.log.2", next(10))
		w.write("a.log", next(10))
		a = w.start(how())
		a.want("a.log", want[sent:]...)
	})
}
