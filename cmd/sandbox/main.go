// Command sandbox is the first try of logferry: an embedded etcd, an
// in-process Kafka, programs that write and rotate logs, and the real agent,
// all in one process and one temporary directory, on 127.0.0.1 alone.
//
// It puts tasks into etcd and tells what happens; what it tells of the agent
// it has from the agent's HTTP API. With --once it writes a fixed number of
// lines through rotations and an edit of the task, and exits 0 only if each line
// arrived exactly once and in order. It leaves nothing behind.
//
//	main.go   flags, signals, exit code
//	story.go  what both modes have in common; once.go and demo.go: the modes
//	world.go  what runs
//	writer.go reader.go watch.go  those who write, consume, and ask the agent
//	board.go  what they know, and how the story waits for it
//	show.go   how it looks
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // a line is missing, came twice or in disorder, or a part failed
	exitUsage  = 2
)

const fewestLines = 100 // fewer leave no room for rotations and an edit

var errUsage = errors.New("see logferry-sandbox --help")

func main() {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends it at once. Some senders signal twice for one stop.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, release) })
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	cmd := command(out, errOut)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(errOut, "logferry-sandbox: %v\n", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

func command(out, errOut io.Writer) *cobra.Command {
	opts := options{command: logferry(), patience: defaultPatience, tempo: defaultTempo, lastWait: defaultLastWait}
	verbose := false
	cmd := &cobra.Command{
		Use:   "logferry-sandbox",
		Short: "Watch lines flow from rotating files through tasks in etcd into Kafka",
		Long: `Start an embedded etcd, an in-process Kafka, programs that write and rotate logs, and the logferry agent, put
tasks into etcd, and tell what happens until Ctrl-C. Nothing outside of a temporary directory is touched.`,
		Example: `  logferry-sandbox
  logferry-sandbox --rate 5000
  logferry-sandbox --once --lines 200000`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q is one argument too many; %w", args[0], errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.lines < fewestLines || opts.lines >= forever {
				return fmt.Errorf("--lines: must be at least %d and less than %d; %w", fewestLines, forever, errUsage)
			}
			if opts.rate < 1 || opts.rate > 1_000_000 {
				return fmt.Errorf("--rate: must be between 1 and 1000000; %w", errUsage)
			}
			if verbose {
				opts.verbose = errOut
			}
			return run(cmd.Context(), opts, out)
		},
	}
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; %w", err, errUsage) })
	cmd.Flags().BoolVar(&opts.once, "once", false, "write --lines lines through rotations and an edit, check that each arrived, and end")
	cmd.Flags().Uint64Var(&opts.lines, "lines", 20_000, "with --once: how many lines")
	cmd.Flags().IntVar(&opts.rate, "rate", 200, "without --once: lines a second")
	cmd.Flags().BoolVar(&opts.keep, "keep", false, "keep the temporary directory")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "the agent's log goes to standard error")
	return cmd
}

// logferry is how to call the agent's binary: the one that stands beside this
// one, or from the source.
func logferry() string {
	self, err := os.Executable()
	if err != nil {
		return "logferry"
	}
	path := filepath.Join(filepath.Dir(self), "logferry")
	if _, err := os.Stat(path); err != nil {
		return "go run ./cmd/logferry"
	}
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
