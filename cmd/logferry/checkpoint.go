package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/collector"
	"logferry/collector/checkpoint"
	"logferry/collector/tail"
)

func (a *app) checkpointCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "checkpoint",
		Aliases: []string{"checkpoints"},
		Short:   "List, set and forget the committed offsets of an agent's files",
		Long: `For each task and file, the agent remembers in its state_dir up to which offset everything is delivered; there it goes on after a
start. list shows these offsets at any time. set and rm change them, while the agent is stopped.`,
	}
	cmd.RunE = a.group
	cmd.AddCommand(a.checkpointListCmd(), a.checkpointSetCmd(), a.checkpointRmCmd())
	return cmd
}

// checkpointFlags say whose checkpoints are meant.
type checkpointFlags struct {
	config   *configFlag
	stateDir string
	task     string
}

func checkpointVars(cmd *cobra.Command) *checkpointFlags {
	f := &checkpointFlags{config: configVar(cmd)}
	cmd.Flags().StringVar(&f.stateDir, "state-dir", "", "the agent's state_dir (LOGFERRY_STATE_DIR; default "+agent.DefaultStateDir+")")
	cmd.Flags().StringVar(&f.task, "task", "", "of this task only")
	return f
}

func (f *checkpointFlags) load(a *app) (agent.Config, error) {
	cfg, err := f.config.load(a)
	if err != nil {
		return agent.Config{}, err
	}
	if f.stateDir != "" {
		cfg.StateDir = f.stateDir
	}
	cfg.SetDefaults()
	return cfg, nil
}

// checkpointRow is what is remembered of one file.
type checkpointRow struct {
	Task      string    `json:"task"`
	Path      string    `json:"path"`
	File      string    `json:"file"`
	Committed int64     `json:"committed_bytes"`
	Size      *int64    `json:"size_bytes"` // null: the file is not under its path any more
	State     string    `json:"state"`      // see stateWords; of an agent that runs: what the file is doing
	Updated   time.Time `json:"updated,omitzero"`
}

const (
	stateCurrent = "current" // it stands under its path
	stateRotated = "rotated" // another file does, or none
	stateDone    = "done"    // rotated, or of a task that reads once, and delivered to its end
)

func (a *app) checkpointListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PATH]",
		Short: "List the committed offsets, of all files or of one path",
		Long: `List the committed offsets. While the agent runs, its database is locked, and the agent itself is asked over HTTP: then only files
that it collects now are listed. A file is current when it stands under its path, rotated when it does not any more, and done
when it is also delivered to its end; an agent that runs says what it does with each.`,
		Example: `  logferry checkpoint list
  logferry checkpoint list /var/log/nginx/access.log --state-dir /var/lib/logferry -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%q is one argument too many", args[1])
			}
			return nil
		},
	}
	f, output := checkpointVars(cmd), outputVar(cmd, "table", "json")
	completeArg(cmd, false, a.checkpointPaths(f))
	target := a.agentVars(cmd, "", ", if it runs (default http.listen of the configuration)")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		cfg, err := f.load(a)
		if err != nil {
			return err
		}
		path := ""
		if len(args) == 1 {
			if path, err = filepath.Abs(args[0]); err != nil {
				return fmt.Errorf("find %s: %w", args[0], err)
			}
		}
		if target.address == "" {
			own := a.agentOf(cfg)
			target.address, target.pinned, target.tokenFile = own.address, own.pinned, cmp.Or(target.tokenFile, own.tokenFile)
		}
		rows, err := a.checkpointRows(cmd.Context(), cfg, target)
		if err != nil {
			return err
		}
		rows = slices.DeleteFunc(rows, func(r checkpointRow) bool {
			return (path != "" && r.Path != path) || (f.task != "" && r.Task != f.task)
		})
		slices.SortFunc(rows, func(a, b checkpointRow) int {
			return cmp.Or(strings.Compare(a.Task, b.Task), strings.Compare(a.Path, b.Path), a.Updated.Compare(b.Updated), strings.Compare(a.File, b.File))
		})
		return a.show(output, rows, func(t *table) {
			t.row("TASK", "PATH", "FILE", "COMMITTED", "SIZE", "STATE", "UPDATED")
			for _, r := range rows {
				size := "-"
				if r.Size != nil {
					size = strconv.FormatInt(*r.Size, 10)
				}
				t.row(r.Task, r.Path, r.File, r.Committed, size, r.State, moment(r.Updated))
			}
		})
	})
	return cmd
}

// checkpointRows reads the database, or asks the agent that has it.
func (a *app) checkpointRows(ctx context.Context, cfg agent.Config, target *agentFlags) ([]checkpointRow, error) {
	s, err := checkpoint.OpenExisting(cfg.StateDir, false, a.newLog("warn", "text"))
	if errors.Is(err, checkpoint.ErrInUse) {
		return runningRows(ctx, target)
	} else if err != nil {
		return nil, checkpointWords(err, cfg.StateDir)
	}
	defer func() { _ = s.Close() }()
	rows := []checkpointRow{}
	err = eachCheckpoint(s, func(task string, id checkpoint.FileID, st checkpoint.State) {
		rows = append(rows, rowOf(task, id, st))
	})
	return rows, err
}

func eachCheckpoint(s *checkpoint.Store, each func(task string, id checkpoint.FileID, st checkpoint.State)) error {
	tasks, err := s.Tasks()
	if err != nil {
		return fmt.Errorf("list tasks with checkpoints: %w", err)
	}
	for _, task := range tasks {
		states, err := s.Load(task)
		if err != nil {
			return err
		}
		for id, st := range states {
			each(task, id, st)
		}
	}
	return nil
}

func rowOf(task string, id checkpoint.FileID, st checkpoint.State) checkpointRow {
	r := checkpointRow{Task: task, Path: st.Path, File: id.String(), Committed: st.Offset, State: stateRotated, Updated: st.Updated}
	info, err := tail.Look(st.Path)
	switch {
	case err == nil && info.ID == id && st.Packed == "" && !st.Done && st.Once != checkpoint.OnceEnded:
		r.State, r.Size = stateCurrent, &info.Size
	case st.Done, st.Once == checkpoint.OnceEnded:
		r.State = stateDone
	}
	return r
}

func runningRows(ctx context.Context, target *agentFlags) ([]checkpointRow, error) {
	var answer struct {
		Files []collector.FileStatus `json:"files"`
	}
	if err := askAgent(ctx, target, "/api/v1/files", &answer); err != nil {
		return nil, fmt.Errorf("an agent has the checkpoints open, and does not answer: %w", err)
	}
	rows := []checkpointRow{}
	for _, f := range answer.Files {
		rows = append(rows, checkpointRow{Task: f.Task, Path: f.Path, File: f.File, Committed: f.Committed, Size: &f.Size, State: string(f.State)})
	}
	return rows, nil
}

// checkpointWords says what to do when there is no database to open.
func checkpointWords(err error, dir string) error {
	switch {
	case errors.Is(err, checkpoint.ErrInUse):
		return fmt.Errorf("an agent runs on %s; stop it first: it would not notice, and write its own offsets over these", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s holds no checkpoints; name the agent's state_dir with --state-dir or --config", dir)
	}
	return err
}
