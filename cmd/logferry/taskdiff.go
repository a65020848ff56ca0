package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

func (a *app) taskDiffCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Compare the task in etcd with a file, or with what it was",
		Long: `Compare the task in etcd with a file (-f), or what it was at a revision with what it is now (--revision), or with a file (both).
Exit code 0: they are the same; 1: they differ, or comparing failed.`,
		Example: `  logferry task diff web -f web.yaml --etcd 127.0.0.1:2379
  logferry task diff web --revision 42 --etcd 127.0.0.1:2379`,
		Args: needs("NAME"),
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "text", "json")
	completeArg(cmd, false, a.taskNames(e))
	file := taskFileVar(cmd)
	at := revisionVar(cmd, "compare what it was at this revision of etcd")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		right := writtenTask{name: args[0]}
		if *at == 0 || *file != "" {
			var err error
			if right, err = a.written(args[0], *file); err != nil {
				return err
			}
		} else if err := needTaskName(args[0]); err != nil {
			return err
		}
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			left, err := s.side(ctx, right.name, *at)
			if err != nil {
				return err
			}
			if right.origin == "" {
				if right, err = s.side(ctx, right.name, 0); err != nil {
					return err
				}
			}
			return a.showDiff(output, left, right)
		})
	})
	return cmd
}

// side is a task of etcd as one side of a comparison, at a revision or now. It
// need not be there now.
func (s remote) side(ctx context.Context, name string, revision int64) (writtenTask, error) {
	entry, err := s.asOf(ctx, name, revision)
	if err != nil && (revision != 0 || !errors.Is(err, etcdsource.ErrNotFound)) {
		return writtenTask{}, err
	}
	w := writtenTask{name: name, data: entry.Raw, origin: "etcd:" + name}
	switch {
	case entry.Version == 0:
		w.origin += " (not there)"
	case revision != 0:
		w.origin += fmt.Sprintf("@rev %d", entry.Modified)
	}
	return w, nil
}

// revisionVar adds --revision; 0 stands for the task as it is now.
func revisionVar(cmd *cobra.Command, usage string) *int64 {
	return cmd.Flags().Int64("revision", 0, usage)
}

// asOf returns a task as it was at a revision, or as it is.
func (s remote) asOf(ctx context.Context, name string, revision int64) (etcdsource.Entry, error) {
	switch {
	case revision < 0:
		return etcdsource.Entry{}, usagef("--revision: %d is not a revision; 'logferry task history %s' lists them", revision, name)
	case revision == 0:
		return s.Get(ctx, name)
	}
	return s.at(ctx, name, revision)
}

// showDiff prints the difference and ends with exit code 1 when there is one.
func (a *app) showDiff(output *outputFlag, left, right writtenTask) error {
	text := string(diff.Diff(left.origin, left.data, right.origin, right.data))
	if _, rest, ok := strings.Cut(text, "\n"); ok {
		text = rest // without the command line that begins it
	}
	same := sameTask(left.data, right.data, right.name)
	var err error
	if output.format == "json" {
		err = a.show(output, map[string]any{"name": right.name, "equal": text == "", "same_meaning": same, "diff": text}, nil)
	} else {
		_, err = fmt.Fprint(a.out, text)
		if text != "" && same {
			a.say(output, "# the two are written differently and mean the same")
		}
	}
	if err == nil && text != "" {
		return silent(exitFailed)
	}
	return err
}

func sameTask(left, right []byte, name string) bool {
	l, err := task.DecodeOne(left, name, name)
	if err != nil {
		return false
	}
	r, err := task.DecodeOne(right, name, name)
	return err == nil && task.Equal(l, r)
}
