package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

// taskVersion is one version of a task as history shows it.
type taskVersion struct {
	Revision int64    `json:"revision"`
	Version  int64    `json:"version"` // how often the task was written since it was created, from 1
	Valid    bool     `json:"valid"`
	Error    string   `json:"error,omitempty"`
	Changed  []string `json:"changed,omitempty"` // keys that differ from the version before
	Value    string   `json:"value"`

	note string // in place of Changed, where that says nothing
}

func (a *app) taskHistoryCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List the versions of a task that etcd remembers",
		Long: `List the versions of a task, the newest first, with the keys that each one changed. They are etcd's own: what it has compacted is
gone, and what was before the task was last created is not listed. etcd's --auto-compaction-retention says how long it remembers.`,
		Example: "  logferry task history web --etcd 127.0.0.1:2379",
		Args:    needs("NAME"),
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "table", "json")
	completeArg(cmd, false, a.taskNames(e))
	limit := cmd.Flags().Int("limit", 20, "how many versions to list")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		if err := needTaskName(args[0]); err != nil {
			return err
		}
		if *limit < 1 {
			return usagef("--limit: must be at least 1")
		}
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			// One more than is shown tells what the last one changed.
			entries, compacted, err := s.History(ctx, args[0], *limit+1)
			if err != nil {
				return bringBack(err, s.args(args[0]))
			}
			versions := versionsOf(entries, s.allow, compacted)
			if len(versions) > *limit {
				versions, compacted = versions[:*limit], false
			}
			doc := map[string]any{"name": args[0], "versions": versions, "compacted": compacted}
			return a.show(output, doc, func(t *table) { historyTable(t, versions, compacted) })
		})
	})
	return cmd
}

func historyTable(t *table, versions []taskVersion, compacted bool) {
	t.row("REVISION", "VERSION", "CHANGED", "STATE")
	for _, v := range versions {
		state := "valid"
		if !v.Valid {
			state = "not valid: " + v.Error
		}
		changed := strings.Join(v.Changed, " ")
		if changed == "" {
			changed = v.note
		}
		t.row(v.Revision, v.Version, changed, state)
	}
	if compacted {
		_ = t.w.Flush()
		fmt.Fprintln(t.w, "etcd has compacted what was before")
	}
}

// versionsOf compares each entry with the next, which is the one before it.
func versionsOf(entries []etcdsource.Entry, allow task.AllowList, compacted bool) []taskVersion {
	versions := make([]taskVersion, len(entries))
	for i, entry := range entries {
		l := listed(entry, allow)
		v := taskVersion{Revision: entry.Modified, Version: entry.Version, Valid: l.Valid, Error: l.Error, Value: l.Value, note: "-"}
		switch {
		case entry.Version == 1:
			v.note = "created"
		case i+1 < len(entries):
			v.Changed, v.note = changedKeys(entries[i+1], entry)
		case compacted:
			v.note = "?"
		}
		versions[i] = v
	}
	return versions
}

// changedKeys lists the keys in which two versions of a task differ, or says
// why it cannot.
func changedKeys(before, after etcdsource.Entry) (keys []string, note string) {
	b, errBefore := task.DecodeOne(before.Raw, before.Name, before.Name)
	a, errAfter := task.DecodeOne(after.Raw, after.Name, after.Name)
	if errBefore != nil || errAfter != nil {
		return nil, "-"
	}
	left, right := reflect.ValueOf(b), reflect.ValueOf(a)
	for i := range left.NumField() {
		if !reflect.DeepEqual(left.Field(i).Interface(), right.Field(i).Interface()) {
			key, _, _ := strings.Cut(left.Type().Field(i).Tag.Get("yaml"), ",")
			keys = append(keys, key)
		}
	}
	return keys, "wording only"
}

