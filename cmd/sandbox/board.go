package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// board is where writer, reader and watcher note what they see, and where the
// story waits for it. It may be used from any goroutine.
type board struct {
	mu      sync.Mutex
	state   state
	changed chan struct{} // closed and replaced with every update
}

// state is all that is known at one moment.
type state struct {
	streams   map[uint16]*stream // the sample logs by the number in their lines
	rotations int                // renames that the writer made
	others    int                // records that no sample log has written

	ready bool                  // the agent has read the tasks in etcd for the first time
	tasks map[string]taskView   // what the agent says of its tasks
	files map[fileKey]*fileView // every file that the agent has shown so far
	seen  int                   // rotations that the agent has noticed
	deaf  error                 // why the agent's API could not be asked the last time

	positions map[topicPartition]int64 // offset behind the last record read
	recent    []time.Duration          // from write to arrival, of the last writes
	first     map[string]time.Duration // the same of each topic's first line
}

type topicPartition struct {
	topic     string
	partition int32
}

// stream is one sample log. A write is a mark: when its last line arrives, its
// age is known.
type stream struct {
	written uint64
	arrived uint64 // records, doubled ones too
	marks   []mark
}

type mark struct {
	behind uint64 // number of the first line after this write
	at     time.Time
}

// Bounds of what is remembered.
const (
	maxMarks  = 4096
	maxRecent = 2048
)

func newBoard() *board {
	return &board{
		changed: make(chan struct{}),
		state: state{
			streams: map[uint16]*stream{}, tasks: map[string]taskView{}, files: map[fileKey]*fileView{},
			positions: map[topicPartition]int64{}, first: map[string]time.Duration{},
		},
	}
}

// update changes the state; change must not block.
func (b *board) update(change func(s *state)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.state)
	close(b.changed)
	b.changed = make(chan struct{})
}

// look reads the state.
func (b *board) look(read func(s *state)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	read(&b.state)
}

// wait returns nil as soon as missing has nothing more to name. After
// patience, or when ctx ends, it fails and says what was missing last.
func (b *board) wait(ctx context.Context, patience time.Duration, what string, missing func(s *state) string) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		still, changed, deaf := missing(&b.state), b.changed, b.state.deaf
		b.mu.Unlock()
		if still == "" {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-timeout.C:
			if deaf != nil {
				still += fmt.Sprintf(" (the agent does not answer: %v)", deaf)
			}
			return fmt.Errorf("waited %v for %s: %s", patience, what, still)
		}
	}
}

func (s *state) stream(id uint16) *stream {
	st := s.streams[id]
	if st == nil {
		st = &stream{}
		s.streams[id] = st
	}
	return st
}

// wrote notes a write that ends just before line behind.
func (s *state) wrote(id uint16, behind uint64, at time.Time) {
	st := s.stream(id)
	st.written = behind
	if len(st.marks) < maxMarks {
		st.marks = append(st.marks, mark{behind, at})
	}
}

// took notes a line that arrived.
func (s *state) took(topic string, id uint16, seq uint64, now time.Time) {
	st := s.stream(id)
	st.arrived++
	if _, known := s.first[topic]; !known && len(st.marks) > 0 {
		s.first[topic] = now.Sub(st.marks[0].at)
	}
	done := 0
	for ; done < len(st.marks) && st.marks[done].behind <= seq+1; done++ {
		s.recent = append(s.recent, now.Sub(st.marks[done].at))
	}
	st.marks = st.marks[done:]
	if extra := len(s.recent) - maxRecent; extra > 0 {
		s.recent = slices.Delete(s.recent, 0, extra)
	}
}

func (s *state) written() (n uint64) {
	for _, st := range s.streams {
		n += st.written
	}
	return n
}

func (s *state) arrived() (n uint64) {
	for _, st := range s.streams {
		n += st.arrived
	}
	return n
}

// quantile is the time from write to arrival that a part q of the last writes
// stayed below.
func (s *state) quantile(q float64) time.Duration {
	if len(s.recent) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.recent))
	return sorted[int(q*float64(len(sorted)-1))]
}
