// Command logferry tails files and ships every line to Apache Kafka, and
// looks after the tasks and topics that belong to it.
//
// This package is flags, wiring, signals and exit codes; what is done stands
// in the packages below agent and sink. Every failure ends in one line on
// standard error that says what to change, and in an exit code that scripts
// can tell apart: see the exit constants.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"logferry/agent/idle"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = ""

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		_ = idle.Slack() // without it the agent runs as well and costs a little more
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer onStopSignals(cancel, stderr)()
	a := &app{in: stdin, out: stdout, err: stderr, getenv: os.Getenv}
	return a.execute(ctx, args)
}

// sameStop is how close together two signals are one wish: timeout(1) and a
// terminal's Ctrl-C reach a process both directly and through its group.
const sameStop = 500 * time.Millisecond

// onStopSignals calls cancel at the first SIGINT or SIGTERM. A later one is
// from someone who will not wait, and ends the process on the spot.
func onStopSignals(cancel context.CancelFunc, stderr io.Writer) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		first := time.Now()
		for {
			select {
			case s := <-signals:
				if time.Since(first) >= sameStop {
					fmt.Fprintf(stderr, "logferry: %s again: stopping at once\n", s)
					os.Exit(exitFailed)
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		<-ended
	}
}
