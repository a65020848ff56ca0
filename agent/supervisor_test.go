package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
)

func TestATaskThatIsPutBackWaitsForItsRemovedSelf(t *testing.T) {
	happened, release := make(chan string, 10), make(chan struct{})
	s := NewSupervisor([]string{sourceFiles},
		func(task.Task, bool) (*pipeline, error) {
			happened <- "build"
			<-release
			return nil, errors.New("it was only to be seen")
		},
		func(string) { happened <- "forget" }, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
	}()
	set := task.Snapshot{Tasks: []task.Task{{Name: "web", Topic: "x"}}}
	count := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(s.Tasks()) == n }, 20*time.Second, time.Millisecond)
	}

	s.Apply(sourceFiles, set)
	require.Equal(t, "build", <-happened) // and there it hangs, as one that drains does
	s.Apply(sourceFiles, task.Snapshot{})
	count(0)
	s.Apply(sourceFiles, set)
	count(1)
	require.Equal(t, TaskPending, s.Tasks()[0].State)
	close(release)
	require.Equal(t, "forget", <-happened, "the old one ends before the new one begins")
	require.Equal(t, "build", <-happened)
}
