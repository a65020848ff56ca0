package agent

import (
	"context"
	"log/slog"
	"time"

	"logferry/collector/checkpoint"
)

const (
	// rememberFor is how long the places of a task that is gone are remembered.
	rememberFor = 30 * 24 * time.Hour
	// goneFor is how long the clock must say that this is over: it may be wrong
	// when the host starts.
	goneFor     = 12 * time.Hour
	retainEvery = time.Hour
)

// retention forgets the places of tasks that have been gone for rememberFor.
type retention struct {
	store   *checkpoint.Store
	present func() (names map[string]bool, ok bool) // ok: every source was heard
	log     *slog.Logger
	over    map[string]time.Time // since when a task could be forgotten, by this process's clock
}

func (r *retention) run(ctx context.Context) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			r.look(time.Now())
		}
	}
}

func (r *retention) look(now time.Time) {
	names, ok := r.present()
	if !ok {
		return
	}
	missing, err := r.store.Missing(func(task string) bool { return names[task] }, now.Round(0))
	if err != nil {
		r.log.Warn("the checkpoints cannot be cleared of tasks that are gone", "error", err)
		return
	}
	was := r.over
	r.over = map[string]time.Time{}
	for name, since := range missing {
		began, known := was[name]
		switch {
		case now.Round(0).Sub(since) <= rememberFor:
			continue
		case !known:
			began = now
		case now.Sub(began) > goneFor:
			if err := r.store.Forget(name); err != nil {
				r.log.Warn("the checkpoints cannot be cleared of tasks that are gone", "error", err)
			} else {
				r.log.Info("the places of a task that is gone for long are forgotten", "task", name, "since", since)
				continue
			}
		}
		r.over[name] = began
	}
}

// present returns the tasks whose places are to be kept: those that the agent has
// in any way, and those whose place one of them may still take. ok is false
// before every source was heard.
func (s *Supervisor) present() (names map[string]bool, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names = map[string]bool{}
	for _, snap := range s.snapshots {
		for _, t := range snap.Tasks {
			if t.Select.Matches(s.self) {
				names[t.Name], names[t.From] = true, true
			}
		}
		for _, r := range snap.Refused {
			names[r.Name] = true
		}
	}
	for name := range s.keepers {
		names[name] = true
	}
	for name := range s.leaving {
		names[name] = true
	}
	return names, len(s.snapshots) == len(s.order)
}
