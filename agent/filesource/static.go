package filesource

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"logferry/agent/task"
)

// Static is the task.Source of tasks that are given on the command line and
// never change.
type Static struct {
	tasks []task.Task
}

var _ task.Source = (*Static)(nil)

// NewStatic returns a source of the given tasks, each with its defaults set.
// It refuses tasks that are not valid and names that occur twice.
func NewStatic(tasks ...task.Task) (*Static, error) {
	tasks = slices.Clone(tasks)
	for i := range tasks {
		tasks[i].SetDefaults()
		if err := tasks[i].Validate(); err != nil {
			return nil, fmt.Errorf("task %q: %w", tasks[i].Name, err)
		}
	}
	slices.SortFunc(tasks, func(a, b task.Task) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(tasks); i++ {
		if tasks[i].Name == tasks[i-1].Name {
			return nil, fmt.Errorf("task %q is given twice; give one of them another name", tasks[i].Name)
		}
	}
	return &Static{tasks: tasks}, nil
}

// Name returns "flags".
func (s *Static) Name() string { return "flags" }

// Run publishes the tasks once and waits for ctx to end.
func (s *Static) Run(ctx context.Context, publish func(task.Snapshot)) error {
	publish(task.Snapshot{Tasks: slices.Clone(s.tasks)})
	<-ctx.Done()
	return ctx.Err()
}
