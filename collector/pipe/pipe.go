// Package pipe reads named pipes line by line, with github.com/nxadm/tail.
//
// nxadm/tail can neither be stopped while it waits for a writer or for a byte, nor
// without dropping what it has read, and holds a line of any length. So it
// reads a private pipe, and a pump fills that from the named one: stopping the pump gives
// nxadm/tail an end of file, with which it hands out all that it has. The pump
// also cuts lines at their bound, ends a line whose writer went away, and stays
// open while writers come and go.
package pipe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nxadm/tail"
	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	files "logferry/collector/tail"
)

// chunkBytes is how much is taken out of a named pipe at once: all that the
// kernel keeps in one, commonly.
const chunkBytes = 64 << 10

// Config says how a named pipe is read.
type Config struct {
	MaxBytes int // of a line; what stands behind that is left out
	Links    files.Links
	Allow    func(path, resolved string) error // refuses pipes outside of what the task may read; nil allows all
	Check    time.Duration                     // how often it is asked whether the path leads to another pipe
}

// Line is what stood before a newline, or before a writer went away.
type Line struct {
	Text   []byte
	Length int // of the whole line; more than len(Text) if that was cut
}

// Reader reads one named pipe, whoever writes to it.
type Reader struct {
	cfg     Config
	path    string
	id      checkpoint.FileID
	fd      int
	to      *os.File // the private pipe
	lines   chan Line
	stop    [2]*os.File // the pump ends when the second is closed
	once    sync.Once
	stopped atomic.Bool
	all     sync.WaitGroup
	ended   chan struct{} // closed when nobody takes lines any more

	long, number int // of the line that is passed on: its bytes so far, and how many came before it

	mu      sync.Mutex
	cut     map[int]int // full lengths of lines that were cut, by their number
	failure error
}

// Open opens the named pipe at path. It does not wait for a writer. The lines that
// come must be taken from Lines until that is closed, or Kill be called.
func Open(path string, cfg Config) (*Reader, error) {
	fd, info, err := files.OpenPipe(path, cfg.Links, cfg.Allow)
	if err != nil {
		return nil, err
	}
	r := &Reader{cfg: cfg, path: path, id: info.ID, fd: fd, lines: make(chan Line), ended: make(chan struct{}), cut: map[int]int{}}
	from, err := r.pipes()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	t, err := tail.TailFile(descriptorPath(from), tail.Config{Pipe: true, MustExist: true, Logger: tail.DiscardingLogger})
	_ = from.Close()
	if err != nil {
		r.close()
		return nil, fmt.Errorf("read what comes from %s: %w", path, err)
	}
	r.all.Go(func() { r.pump() })
	r.all.Go(func() { r.forward(t) })
	return r, nil
}

func (r *Reader) pipes() (from *os.File, err error) {
	if from, r.to, err = os.Pipe(); err == nil {
		if r.stop[0], r.stop[1], err = os.Pipe(); err == nil {
			return from, nil
		}
		_ = from.Close()
		_ = r.to.Close()
	}
	files.Kernel{}.Close(r.fd)
	return nil, err
}

// descriptorDir is where open files have a name.
func descriptorDir() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/fd/"
	}
	return "/dev/fd/"
}

func descriptorPath(f *os.File) string {
	n := -1
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { n = int(fd) })
	}
	return descriptorDir() + strconv.Itoa(n)
}

// ID is the pipe's identity.
func (r *Reader) ID() checkpoint.FileID { return r.id }

// Lines yields what is read. It is closed after Stop, or when the path does not
// lead to the pipe any more and all writers are gone, once all that was read is taken.
func (r *Reader) Lines() <-chan Line { return r.lines }

// Stop ends the reading. What was read still comes out of Lines.
func (r *Reader) Stop() {
	r.once.Do(func() {
		r.stopped.Store(true)
		_ = r.stop[1].Close()
	})
}

// Kill ends everything at once; what was read and not taken is lost. Wait is to follow.
func (r *Reader) Kill() {
	r.Stop()
	close(r.ended)
	_ = r.to.Close()
}

// Wait returns when Lines is closed, or after Kill, with what kept the pipe from
// being read.
func (r *Reader) Wait() error {
	r.all.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

func (r *Reader) forward(t *tail.Tail) {
	defer close(r.lines)
	dead := false
	for l := range t.Lines {
		line := Line{Text: []byte(l.Text), Length: len(l.Text)}
		r.mu.Lock()
		if n, ok := r.cut[l.Num]; ok {
			line.Length = n
			delete(r.cut, l.Num)
		}
		r.mu.Unlock()
		if dead {
			continue // to its end, which is near
		}
		select {
		case r.lines <- line:
		case <-r.ended:
			dead = true
		}
	}
	if err := t.Wait(); err != nil {
		r.fail(err)
	}
}

func (r *Reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = errors.Join(r.failure, err)
}

func (r *Reader) close() {
	r.Stop()
	_ = r.stop[0].Close()
	_ = r.to.Close()
	files.Kernel{}.Close(r.fd)
}

// pump passes on what comes until it is stopped or the pipe is gone.
func (r *Reader) pump() {
	defer r.close()
	buf := make([]byte, chunkBytes)
	// It is waited only behind a read that had nothing to give: behind any other the last
	// writer may have gone already, and the kernel does not tell that to who opened the pipe later.
	for !r.stopped.Load() {
		n, err := unix.Read(r.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			r.wait()
		case err != nil:
			r.fail(fmt.Errorf("read %s: %w", r.path, err))
			return
		case n > 0:
			if r.pass(buf[:n]) != nil {
				return // killed
			}
		default:
			if r.endLine() != nil || !r.reopen() {
				return
			}
			r.wait()
		}
	}
	_ = r.endLine()
}

// reopen makes the end of file pass that the last writer left behind. The pipe is
// opened before it is closed, or what a new writer has written in between would be gone,
// and by its descriptor, or a writer might find another pipe open for a moment.
// false says that the path does not lead to it any more.
func (r *Reader) reopen() bool {
	if info, err := files.Look(r.path); err != nil || info.ID != r.id {
		return false
	}
	fd, err := files.Kernel{}.Open(descriptorDir()+strconv.Itoa(r.fd), files.LinksAll)
	if err != nil {
		r.fail(fmt.Errorf("open %s again: %w", r.path, err))
		return false
	}
	files.Kernel{}.Close(r.fd)
	r.fd = fd
	return true
}

// wait returns when something can be read, or a writer went away, or the path
// leads elsewhere and nobody may write any more, or it is stopped.
func (r *Reader) wait() {
	stop, err := r.stop[0].SyscallConn()
	if err != nil {
		return
	}
	_ = stop.Control(func(stop uintptr) {
		for {
			fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, int(r.cfg.Check.Milliseconds()))
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil, n > 0:
				return
			}
			if info, err := files.Look(r.path); err != nil || info.ID != r.id {
				return // reading tells whether writers are left
			}
		}
	})
}
