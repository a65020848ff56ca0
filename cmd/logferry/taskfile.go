package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logferry/agent/task"
)

// readTaskText reads a file, or standard input for "-". The origin is what
// messages call it.
func (a *app) readTaskText(file string) (data []byte, origin string, err error) {
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.in, task.MaxBytes+1))
		if err != nil {
			return nil, "", fmt.Errorf("read standard input: %w", err)
		}
		return data, "<stdin>", nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, "", badConfig(fileWords(err))
	}
	defer func() { _ = f.Close() }()
	data, err = io.ReadAll(io.LimitReader(f, task.MaxBytes+1))
	if err != nil {
		return nil, "", badConfig(fileWords(err))
	}
	return data, file, nil
}

// writtenTask is a task as a command was given it.
type writtenTask struct {
	name   string
	data   []byte
	origin string // what messages call the text
}

// taskFileVar adds -f, the file with a task.
func taskFileVar(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("file", "f", "", `file with the task; "-" is standard input`)
}

// written reads the task that a command's NAME and -f stand for.
func (a *app) written(name, file string) (writtenTask, error) {
	if err := needTaskName(name); err != nil {
		return writtenTask{}, err
	}
	if file == "" {
		return writtenTask{}, usagef(`-f is missing: the file with the task, or "-" for standard input`)
	}
	data, origin, err := a.readTaskText(file)
	return writtenTask{name: name, data: data, origin: origin}, err
}

type validated struct {
	File   string   `json:"file"`
	Tasks  []string `json:"tasks"`
	Errors []string `json:"errors,omitempty"`
}

func (a *app) taskValidateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check task files without etcd or Kafka",
		Long:  `Check task files as the agent would, without reaching for etcd or Kafka. "-" is standard input.`,
		Args:  needs("FILE..."),
	}
	output := outputVar(cmd, "text", "json")
	cmd.RunE = a.body(func(_ *cobra.Command, files []string) error {
		results := make([]validated, 0, len(files))
		var all []error
		for _, file := range files {
			v, err := a.validateFile(file)
			if err != nil {
				all = append(all, err)
			}
			for _, name := range v.Tasks {
				a.say(output, "%s: task %s is valid", file, name)
			}
			results = append(results, v)
		}
		if output.format == "json" {
			if err := a.show(output, results, nil); err != nil {
				return err
			}
		}
		return badConfig(errors.Join(all...))
	})
	return cmd
}

func (a *app) validateFile(file string) (validated, error) {
	v := validated{File: file, Tasks: []string{}}
	data, origin, err := a.readTaskText(file)
	if err != nil {
		v.Errors = problemLines(err)
		return v, err
	}
	defs, err := task.Parse(data, origin)
	if err != nil {
		v.Errors = problemLines(err)
		return v, err
	}
	var all []error
	for _, d := range defs {
		t, err := d.Complete(baseName(file))
		switch {
		case len(defs) > 1 && d.Task.Name == "":
			err = fmt.Errorf("%s:%d: name: is missing; a file with several tasks must name each one", origin, d.Line)
		case err == nil && slices.Contains(v.Tasks, t.Name):
			err = fmt.Errorf("%s:%d: name: %q is also that of a task above; give one of them another name", origin, d.Line, t.Name)
		case err == nil:
			v.Tasks = append(v.Tasks, t.Name)
		}
		if err != nil {
			all = append(all, err)
		}
	}
	err = errors.Join(all...)
	v.Errors = problemLines(err)
	return v, err
}

// baseName is the name that a task gets from its file.
func baseName(file string) string {
	if file == "-" {
		return "stdin"
	}
	base := filepath.Base(file)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// problemLines takes an error with a line for each problem apart.
func problemLines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
