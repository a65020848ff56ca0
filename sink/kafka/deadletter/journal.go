package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrBusy says that somebody else replays or drops letters of a file.
var ErrBusy = errors.New("another replay or drop of these dead letters is under way; wait for its end")

// journalEntries are the lines of a journal by ID.
type journalEntries map[string]journalLine

// Journal notes which letters of a file were replayed. It stands beside the
// file as NAME.replayed, and belongs to one holder at a time.
type Journal struct {
	f       *os.File
	path    string
	entries journalEntries
}

// journalLine is one line of a journal.
type journalLine struct {
	ID    string    `json:"id"`
	Time  time.Time `json:"time"`
	Topic string    `json:"topic"` // that it was sent to
}

// OpenJournal opens the journal of a file, or fails with ErrBusy.
func (f File) OpenJournal() (*Journal, error) {
	for {
		r, err := lockJournal(f.journal())
		if err != nil {
			return nil, err
		}
		here, err1 := r.Stat()
		there, err2 := os.Stat(r.Name())
		if err1 != nil || err2 != nil || !os.SameFile(here, there) {
			_ = r.Close() // its holder before replaced or removed it
			continue
		}
		entries, err := readJournal(r.Name())
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		return &Journal{f: r, path: r.Name(), entries: entries}, nil
	}
}

func lockJournal(path string) (*os.File, error) {
	r, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open journal of dead letters: %w", err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil {
		giveTo(r, dir)
	}
	if err := syscall.Flock(int(r.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(ErrBusy, r.Close())
	} else if err != nil && !unlockable(err) {
		return nil, errors.Join(fmt.Errorf("lock journal of dead letters: %w", err), r.Close())
	}
	return r, nil
}

// readJournal reads what is there; a line that a crash cut says nothing.
func readJournal(path string) (journalEntries, error) {
	out := journalEntries{}
	r, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	} else if err != nil {
		return nil, fmt.Errorf("read journal of dead letters: %w", err)
	}
	_, err = eachLine(r, func(b []byte) error {
		var l journalLine
		if json.Unmarshal(b, &l) == nil {
			out[l.ID] = l
		}
		return nil
	})
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read journal of dead letters: %w", err)
	}
	return out, nil
}

// Note brings to the disk that the letter was sent to topic.
func (j *Journal) Note(id, topic string) error {
	l := journalLine{ID: id, Time: time.Now().UTC(), Topic: topic}
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("note a replayed dead letter: %w", err)
	}
	if err := appendLine(j.path, append(b, '\n')); err != nil {
		return fmt.Errorf("note a replayed dead letter: %w", err)
	}
	j.entries[id] = l
	return nil
}

// keep forgets all letters but these. It is the last use of the journal, whose
// name another holder may have from then on.
func (j *Journal) keep(ids map[string]bool) error {
	var content []byte
	for id, l := range j.entries {
		if !ids[id] {
			continue
		}
		b, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("rewrite journal of dead letters: %w", err)
		}
		content = append(append(content, b...), '\n')
	}
	if len(j.entries) == 0 {
		return nil // Close removes it; twice, the second time would take another holder's
	}
	if len(content) == 0 {
		return os.Remove(j.path)
	}
	fresh, err := replaceFile(j.path, content)
	if err != nil {
		return fmt.Errorf("rewrite journal of dead letters: %w", err)
	}
	return fresh.Close()
}

// Close gives the journal free. One without entries leaves no file behind.
func (j *Journal) Close() error {
	var err error
	if len(j.entries) == 0 {
		if err = os.Remove(j.path); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, j.f.Close())
}

// Replay calls send with every letter that was not replayed, oldest first, and
// notes those for which send returns the topic that they were sent to. It
// fails with ErrBusy while somebody else replays or drops letters.
func (f File) Replay(ctx context.Context, send func(Letter) (topic string, err error)) (err error) {
	j, err := f.OpenJournal()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	_, err = f.Read(ctx, func(l Letter) error {
		if _, done := j.entries[l.ID]; done || ctx.Err() != nil {
			return ctx.Err()
		}
		to, err := send(l)
		if err != nil || to == "" {
			return err
		}
		if err := j.Note(l.ID, to); err != nil {
			return fmt.Errorf("%s was sent to topic %q and cannot be noted, so the next replay sends it again: %w", l.ID, to, err)
		}
		return nil
	})
	return err
}
