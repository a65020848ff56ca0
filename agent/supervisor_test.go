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
	s := NewSupervisor(task.Identity{}, []string{sourceFiles},
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
		require.Eventually(t, func() bool { return len(s.Tasks()) == n }, time.Minute, time.Millisecond)
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

func TestTheNewestRevisionIsToldAlsoWhenItComesWhileTheTaskStarts(t *testing.T) {
	building, release := make(chan struct{}), make(chan struct{})
	s := NewSupervisor(task.Identity{ID: "web-1"}, []string{sourceEtcd},
		func(task.Task, bool) (*pipeline, error) {
			building <- struct{}{}
			<-release
			return nil, errors.New("it was only to be seen")
		},
		func(string) {}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
	}()
	apply := func(revision int64, ids ...string) {
		s.Apply(sourceEtcd, task.Snapshot{Revisions: map[string]int64{"web": revision},
			Tasks: []task.Task{{Name: "web", Topic: "x", Select: &task.Selector{IDs: ids}}}})
	}
	apply(1, "web-1")
	<-building
	apply(2, "web-*")
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		k := s.keepers["web"]
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.want.revision == 2
	}, 20*time.Second, time.Millisecond)
	close(release)
	require.Eventually(t, func() bool { return s.Tasks()[0].State == TaskFailing }, 20*time.Second, time.Millisecond)
	require.EqualValues(t, 2, s.Tasks()[0].Revision)

	_, digest := s.Digest()
	apply(3, "db-*")
	require.Eventually(t, func() bool { return len(s.Tasks()) == 0 }, 20*time.Second, time.Millisecond)
	require.Equal(t, 1, s.Others())
	_, now := s.Digest()
	require.NotEqual(t, digest, now)
}
