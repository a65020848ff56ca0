package agent

import (
	"fmt"

	"logferry/collector"
)

// takeOver takes the place of the task that from names, once it is not there any
// more and has delivered what it read: both at once would send the same lines. It
// returns false, with the reason in the status, while that is to be waited for;
// the supervisor then signals each change.
func (k *keeper) takeOver(w want) (ready bool, err error) {
	defer func() {
		if ready || err != nil {
			k.setWaiting(false)
		}
	}()
	from, store := w.task.From, k.s.places
	if from == "" || store == nil {
		return true, nil
	}
	if taken, err := store.TakenFrom(k.name); err != nil || taken == from {
		return err == nil, err
	}
	k.setWaiting(true) // before the look: what changes after it is signalled
	why, err := k.s.inTheWay(from)
	if err != nil {
		return false, err
	}
	if why != "" {
		k.mu.Lock()
		k.state, k.err = TaskPending, why
		k.tryLocked(w)
		k.mu.Unlock()
		return false, nil
	}
	covers := collector.Config{Paths: w.task.Paths, Exclude: w.task.Exclude}.Covers
	files, err := store.TakeOver(k.name, from, covers, w.task.Paths)
	if err != nil {
		return false, err
	}
	k.s.log.Info("task takes the place of another one", "task", k.name, "from", from, "files", files)
	return true, nil
}

func (k *keeper) setWaiting(waiting bool) {
	k.mu.Lock()
	k.waiting = waiting
	k.mu.Unlock()
}

// inTheWay says why the place of a task cannot be taken yet; empty: it can.
func (s *Supervisor) inTheWay(from string) (string, error) {
	s.mu.Lock()
	_, runs := s.keepers[from]
	_, paused := s.stopped[from]
	leaves, missing := s.leaving[from] != nil, s.missing
	s.mu.Unlock()
	switch {
	case runs || paused:
		return fmt.Sprintf("it takes the place of task %q and waits until that is removed; remove it ('logferry task rm %s' if it is in etcd), or take from out of this one", from, from), nil
	case leaves:
		return fmt.Sprintf("it takes the place of task %q and waits until that has delivered what it read", from), nil
	case missing == "":
		return "", nil
	}
	holds, err := s.places.Holds(from)
	if err != nil || !holds {
		return "", err
	}
	return fmt.Sprintf("it takes the place of task %q and waits until it is known of %s whether that is removed", from, missing), nil
}

// signalWaitingLocked lets tasks that wait for another one look again.
func (s *Supervisor) signalWaitingLocked() {
	for _, k := range s.keepers {
		k.mu.Lock()
		if k.waiting {
			select {
			case k.signal <- struct{}{}:
			default:
			}
		}
		k.mu.Unlock()
	}
}