func (a *app) taskRollbackCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Put an earlier version of a task again",
		Long: `Put an earlier version of a task again: the one before its newest change, or that of --to, which may be any revision of etcd
at which the task was there, also when it was removed since. The text is checked as by put. Agents go on at their committed
offsets. A task that somebody else changes in the same moment is left alone.`,
		Example: `  logferry task history web --etcd 127.0.0.1:2379
  logferry task rollback web --to 42 --etcd 127.0.0.1:2379`,
		Args: needs("NAME"),
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "text", "json")
	completeArg(cmd, false, a.taskNames(e))
	to := cmd.Flags().Int64("to", 0, "revision to go back to (default the one before the newest change)")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		name := args[0]
		if err := needTaskName(name); err != nil {
			return err
		}
		if cmd.Flags().Changed("to") && *to < 1 {
			return usagef("--to: %d is not a revision; 'logferry task history %s' lists them", *to, name)
		}
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			now, target, err := s.rollbackTarget(ctx, name, *to)
			if err != nil {
				return err
			}
			if _, err := task.DecodeRemote(target.Raw, fmt.Sprintf("%s@rev %d", name, target.Modified), name, s.allow); err != nil {
				return badConfig(err)
			}
			if now.Version > 0 && string(now.Raw) == string(target.Raw) {
				return a.wrote(output, "task "+name+" is already as it was at revision", name, target.Modified, now.Modified)
			}
			entry, err := s.Replace(ctx, name, target.Raw, now.Modified)
			if err != nil {
				return lookAgain(err, s.args(name))
			}
			doc := map[string]any{"name": name, "from": target.Modified, "revision": entry.Modified}
			return a.stored(ctx, s, output, doc, fmt.Sprintf("rolled back task %s to revision %d", name, target.Modified), entry)
		})
	})
	return cmd
}

// wrote tells which version a task has now.
func (a *app) wrote(output *outputFlag, words, name string, from, revision int64) error {
	doc := map[string]any{"name": name, "from": from, "revision": revision}
	return a.show(output, doc, func(t *table) { t.row(fmt.Sprintf("%s %d, revision %d", words, from, revision)) })
}

// rollbackTarget returns the task as it is, perhaps not there, and as it was.
func (s remote) rollbackTarget(ctx context.Context, name string, to int64) (now, target etcdsource.Entry, err error) {
	now, err = s.Get(ctx, name)
	switch {
	case err != nil && (!errors.Is(err, etcdsource.ErrNotFound) || to == 0):
		return now, target, bringBack(err, s.args(name))
	case to == 0 && now.Version == 1:
		return now, target, fmt.Errorf("task %q was created at revision %d and not changed since; name an older revision with --to, or remove the task", name, now.Modified)
	case to == 0:
		to = now.Modified - 1
	}
	target, err = s.at(ctx, name, to)
	return now, target, err
}

// at is Store.At with words for people.
func (s remote) at(ctx context.Context, name string, revision int64) (etcdsource.Entry, error) {
	entry, err := s.At(ctx, name, revision)
	switch {
	case errors.Is(err, etcdsource.ErrCompacted):
		return entry, fmt.Errorf("etcd has compacted task %q as of revision %d; put the text again with 'logferry task put %s -f FILE', "+
			"and let etcd remember for longer with --auto-compaction-retention", name, revision, s.args(name))
	case errors.Is(err, etcdsource.ErrNotFound):
		return entry, fmt.Errorf("task %q was not there at revision %d; 'logferry task history %s' lists its revisions", name, revision, s.args(name))
	}
	return entry, err
}

// bringBack says how a task that is not there may come back.
func bringBack(err error, name string) error {
	if errors.Is(err, etcdsource.ErrNotFound) {
		return fmt.Errorf("%w; if it was removed, 'logferry task rollback %s --to REVISION' with one at which it was there brings it back", err, name)
	}
	return err
}

// lookAgain says what to do when somebody else was faster.
func lookAgain(err error, name string) error {
	if errors.Is(err, etcdsource.ErrConflict) {
		return fmt.Errorf("%w; look at it with 'logferry task history %s' and try again", err, name)
	}
	return err
}

func (a *app) taskPauseCmd(pause bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume NAME...",
		Short: "Let paused tasks go on where they were",
		Long:  "Take the key paused out of tasks. Agents go on at the committed offsets.",
		Args:  needs("NAME..."),
	}
	state, verb := "runs", "resumed"
	if pause {
		cmd.Use, cmd.Short = "pause NAME...", "Let agents collect nothing for tasks, and keep their place"
		cmd.Long = "Write the key paused into tasks, and leave all else as it is. Agents deliver what they have read and stop."
		state, verb = "is paused", "paused"
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "text", "json")
	completeArg(cmd, true, a.taskNames(e))
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		return a.eachTask(cmd, e, args, func(ctx context.Context, s remote, name string) error {
			entry, err := s.Get(ctx, name)
			if err != nil {
				return err
			}
			text, err := task.WithPaused(entry.Raw, name, pause)
			if err != nil {
				return badConfig(err)
			}
			words := fmt.Sprintf("task %s %s already", name, state)
			if string(text) != string(entry.Raw) {
				if entry, err = s.Replace(ctx, name, text, entry.Modified); err != nil {
					return lookAgain(err, s.args(name))
				}
				words = verb + " task " + name
			}
			doc := map[string]any{"name": name, "paused": pause, "revision": entry.Modified}
			return a.stored(ctx, s, output, doc, words, entry)
		})
	})
	return cmd
}
