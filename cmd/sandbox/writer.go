package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"logferry/bench/gen"
)

const (
	writeTick       = 5 * time.Millisecond // between two writes to a log
	keptGenerations = 3                    // rotated files of one log that stay on the disk
	seed            = 1                    // of the lines; any will do
)

// logFile is one log as a program writes it that knows how to rotate: lines
// are appended, and now and then the file is renamed to NAME.1 (NAME.1 to
// NAME.2 and so on) and a new one begins. Its fields belong to the writer's
// goroutine, except for those behind the writer's mu.
type logFile struct {
	path     string
	stream   uint16
	rotateAt func(seq uint64) bool // asked before line seq is written

	lines   *gen.Lines
	file    *os.File
	buf     []byte
	carry   float64 // part of a line that the last tick owes
	rotated uint64  // the number at which the last rotation was made

	seq  uint64  // lines written so far; behind mu
	goal uint64  // lines to write; behind mu
	rate float64 // lines a second; behind mu
}

// writer appends to logs at a steady rate, each up to its goal. Run is called
// once; the other methods may be called from any goroutine.
type writer struct {
	dir      string
	board    *board
	onRotate func(path string)

	mu   sync.Mutex
	logs []*logFile
}

func newWriter(dir string, b *board, onRotate func(path string)) *writer {
	return &writer{dir: dir, board: b, onRotate: onRotate}
}

// add makes a log that is named relative to the writer's directory. Nothing is
// written before its goal is set.
func (w *writer) add(name string, rate float64, rotateAt func(seq uint64) bool) *logFile {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &logFile{path: filepath.Join(w.dir, name), stream: uint16(len(w.logs) + 1), rotateAt: rotateAt, rate: rate}
	l.lines = gen.New(l.stream, seed)
	w.logs = append(w.logs, l)
	return l
}

// writeUpTo raises a log's goal to n lines in all.
func (w *writer) writeUpTo(l *logFile, n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.goal = max(l.goal, n)
}

// pause ends the writing of a log where it is now.
func (w *writer) pause(l *logFile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.goal = l.seq
}

func (w *writer) pauseAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.logs {
		l.goal = l.seq
	}
}

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) error {
	defer w.close()
	tick := time.NewTicker(writeTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.turn(); err != nil {
			return fmt.Errorf("write the sample logs: %w", err)
		}
	}
}

// turn gives each log its share of one tick.
func (w *writer) turn() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.logs {
		if l.seq >= l.goal {
			continue
		}
		l.carry += l.rate * writeTick.Seconds()
		n := min(uint64(l.carry), l.goal-l.seq)
		l.carry -= float64(n)
		if err := w.write(l, n); err != nil {
			return err
		}
	}
	return nil
}

// write appends n lines, in one write as far as no rotation comes between.
func (w *writer) write(l *logFile, n uint64) error {
	for n > 0 {
		if l.rotateAt != nil && l.seq > l.rotated && l.rotateAt(l.seq) {
			if err := l.rotate(); err != nil {
				return err
			}
			w.board.update(func(s *state) { s.rotations++ })
			w.onRotate(l.path)
		}
		part := uint64(1)
		for part < n && (l.rotateAt == nil || !l.rotateAt(l.seq+part)) {
			part++
		}
		// Noted before it is done, because a line may arrive within the
		// millisecond.
		w.board.update(func(s *state) { s.wrote(l.stream, l.seq+part, time.Now()) })
		if err := l.append(part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

func (l *logFile) append(n uint64) error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	l.buf = l.buf[:0]
	for i := range n {
		l.buf = l.lines.Append(l.buf, l.seq+i)
	}
	if _, err := l.file.Write(l.buf); err != nil {
		return err
	}
	l.seq += n
	return nil
}

func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	var err error
	l.file, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	return err
}

// rotate moves every generation one number up and lets a new file begin with
// the next line.
func (l *logFile) rotate() error {
	if l.file == nil {
		return nil
	}
	l.rotated = l.seq
	for i := keptGenerations; i > 0; i-- {
		older := fmt.Sprintf("%s.%d", l.path, i)
		newer := fmt.Sprintf("%s.%d", l.path, i-1)
		if i == 1 {
			newer = l.path
		}
		if err := os.Rename(newer, older); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.logs {
		if l.file != nil {
			_ = l.file.Close() // its lines are with the kernel already
			l.file = nil
		}
	}
}

func (l *logFile) goalNow(w *writer) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return l.goal
}
