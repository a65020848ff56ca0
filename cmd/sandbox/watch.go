package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// askEvery is how often the agent is asked what it does; every answer takes it
// well under a millisecond.
const askEvery = 50 * time.Millisecond

// taskView is what the sandbox reads of one task in /api/v1/tasks.
type taskView struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Error    string    `json:"error"`
	Refused  bool      `json:"refused"`
	Revision int64     `json:"revision"`
	Started  time.Time `json:"started"`
	Task     *struct {
		Paths []string `json:"paths"`
		Topic string   `json:"topic"`
	} `json:"task"`
}

// fileView is what it reads of one file in /api/v1/files.
type fileView struct {
	fileKey
	State string `json:"state"`
	Lag   int64  `json:"lag_bytes"`

	listed bool // in the newest answer
}

type fileKey struct {
	Task string `json:"task"`
	Path string `json:"path"`
	File string `json:"file"`
}

// watcher asks the agent's HTTP API, as anybody can, and tells what changed.
type watcher struct {
	base  string // http://host:port
	board *board
	http  *http.Client
	on    observer
}

// observer is told what the agent does, before those who wait for it go on: it
// must not touch the board.
type observer struct {
	taskRuns    func(t taskView)
	taskRefused func(t taskView)
	taskFails   func(t taskView)
	taskGone    func(name string)
	fileFound   func(f fileView)
}

func newWatcher(base string, b *board, on observer) *watcher {
	return &watcher{base: base, board: b, on: on, http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}}
}

// run asks until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	defer w.http.CloseIdleConnections()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := w.ask(ctx)
		w.board.update(func(s *state) { s.deaf = err })
	}
}

func (w *watcher) ask(ctx context.Context) error {
	var tasks struct {
		Tasks []taskView `json:"tasks"`
	}
	var files struct {
		Files []fileView `json:"files"`
	}
	var ready bool
	w.board.look(func(s *state) { ready = s.ready })
	if !ready {
		if err := w.get(ctx, "/readyz", nil); err != nil {
			return err
		}
	}
	if err := w.get(ctx, "/api/v1/tasks", &tasks); err != nil {
		return err
	}
	if err := w.get(ctx, "/api/v1/files", &files); err != nil {
		return err
	}
	w.board.update(func(s *state) {
		s.ready = true
		w.compareTasks(s, tasks.Tasks)
		w.compareFiles(s, files.Files)
	})
	return nil
}

// get asks for a document; with a nil into only whether it is there.
func (w *watcher) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// compareTasks takes over the new list and tells what is new in it.
func (w *watcher) compareTasks(s *state, list []taskView) {
	old := s.tasks
	s.tasks = map[string]taskView{}
	for _, t := range list {
		s.tasks[t.Name] = t
		was := old[t.Name]
		switch {
		case t.Refused && t.Error != was.Error:
			w.on.taskRefused(t)
		case t.State == "failing" && t.Error != was.Error:
			w.on.taskFails(t)
		}
		if !t.Started.IsZero() && !t.Started.Equal(was.Started) {
			w.on.taskRuns(t)
		}
	}
	for name := range old {
		if _, there := s.tasks[name]; !there {
			w.on.taskGone(name)
		}
	}
}

// compareFiles takes over the new list. A file that is new under a path that
// was known before is a rotation that the agent has noticed.
func (w *watcher) compareFiles(s *state, list []fileView) {
	for _, f := range s.files {
		f.listed = false
	}
	slices.SortFunc(list, func(a, b fileView) int { return strings.Compare(b.State, a.State) }) // rotated ones first
	for _, f := range list {
		if f.File == "" { // its tailer has not opened it yet
			continue
		}
		f.listed = true
		if s.files[f.fileKey] == nil {
			if s.knowsPath(f.Task, f.Path) {
				s.seen++
			} else {
				w.on.fileFound(f)
			}
		}
		s.files[f.fileKey] = &f
	}
	for key, f := range s.files {
		if _, runs := s.tasks[key.Task]; !runs && !f.listed {
			delete(s.files, key) // its task is gone: all of it is new when it comes again
		}
	}
}

func (s *state) knowsPath(task, path string) bool {
	for key := range s.files {
		if key.Task == task && key.Path == path {
			return true
		}
	}
	return false
}

// lag is how many bytes of the collected files are not in Kafka yet.
func (s *state) lag() (n int64) {
	for _, f := range s.files {
		if f.listed {
			n += f.Lag
		}
	}
	return n
}
