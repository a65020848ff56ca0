// Package proc runs one program and tells what it and all its children cost:
// processor time and memory, as the kernel counts them in /proc.
//
// A program is started in a process group of its own and leaves nothing
// behind: Stop ends the whole group, and the kernel ends the program when the
// benchmark itself dies. It needs Linux.
package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command says what to run.
type Command struct {
	Args []string // the program and its arguments
	Env  []string // added to the environment, as NAME=VALUE
	Dir  string   // working directory; empty: this process's
}

// keepLines bounds the output that is remembered.
const keepLines = 200

// Proc is a program that was started. It may be used from several goroutines.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it is gone and all its output is read

	mu    sync.Mutex
	lines []string // the end of what it printed
	state *os.ProcessState
}

// Start starts a program. Each line that it prints on standard output or
// standard error is passed to line, which may be nil, from one goroutine.
func Start(c Command, line func(string)) (*Proc, error) {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = in, in
	p := &Proc{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.live(started, out, in, line)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	return p, nil
}

// live owns the program from start to end. The death signal is tied to the
// thread that forked, so that thread lives for as long as the child.
func (p *Proc) live(started chan<- error, out, in *os.File, line func(string)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	_ = in.Close()
	started <- err
	if err != nil {
		_ = out.Close()
		return
	}
	defer close(p.done)
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(out, line)
	}()
	_ = p.cmd.Wait()
	p.mu.Lock()
	p.state = p.cmd.ProcessState
	p.mu.Unlock()
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // children that it left hold the pipe open
	<-read
	_ = out.Close()
}

func (p *Proc) read(out io.Reader, line func(string)) {
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		p.mu.Lock()
		if p.lines = append(p.lines, sc.Text()); len(p.lines) > keepLines {
			p.lines = p.lines[1:]
		}
		p.mu.Unlock()
		if line != nil {
			line(sc.Text())
		}
	}
	_, _ = io.Copy(io.Discard, out)
}

// PID is the program's process id, and the id of its process group.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended and all its output was read.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Output is the end of what it has printed so far.
func (p *Proc) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// ExitCode is the code with which it ended; -1 while it runs or when a signal
// ended it.
func (p *Proc) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return -1
	}
	return p.state.ExitCode()
}

// Spent is the processor time of a program that has ended, with the children
// that it waited for.
func (p *Proc) Spent() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return 0
	}
	return p.state.UserTime() + p.state.SystemTime()
}

// Stop ends the process group: SIGTERM, and SIGKILL for what is left after
// grace. It returns when the program is gone; an error says that it had to be
// killed.
func (p *Proc) Stop(grace time.Duration) error {
	select {
	case <-p.done:
		return nil // its id may be somebody else's
	default:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
	return errors.New("did not end on SIGTERM and was killed")
}
