package idle

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	slack        = 2 * time.Millisecond
	defaultSlack = 50 * time.Microsecond // Linux's; any other was set on purpose
	slackSet     = "LOGFERRY_TIMER_SLACK"
)

// Slack gives every thread of the process a timer slack of 2 ms, unless it was
// started with one of its own (such as systemd's TimerSlackNSec=) or with
// LOGFERRY_TIMER_SLACK in its environment. Threads inherit their slack, and the
// runtime's monitor thread, which sleeps for 20 µs at a time, exists before main:
// so the program executes itself anew, with the same process id, and Slack
// returns in the new one. Call it first, with nothing open.
//
// It returns an error when that failed; the program can go on as it is.
func Slack() error {
	if os.Getenv(slackSet) != "" {
		return nil
	}
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("read the timer slack: %w", err)
	}
	if time.Duration(now) != defaultSlack {
		return nil
	}
	return again()
}

func again() error {
	runtime.LockOSThread() // execve keeps the slack of the thread that calls it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	program, err := os.Executable()
	if err == nil {
		err = unix.Exec(program, os.Args, append(os.Environ(), slackSet+"="+slack.String()))
	}
	return fmt.Errorf("execute the program anew: %w", err)
}
