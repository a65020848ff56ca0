package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

func (a *app) taskCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "task",
		Short: "Look after the tasks in etcd",
		Long: `Look after the tasks in etcd. A task is a small text in YAML or JSON; two keys are enough:

  paths: [/var/log/nginx/*.log]
  topic: web_log`,
		Args: cobra.ArbitraryArgs,
		RunE: a.group,
	}
	cmd.AddCommand(a.taskPutCmd(), a.taskGetCmd(), a.taskListCmd(), a.taskRmCmd(), a.taskValidateCmd(), a.taskTryCmd(), a.taskDiffCmd(),
		a.taskHistoryCmd(), a.taskRollbackCmd(), a.taskPauseCmd(true), a.taskPauseCmd(false))
	return cmd
}

// remote is an open store and what its tasks are held against.
type remote struct {
	*etcdsource.Store
	allow task.AllowList
	group string // of the tasks; empty: those for all agents
}

// args is a task's name as it stands in a command line.
func (s remote) args(name string) string {
	if s.group == "" {
		return name
	}
	return name + " --group " + s.group
}

// withStore opens the store, works and closes.
func (a *app) withStore(cmd *cobra.Command, e *etcdFlags, work func(ctx context.Context, s remote) error) error {
	cfg, err := e.resolve(a, cmd)
	if err != nil {
		return err
	}
	if e.group != "" && !task.ValidWord(e.group) {
		return usagef("--group: %q cannot name a group; use up to 63 letters, digits, '.', '_' and '-'", e.group)
	}
	s, err := openStore(cfg, e)
	if err != nil {
		return err
	}
	if e.group != "" {
		s.Store, s.group = s.Group(e.group), e.group
	}
	err = work(cmd.Context(), s)
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	return err
}

// openStore takes allow_paths from the configuration file. Without one the
// paths are not known that the agents allow, and any will do.
func openStore(cfg agent.Config, e *etcdFlags) (remote, error) {
	patterns := cfg.AllowPaths
	if e.config.path == "" {
		patterns = []string{"/**"}
	}
	allow, err := task.NewAllowList(patterns)
	if err != nil {
		return remote{}, badConfig(err)
	}
	client, err := cfg.Tasks.Etcd.Client()
	if err != nil {
		return remote{}, badConfig(err)
	}
	client.DialTimeout, client.RequestTimeout = e.timeout, e.timeout
	store, err := etcdsource.OpenStore(client, slog.New(slog.DiscardHandler))
	if err != nil {
		return remote{}, badConfig(err)
	}
	return remote{Store: store, allow: allow}, nil
}

// needTaskName checks the name in the first argument.
func needTaskName(name string) error {
	if err := task.CheckName(name); err != nil {
		return usagef("%w", err)
	}
	return nil
}

func (a *app) taskPutCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "put NAME -f FILE",
		Short: "Store a task, if it is valid",
		Long: `Store a task as it is written, after it was found valid. "-f -" reads standard input. With --group, only agents of that group
ever see it; the group is there as soon as a task is.`,
		Example: `  logferry task put web -f web.yaml --etcd 127.0.0.1:2379
  echo '{"paths":["/var/log/nginx/*.log"],"topic":"web_log"}' | logferry task put web -f - --etcd 127.0.0.1:2379`,
		Args: needs("NAME"),
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "text", "json")
	completeArg(cmd, false, a.taskNames(e))
	file := taskFileVar(cmd)
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		w, err := a.written(args[0], *file)
		if err != nil {
			return err
		}
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			t, err := task.DecodeRemote(w.data, w.origin, w.name, s.allow)
			if err != nil {
				return badConfig(err)
			}
			entry, err := s.Put(ctx, w.name, w.data)
			if err != nil {
				return err
			}
			verb := "changed"
			if entry.Version == 1 {
				verb = "created"
			}
			doc := map[string]any{"name": w.name, "revision": entry.Modified, "created": entry.Version == 1}
			if err := a.stored(ctx, s, output, doc, fmt.Sprintf("%s task %s", verb, w.name), entry); err != nil || t.From == "" {
				return err
			}
			if _, err := s.Get(ctx, t.From); err == nil {
				a.say(output, "where task %s runs, %s waits until that is removed: logferry task rm %s", t.From, w.name, s.args(t.From))
			}
			return nil
		})
	})
	return cmd
}

// stored tells that a text was stored, and whom it reaches when.
func (a *app) stored(ctx context.Context, s remote, output *outputFlag, doc map[string]any, words string, entry etcdsource.Entry) error {
	f := s.forecast(ctx, entry)
	if f != nil {
		doc["rollout"] = f
	}
	return a.show(output, doc, func(t *table) {
		t.row(fmt.Sprintf("%s, revision %d", words, entry.Modified))
		f.say(t, etcdsource.Qualified(entry.Group, entry.Name))
	})
}

