// Command run is the benchmark: `make bench`. In one run it starts real
// Apache Kafka on this machine and times, in turn and on the same data, the
// tutorial shape (bench/tutorial), logferry with each of its writers, and any
// other agent that a start script is given for; beside them the floor, which
// is the least that any agent has to do. docs/benchmarks.md says what each
// number means.
//
// Tables go to standard output as Markdown, progress to standard error. It
// needs Linux, Go, Java and Maven.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command returns the exit code: 0 fine, 1 failed, 2 wrong usage.
func command(ctx context.Context, args []string, out, progress io.Writer) int {
	opt, err := parseOptions(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	log := slog.New(slog.NewTextHandler(progress, nil))
	if err := benchmark(ctx, opt, out, log); err != nil {
		log.Error("benchmark failed", "error", err)
		return 1
	}
	return 0
}

func benchmark(ctx context.Context, opt options, out io.Writer, log *slog.Logger) error {
	b, err := newBench(ctx, opt, log)
	if err != nil {
		return err
	}
	err = errors.Join(b.measure(ctx), b.close())
	for _, section := range b.report.order {
		fmt.Fprintf(out, "## %s\n\n%s\n", section, b.report.blocks[section])
	}
	if err == nil && opt.update != "" {
		return b.report.update(opt.update)
	}
	return err
}
