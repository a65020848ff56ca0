package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

// changeCheckpoints opens the database, hands over what it holds of path, by
// task, and writes what change did. What change returns is called afterwards.
func (a *app) changeCheckpoints(cfg agent.Config, path string, change func(s *checkpoint.Store, of map[string][]checkpoint.FileID) (say func() error, err error)) (err error) {
	s, err := checkpoint.OpenExisting(cfg.StateDir, true, a.newLog("warn", "text"))
	if err != nil {
		return checkpointWords(err, cfg.StateDir)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	of := map[string][]checkpoint.FileID{}
	err = eachCheckpoint(s, func(task string, id checkpoint.FileID, st checkpoint.State) {
		if st.Path == path {
			of[task] = append(of[task], id)
		}
	})
	if err != nil {
		return err
	}
	say, err := change(s, of)
	if err != nil {
		return err
	}
	if err := s.Sync(); err != nil {
		return err
	}
	return say()
}

// pickTask decides which task is meant.
func pickTask(of map[string][]checkpoint.FileID, name, path string) (string, error) {
	var names []string
	for n := range of {
		names = append(names, n)
	}
	slices.Sort(names)
	switch {
	case name != "" && of[name] != nil, name == "" && len(names) == 1:
		return cmp.Or(name, names[0]), nil
	case name != "":
		return "", fmt.Errorf("task %q has no checkpoint of %s; 'logferry checkpoint list' shows those that there are", name, path)
	case len(names) == 0:
		return "", fmt.Errorf("there is no checkpoint of %s; 'logferry checkpoint list' shows those that there are", path)
	}
	return "", usagef("%s is collected by %s; name one with --task", path, strings.Join(names, " and "))
}

func (a *app) checkpointSetCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set PATH beginning|end|OFFSET",
		Short: "Let a stopped agent go on elsewhere in a file",
		Long: `Set the committed offset of the file that stands under PATH: the agent goes on there at its next start. An offset is in bytes and must
be where a line starts; 'end' is behind the last whole line.

What this does to the promise that each line arrives at least once: an offset before the present one sends what is between them
again (doubled lines); one behind it skips what is between them for good. Nothing else tells them from lines that were
delivered. Rotated files of the path that are not delivered to their end are not touched, and are read as before.

The agent must be stopped. --force takes an offset in the middle of a line, whose rest is then sent as a line of its own, and, with
--task, a file that the task has no checkpoint of yet.`,
		Example: `  logferry checkpoint set /var/log/nginx/access.log end
  logferry checkpoint set /var/log/nginx/access.log 1048576 --task web --state-dir /var/lib/logferry`,
		Args: needs("PATH", "OFFSET"),
	}
	f, output := checkpointVars(cmd), outputVar(cmd, "table", "json")
	paths := a.checkpointPaths(f)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return askNames(cmd, paths, nil, typed)
		case 1:
			return []string{"beginning", "end"}, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	force := cmd.Flags().Bool("force", false, "also in the middle of a line, and for a file without a checkpoint")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return fmt.Errorf("find %s: %w", args[0], err)
		}
		offset, err := parsePlace(args[1])
		if err != nil {
			return err
		}
		cfg, err := f.load(a)
		if err != nil {
			return err
		}
		return a.changeCheckpoints(cfg, path, func(s *checkpoint.Store, of map[string][]checkpoint.FileID) (func() error, error) {
			task, err := pickTask(of, f.task, path)
			if err != nil && *force && f.task != "" {
				task, err = f.task, nil
			}
			if err != nil {
				return nil, err
			}
			return a.setCheckpoint(s, output, task, path, offset, *force)
		})
	})
	return cmd
}

func parsePlace(s string) (int64, error) {
	switch s {
	case "beginning":
		return 0, nil
	case "end":
		return tail.End, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, usagef("OFFSET: %q is no place in a file; write beginning, end, or a number of bytes", s)
	}
	return n, nil
}

func (a *app) setCheckpoint(s *checkpoint.Store, output *outputFlag, task, path string, offset int64, force bool) (say func() error, err error) {
	id, st, err := tail.StateAt(task, path, offset, force, slog.New(slog.DiscardHandler))
	if errors.Is(err, tail.ErrMidLine) {
		return nil, fmt.Errorf("%w; take one of them, or --force", err)
	} else if err != nil {
		return nil, fileWords(err)
	}
	st.Updated = time.Now()
	before, known := s.Get(task, id)
	if known {
		st.Elsewhere = before.Elsewhere
		if before.Once != checkpoint.OnceNot {
			st.Once, st.Until = checkpoint.OnceOpen, before.Until
		}
	}
	s.Put(task, id, st)
	what := "; nothing was committed before"
	switch {
	case known && st.Offset < before.Offset:
		what = fmt.Sprintf(" and sends %s again", count(int(before.Offset-st.Offset), "byte"))
	case known && st.Offset > before.Offset:
		what = fmt.Sprintf(" and skips %s", count(int(st.Offset-before.Offset), "byte"))
	case known:
		what = ", as before"
	}
	return func() error {
		return a.show(output, rowOf(task, id, st), func(t *table) {
			t.row(fmt.Sprintf("task %s goes on at byte %d of %s%s", task, st.Offset, path, what))
		})
	}, nil
}

func (a *app) checkpointRmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm PATH",
		Short: "Let a stopped agent forget a path",
		Long: `Forget what was delivered of PATH, its rotated files included. When the agent starts again and the task still collects the path, its file is
one that was never seen: it is read from its beginning, whatever 'start' says, so all of its lines that were delivered are sent
again (doubled). Rotated files that were not delivered to their end are history then, and their rest is never sent (lost).

The agent must be stopped.`,
		Example: `  logferry checkpoint rm /var/log/nginx/access.log
  logferry checkpoint rm /var/log/nginx/access.log --task web`,
		Args: needs("PATH"),
	}
	f, output := checkpointVars(cmd), outputVar(cmd, "table", "json")
	completeArg(cmd, false, a.checkpointPaths(f))
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return fmt.Errorf("find %s: %w", args[0], err)
		}
		cfg, err := f.load(a)
		if err != nil {
			return err
		}
		return a.changeCheckpoints(cfg, path, func(s *checkpoint.Store, of map[string][]checkpoint.FileID) (func() error, error) {
			task, err := pickTask(of, f.task, path)
			if err != nil {
				return nil, err
			}
			for _, id := range of[task] {
				if st, ok := s.Get(task, id); ok && st.Once != checkpoint.OnceNot { // the task would not look for it again
					s.Put(task, id, st.Again())
					continue
				}
				s.Delete(task, id)
			}
			return func() error {
				return a.show(output, map[string]any{"task": task, "path": path, "files": len(of[task])}, func(t *table) {
					t.row(fmt.Sprintf("task %s forgot %s of %s", task, count(len(of[task]), "file"), path))
				})
			}, nil
		})
	})
	return cmd
}