func (a *app) taskGetCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Print a task as it is stored, or was",
		Long: `Print a task as it is stored, or was. While its change has not reached every agent, or when it went back, standard error says so,
and why.`,
		Args: needs("NAME"),
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "value", "json")
	completeArg(cmd, false, a.taskNames(e))
	at := revisionVar(cmd, "print it as it was at this revision of etcd")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		if err := needTaskName(args[0]); err != nil {
			return err
		}
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			entry, err := s.asOf(ctx, args[0], *at)
			if err != nil {
				return err
			}
			progress := s.progress(ctx, entry)
			if output.format == "json" {
				l := listed(entry, s.allow)
				l.Rollout = progress
				return a.show(output, l, nil)
			}
			if progress != nil { // not on standard output, which may be put again
				fmt.Fprintf(a.err, "logferry: %s\n", rolloutLine(etcdsource.Qualified(entry.Group, entry.Name), progress))
			}
			_, err = a.out.Write(entry.Raw)
			return err
		})
	})
	return cmd
}

// listedTask is one task as list and get show it.
type listedTask struct {
	Name     string   `json:"name"`
	Group    string   `json:"group,omitempty"` // empty: it is for all agents
	Topic    string   `json:"topic"`
	Paths    []string `json:"paths"`
	Revision int64    `json:"revision"`
	Valid    bool     `json:"valid"`
	Paused   bool     `json:"paused,omitempty"`
	Error    string   `json:"error,omitempty"`
	Value    string   `json:"value"`

	Rollout *etcdsource.RolloutProgress `json:"rollout,omitempty"`
}

func (l listedTask) state() string {
	switch {
	case !l.Valid:
		return "not valid: " + l.Error
	case l.Paused:
		return "paused"
	case l.Rollout != nil:
		return "valid; " + rolloutWords(l.Rollout)
	}
	return "valid"
}

func listed(e etcdsource.Entry, allow task.AllowList) listedTask {
	l := listedTask{Name: e.Name, Group: e.Group, Paths: []string{}, Revision: e.Modified, Value: string(e.Raw)}
	t, err := task.DecodeRemote(e.Raw, e.Name, e.Name, allow)
	if err != nil {
		l.Error = strings.Join(problemLines(err), "; ")
		return l
	}
	l.Topic, l.Paths, l.Paused, l.Valid = t.Topic, t.Paths, t.Paused, true
	return l
}

func (a *app) taskListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the tasks in etcd",
		Long: `List the tasks in etcd: those for all agents, and as GROUP/NAME those of groups.`, Args: needs()}
	e, output := a.taskVars(cmd), outputVar(cmd, "table", "json")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error {
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			entries, err := s.listed(ctx)
			if err != nil {
				return err
			}
			progress := s.progressOf(ctx, entries)
			tasks := make([]listedTask, len(entries))
			for i, entry := range entries {
				tasks[i] = listed(entry, s.allow)
				tasks[i].Rollout = progress[entry.Qualified()]
			}
			return a.show(output, tasks, func(t *table) {
				t.row("NAME", "TOPIC", "PATHS", "REVISION", "STATE")
				for _, l := range tasks {
					t.row(etcdsource.Qualified(l.Group, l.Name), textOrDash(l.Topic), textOrDash(strings.Join(l.Paths, " ")), l.Revision, l.state())
				}
			})
		})
	})
	return cmd
}

// listed returns all tasks, or those of the group.
func (s remote) listed(ctx context.Context) ([]etcdsource.Entry, error) {
	if s.group == "" {
		return s.ListAll(ctx)
	}
	entries, _, err := s.List(ctx)
	return entries, err
}

func (a *app) taskRmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete"},
		Short:   "Delete tasks; agents stop collecting for them",
		Args:    needs("NAME..."),
	}
	e, output := a.taskVars(cmd), outputVar(cmd, "text", "json")
	completeArg(cmd, true, a.taskNames(e))
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		err := a.eachTask(cmd, e, args, func(ctx context.Context, s remote, name string) error {
			revision, err := s.Delete(ctx, name)
			if err != nil {
				return err
			}
			a.say(output, "deleted task %s; 'logferry task rollback %s --to %d' brings it back", name, s.args(name), revision-1)
			return nil
		})
		if err == nil && output.format == "json" {
			return a.show(output, map[string][]string{"deleted": args}, nil)
		}
		return err
	})
	return cmd
}

// eachTask does something to one named task after the other, once all of the
// names are found to be names.
func (a *app) eachTask(cmd *cobra.Command, e *etcdFlags, names []string, do func(context.Context, remote, string) error) error {
	for _, name := range names {
		if err := needTaskName(name); err != nil {
			return err
		}
	}
	return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
		for _, name := range names {
			if err := do(ctx, s, name); err != nil {
				return err
			}
		}
		return nil
	})
}
