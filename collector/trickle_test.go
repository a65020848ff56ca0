package collector

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// trickling writes numbered lines of some length, each after the one before has arrived.
type trickling struct {
	a     *agent
	name  string
	lines []string
}

func (r *trickling) line() {
	r.a.w.t.Helper()
	text := fmt.Sprintf("%d %s", len(r.lines), strings.Repeat("x", 200))
	r.lines = append(r.lines, text)
	r.a.w.write(r.name, text+"\n")
	r.a.want(r.name, r.lines...)
}

// readNow counts the reads in the watcher's call.
func (f *faultFS) readNow() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, op := range f.done {
		if op.name == "pread now" {
			n++
		}
	}
	return n
}

func newTrickling(t *testing.T, opts ...option) (*trickling, *faultFS) {
	t.Helper()
	w := newWorld(t, false)
	ffs := newFaultFS(nil)
	w.fs = ffs
	r := &trickling{a: w.start(opts...), name: "a.log"}
	for range 10 {
		r.line()
	}
	return r, ffs
}

func TestLinesThatTrickleAreReadWithoutATailer(t *testing.T) {
	r, ffs := newTrickling(t)
	tick := time.NewTicker(2 * gatherWithin) // lines that come sooner are a busy file's
	defer tick.Stop()
	for ffs.readNow() < 20 {
		<-tick.C
		r.line()
	}
	r.a.settled()
	require.Equal(t, len(r.lines), r.a.count())
}

func TestATricklingFileThatIsRotatedLosesAndDoublesNothing(t *testing.T) {
	for name, rotate := range map[string]func(w *world, n int){
		"rename":       func(w *world, n int) { w.rotateCreate("a.log", fmt.Sprintf("a.log.%d", n)) },
		"copytruncate": func(w *world, n int) { w.rotateCopyTruncate("a.log", fmt.Sprintf("a.log.%d", n)) },
		"remove":       func(w *world, _ int) { w.remove("a.log") },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newTrickling(t)
			for i := range 5 {
				rotate(r.a.w, i)
				for range 12 {
					r.line()
				}
			}
			r.a.settled()
			require.Equal(t, len(r.lines), r.a.count())
		})
	}
}

func TestATricklingFileWhoseLineIsFinishedLaterSendsItWhole(t *testing.T) {
	r, _ := newTrickling(t)
	for range 20 {
		r.a.w.write(r.name, "begun ")
		r.a.w.write(r.name, "ended\n")
		r.lines = append(r.lines, "begun ended")
		r.a.want(r.name, r.lines...)
	}
	r.a.settled()
	require.Equal(t, len(r.lines), r.a.count())
}

func TestATrickleThatTheQueueHasNoRoomForKeepsItsOrder(t *testing.T) {
	r, _ := newTrickling(t)
	r.a.mu.Lock() // the sink stands still
	for range 40 {
		text := fmt.Sprintf("%d %s", len(r.lines), strings.Repeat("y", 300))
		r.lines = append(r.lines, text)
		r.a.w.write(r.name, text+"\n")
	}
	r.a.mu.Unlock()
	r.a.want(r.name, r.lines...)
	r.a.settled()
	require.Equal(t, len(r.lines), r.a.count())
}

func TestATricklingFileOnWhichReadsMustWaitIsReadByItsTailer(t *testing.T) {
	r, ffs := newTrickling(t)
	ffs.set(func(op operation) error {
		if op.name == "pread now" {
			return unix.EAGAIN
		}
		return nil
	})
	for range 30 {
		r.line()
	}
	r.a.settled()
	require.Equal(t, len(r.lines), r.a.count())
}
