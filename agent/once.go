package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrNotAllRead says that an agent which runs its tasks once did not read all
// that they name.
var ErrNotAllRead = errors.New("not everything was read")

// noteFinished wakes whoever waits for all tasks to finish.
func (s *Supervisor) noteFinished() {
	select {
	case s.finished <- struct{}{}:
	default:
	}
}

// awaitFinished returns when every task has finished, or is paused. It is an error if a
// task does not read once, was refused, or could not read all of its files.
func (s *Supervisor) awaitFinished(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.finished:
		}
		if done, err := s.allFinished(); done || err != nil {
			return err
		}
	}
}

func (s *Supervisor) allFinished() (done bool, err error) {
	s.mu.Lock()
	done = s.missing == ""
	s.mu.Unlock()
	if !done {
		return false, nil
	}
	var faults []string
	for _, t := range s.Tasks() {
		newest := s.Task(t.Name)
		switch {
		case t.Refused:
			return false, fmt.Errorf("task %s is refused: %s", t.Name, t.Error)
		case t.State == TaskStopped:
		case newest != nil && !newest.Once:
			return false, fmt.Errorf("task %s never ends; set once: true in it, or run the agent without --once", t.Name)
		case t.State != TaskFinished:
			done = false
		case t.Error != "":
			faults = append(faults, fmt.Sprintf("task %s: %s", t.Name, t.Error))
		}
	}
	if done && len(faults) > 0 {
		err = fmt.Errorf("%w: %s", ErrNotAllRead, strings.Join(faults, "; "))
	}
	return done, err
}
