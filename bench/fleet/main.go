// Command fleet measures what a large fleet asks of etcd: it runs thousands of
// agents in one process, each with the source, the registrar and the
// connections of a real one but without files and Kafka, against a real etcd
// in a process of its own.
//
//	main.go      flags, signals, exit code
//	run.go       the sections, one after another
//	agents.go    simulated agents; tasks.go: what they run, and edits of it
//	etcd.go      etcd's process; meter.go: what it does and costs
//	report.go    what is printed
//
// It promises that what it prints was seen: an edit counts as applied on an
// agent when its source has handed the new version on, and as wrong when an
// agent that it does not select was given a new set.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	agents, tasks, apps int
	members             int
	edits               int
	every               time.Duration // between two edits
	steady              time.Duration // how long the fleet at rest is measured
	settle              time.Duration // after which what agents report of a change is written
	ramp                int           // agents that start in a second
	down                time.Duration // how long etcd is away when it is restarted
	restarts            bool
	quick               bool

	etcd string // data directory: be the etcd process
}

func main() {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	release()
	os.Exit(code)
}

// What the agents of thousands of hosts leave behind is garbage of one process
// here; to collect it as often as a process of its own would is a cost that
// no host has.
const (
	gcPercent   = 400
	memoryLimit = 8 << 30 // bytes, from which on it is collected more often
)

// execute returns the exit code: 0 all was measured and right, 1 not, 2 wrong usage.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	opts, err := parse(args, errOut)
	if err != nil {
		return 2
	}
	if opts.etcd != "" {
		err = serveEtcd(ctx, opts, in, out)
	} else {
		debug.SetGCPercent(gcPercent)
		debug.SetMemoryLimit(memoryLimit)
		var r *result
		if r, err = measure(ctx, opts, errOut); r != nil {
			r.print(out)
		}
	}
	if err != nil {
		fmt.Fprintf(errOut, "fleet: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.BoolVar(&o.quick, "quick", false, "100 agents, 20 tasks, some seconds; other flags count after it")
	flags.IntVar(&o.agents, "agents", 5000, "`number` of agents")
	flags.IntVar(&o.tasks, "tasks", 200, "`number` of tasks; a tenth is for all agents, each of the others for one app")
	flags.IntVar(&o.apps, "apps", 20, "`number` of apps that the agents belong to in turn")
	flags.IntVar(&o.members, "members", 3, "etcd's `members`, 1 or 3")
	flags.IntVar(&o.edits, "edits", 60, "`number` of edits, in turn of a task for all agents and of one for an app")
	flags.DurationVar(&o.every, "every", time.Second, "`pause` between two edits")
	flags.DurationVar(&o.steady, "steady", time.Minute, "how `long` the fleet at rest is measured")
	flags.IntVar(&o.ramp, "ramp", 60, "`agents` started in a second")
	flags.BoolVar(&o.restarts, "restarts", true, "restart one member, then all")
	flags.DurationVar(&o.down, "down", 5*time.Second, "how `long` etcd is away at a restart")
	flags.StringVar(&o.etcd, "etcd", "", "run etcd alone on this `directory`, for the program's own use")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.settle = 3 * time.Second
	if o.quick {
		o.settle = 500 * time.Millisecond
		given := map[string]bool{}
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range map[string]string{
			"agents": "100", "ramp": "250", "tasks": "20", "apps": "4", "edits": "6", "every": "300ms", "steady": "1s", "down": "1s",
		} {
			if !given[name] {
				_ = flags.Set(name, value) // these values are right
			}
		}
	}
	var err error
	switch {
	case o.members != 1 && o.members != 3:
		err = errors.New("-members must be 1 or 3")
	case min(o.agents, o.tasks, o.apps, o.ramp) < 1 || min(o.edits, int(o.every), int(o.steady), int(o.down)) < 0:
		err = errors.New("numbers must be positive")
	case o.agents < o.apps:
		err = errors.New("-agents must be at least -apps")
	}
	if err != nil {
		fmt.Fprintf(errOut, "fleet: %v\n", err)
	}
	return o, err
}
