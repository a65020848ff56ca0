// Command fleetcheck shows that a fleet does what docs/fleet.md says: a real
// etcd of three members, three agents as processes of their own with different
// labels, a real log and real Kafka (in-process Kafka where there is no Java).
// It prints each step with its outcome, and exits 0 only if all of them are as
// they should be and each agent delivered each line exactly once.
//
//	main.go   flags, signals, exit code
//	story.go  the steps; faults.go: those that break something
//	world.go  what runs: etcd, Kafka, the log
//	host.go   one agent, and the command line
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	logferry string // the binary
	quick    bool   // in-process Kafka and fewer edits
}

func main() {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	release()
	os.Exit(code)
}

// execute returns the exit code: 0 all is well, 1 something is not, 2 wrong usage.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	var opts options
	flags := flag.NewFlagSet("fleetcheck", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&opts.logferry, "logferry", "bin/logferry", "the agent's `binary`")
	flags.BoolVar(&opts.quick, "quick", false, "in-process Kafka and fewer edits")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if _, err := os.Stat(opts.logferry); err != nil {
		fmt.Fprintf(errOut, "fleetcheck: %v; build it with 'make build', or name it with -logferry\n", err)
		return 2
	}
	if err := check(ctx, opts, &show{out: out, began: time.Now()}); err != nil {
		fmt.Fprintf(errOut, "fleetcheck: %v\n", err)
		return 1
	}
	return 0
}

// show writes one aligned line for each thing that happens.
type show struct {
	out   io.Writer
	began time.Time
}

func (s *show) step(label, format string, args ...any) {
	fmt.Fprintf(s.out, "%7.2fs  %-10s %s\n", time.Since(s.began).Seconds(), label, fmt.Sprintf(format, args...))
}
