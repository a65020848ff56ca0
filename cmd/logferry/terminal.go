package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// keyPoll is how often the wait for a key looks whether it is over, in milliseconds.
const keyPoll = 100

// What a terminal is told: ANSI, which every terminal of today knows.
const (
	ansiEnter = "\x1b[?1049h\x1b[?25l" // a screen of its own, no cursor
	ansiLeave = "\x1b[?25h\x1b[?1049l" // the cursor, and the screen that was there before
	ansiHome  = "\x1b[H"
	ansiClear = "\x1b[K" // to the end of the line
	ansiBelow = "\x1b[J" // to the end of the screen
)

// asTerminal returns v as a terminal; nil when it is none.
func asTerminal(v any) *os.File {
	f, ok := v.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return f
}

// terminalSize returns columns and rows; 80 and 24 where nobody knows.
func terminalSize(f *os.File) (columns, rows int) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}

// keysOf reads keys as they are pressed, without showing them, until ctx ends.
// The returned function waits for that, and gives the terminal back as it was.
// Ctrl-C stays a signal.
func keysOf(ctx context.Context, f *os.File) (keys <-chan byte, restore func(), err error) {
	fd := int(f.Fd())
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, nil, fmt.Errorf("read the terminal's mode: %w", err)
	}
	raw := *was
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, nil, fmt.Errorf("set the terminal's mode: %w", err)
	}
	out, done := make(chan byte), make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(done)
		readKeys(ctx, fd, out)
	}()
	return out, func() {
		stop()
		<-done
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, was)
	}, nil
}

func readKeys(ctx context.Context, fd int, out chan<- byte) {
	var b [1]byte
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, keyPoll); n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		if n, err := unix.Read(fd, b[:]); n != 1 || err != nil {
			return // the terminal is gone
		}
		select {
		case out <- b[0]:
		case <-ctx.Done():
		}
	}
}

// resizes tells when the terminal's size changed. The returned function ends it.
func resizes() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGWINCH)
	return ch, func() { signal.Stop(ch) }
}
