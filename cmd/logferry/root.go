package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2  // an unknown flag, a missing argument
	exitBadConfig = 78 // a configuration file or a task is not valid; EX_CONFIG of sysexits.h
)

// app is one run of the command line.
type app struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string

	started bool // a command's own code runs: its arguments were right
}

// codedError is an error that decides the exit code. Without words it ends
// the process silently, because the command has said what there is to say.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }

// usagef is an error about how the command was called.
func usagef(format string, args ...any) error {
	return &codedError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// badConfig marks err as a fault of a file or a task. A value that was given
// by a flag is wrong usage instead.
func badConfig(err error) error {
	if err == nil {
		return nil
	}
	if strings.HasPrefix(err.Error(), "--") {
		return &codedError{code: exitUsage, err: err}
	}
	return &codedError{code: exitBadConfig, err: err}
}

// silent ends with code and no further word.
func silent(code int) error { return &codedError{code: code} }

// execute runs the command line and returns its exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.newRoot()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var coded *codedError
	code := exitFailed
	switch {
	case errors.As(err, &coded):
		code = coded.code
		if coded.err == nil {
			return code
		}
	case !a.started:
		code = exitUsage
	}
	if code == exitBadConfig {
		// A file may have several faults, each with its own line.
		for _, line := range problemLines(err) {
			fmt.Fprintf(a.err, "logferry: %s\n", oneLine(line))
		}
		return code
	}
	words := oneLine(err.Error())
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		words = "interrupted"
	}
	if code == exitUsage {
		words += fmt.Sprintf("; see '%s --help'", cmd.CommandPath())
	}
	fmt.Fprintf(a.err, "logferry: %s\n", words)
	return code
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\n", " ")), " ")
}

func (a *app) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "logferry",
		Short: "Ship every line of your files to Apache Kafka",
		Long: `logferry tails files and ships every line to Apache Kafka, at least once and in order.
Tasks say which files go to which topic; they live in files or in etcd, and change while it runs.

Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 bad configuration.`,
		Example: `  logferry run --path '/var/log/nginx/*.log' --topic web_log --brokers 127.0.0.1:9092
  logferry run --config /etc/logferry/agent.yaml`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
	}
	root.RunE = a.group
	root.SetVersionTemplate("logferry {{.Version}}\n")
	root.AddCommand(
		a.runCmd(),
		a.checkCmd(),
		a.taskCmd(),
		a.agentsCmd(),
		a.statusCmd(),
		a.topCmd(),
		a.explainCmd(),
		a.tapCmd(),
		a.checkpointCmd(),
		a.deadletterCmd(),
		a.topicCmd(),
		a.produceCmd(),
		a.consumeCmd(),
		a.versionCmd(),
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = cobra.ArbitraryArgs, a.group
		}
	}
	return root
}

// body makes a command's code: from there on a failure is not one of usage
// unless it says so.
func (a *app) body(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(cmd, args)
	}
}

// group is the code of a command that only holds others.
func (a *app) group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		if !cmd.HasParent() {
			return cmd.Help()
		}
		return usagef("%s needs a command: %s", cmd.CommandPath(), strings.Join(childNames(cmd), ", "))
	}
	if near := nearestChild(cmd, args[0]); near != "" {
		return usagef("unknown command %q; did you mean %q?", args[0], near)
	}
	return usagef("unknown command %q; there are %s", args[0], strings.Join(childNames(cmd), ", "))
}

// nearestChild is the command that somebody may have meant: the one with the
// fewest letters wrong, and of several the longest, as letters rather get lost.
func nearestChild(cmd *cobra.Command, typed string) (name string) {
	for wrong := 1; wrong <= 2 && name == ""; wrong++ {
		cmd.SuggestionsMinimumDistance = wrong
		for _, near := range cmd.SuggestionsFor(typed) {
			if len(near) > len(name) {
				name = near
			}
		}
	}
	return name
}

func childNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// needs wants exactly the named arguments; a last name that ends in "..."
// stands for one or more.
func needs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		more := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		if len(args) < len(names) {
			return usagef("%s is missing", strings.TrimSuffix(names[len(args)], "..."))
		}
		if len(args) > len(names) && !more {
			return usagef("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}
