package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"logferry/agent"
)

// Defaults of the options that are no flags.
const (
	defaultPatience = 20 * time.Second // for slow machines: most waits end within milliseconds, all with an event
	defaultTempo    = time.Second      // lets a reader follow
	defaultLastWait = 5 * time.Second
)

// Topics that the story sends to.
const (
	webTopic   = "web_log"
	auditTopic = "audit_log"
)

// options of one run.
type options struct {
	once    bool
	lines   uint64 // with once: how many are written
	rate    int    // otherwise: lines a second of each log
	keep    bool
	verbose io.Writer // nil: the agent's log goes to a file
	command string    // how logferry is called, for the commands that are shown

	patience time.Duration // bounds each single wait
	tempo    time.Duration // of the demo's scenes
	lastWait time.Duration // for the last lines after Ctrl-C
}

// story is one run of the sandbox: what is done, in which order, and what is
// told of it.
type story struct {
	opts   options
	show   *show
	world  *world
	board  *board
	writer *writer
	reader *reader

	agentPart, writerPart, readerPart *part

	mu   sync.Mutex
	puts map[string]time.Time // when the story last put each task
}

// run tells the whole story. It returns nil when all went well, and with once
// only if each line arrived exactly once and in order.
func run(ctx context.Context, opts options, out io.Writer) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s, err := newStory(opts, out, fail)
	if err != nil {
		return err
	}
	return s.tell(ctx)
}

// newStory makes the directory and nothing else yet. failed is told when
// something ends by itself while the story goes on, and should end its context.
func newStory(opts options, out io.Writer, failed context.CancelCauseFunc) (*story, error) {
	w, err := newWorld(opts.verbose, opts.keep, failed)
	if err != nil {
		return nil, err
	}
	return &story{opts: opts, world: w, board: newBoard(), show: newShow(out, w.dir), puts: map[string]time.Time{}}, nil
}

// tell goes through the story and ends the world in any case.
func (s *story) tell(ctx context.Context) (err error) {
	defer func() {
		s.show.endStatus()
		if err != nil && !errors.Is(err, context.Canceled) {
			s.explain()
		}
		if closeErr := s.world.close(); err == nil {
			err = closeErr
		}
		if s.opts.keep {
			s.show.step("kept", "%s", s.world.dir)
		}
	}()
	if err := s.open(ctx); err != nil {
		return err
	}
	if s.opts.once {
		return s.once(ctx)
	}
	return s.demo(ctx)
}

// open starts everything, in the order in which one would do it by hand.
func (s *story) open(ctx context.Context) error {
	w := s.world
	s.show.plain("logferry", "an etcd, a Kafka and the agent in one process, for a try; all files are in %s", w.dir)
	if err := w.startEtcd(ctx); err != nil {
		return err
	}
	s.show.step("etcd", "is up at %s, empty", w.etcdEndpoint())
	if err := w.startKafka(!s.opts.once, webTopic, auditTopic); err != nil {
		return err
	}
	s.show.step("kafka", "is up at %s with the topics %s and %s, %d partitions each", w.broker(), webTopic, auditTopic, partitions)
	if err := w.openAgent(); err != nil {
		return err
	}
	s.agentPart = w.start(ctx, "the agent", w.agent.Run)
	w.start(ctx, "the watcher", newWatcher(w.agentURL(), s.board, s.observer()).run)
	err := s.board.wait(ctx, s.opts.patience, "the agent to be ready", func(st *state) string {
		if st.ready {
			return ""
		}
		return "it has not read the tasks in etcd"
	})
	if err != nil {
		return err
	}
	s.show.step("agent", "is up at %s and follows etcd, where no task is yet", w.agentURL())

	if s.reader, err = newReader(w.kafka.ListenAddrs(), s.opts.once, s.board, s.show); err != nil {
		return err
	}
	s.readerPart = w.start(ctx, "the consumer", s.reader.run)
	s.writer = newWriter(w.logs(), s.board, func(path string) {
		name := filepath.Base(path)
		s.show.step("rotation", "%s is renamed to %s.1, a new %s begins", path, name, name)
	})
	s.writerPart = w.start(ctx, "the log writer", s.writer.run)
	return nil
}

func (s *story) observer() observer {
	return observer{
		taskRuns: func(t taskView) {
			if at, ours := s.putTime(t.Name); ours && t.Started.After(at) {
				s.show.step("agent", "task %s runs, %s after the put: %s to %s", t.Name, ms(t.Started.Sub(at)), globs(t), t.Task.Topic)
			} else {
				s.show.step("agent", "task %s runs: %s to %s", t.Name, globs(t), t.Task.Topic)
			}
		},
		taskRefused: func(t taskView) { s.show.bad("refused", "task %s: %s", t.Name, t.Error) },
		taskFails:   func(t taskView) { s.show.bad("failing", "task %s: %s", t.Name, t.Error) },
		taskGone:    func(name string) { s.show.step("agent", "task %s is gone", name) },
		fileFound:   func(f fileView) { s.show.step("file", "%s was found by task %s", f.Path, f.Task) },
	}
}

func globs(t taskView) string {
	if t.Task == nil {
		return "nothing"
	}
	text := ""
	for i, p := range t.Task.Paths {
		if i > 0 {
			text += " and "
		}
		text += p
	}
	return text
}

func (s *story) putTime(name string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ours := s.puts[name]
	return at, ours
}

// taskText is what an operator would write; globs are below logs/.
func (s *story) taskText(topic string, globs ...string) string {
	task := struct {
		Paths []string `json:"paths"`
		Topic string   `json:"topic"`
	}{Topic: topic}
	for _, g := range globs {
		task.Paths = append(task.Paths, filepath.Join(s.world.logs(), g))
	}
	text, _ := json.Marshal(task) // strings only: cannot fail
	return string(text)
}

// put writes a task into etcd and waits until the agent runs that version.
func (s *story) put(ctx context.Context, label, name, text string) error {
	s.show.step(label, "etcdctl put %s/tasks/%s '%s'", agent.DefaultEtcdPrefix, name, text)
	s.mu.Lock()
	s.puts[name] = time.Now()
	s.mu.Unlock()
	entry, err := s.world.store.Put(ctx, name, []byte(text))
	if err != nil {
		return err
	}
	return s.board.wait(ctx, s.opts.patience, "the agent to run task "+name, func(st *state) string {
		t, known := st.tasks[name]
		switch {
		case !known:
			return "it does not know the task"
		case t.Refused || t.Error != "":
			return fmt.Sprintf("the task is %s: %s", t.State, t.Error)
		case t.State != "running" || t.Revision < entry.Modified:
			return fmt.Sprintf("the task is %s at revision %d, revision %d is wanted", t.State, t.Revision, entry.Modified)
		}
		return ""
	})
}

// remove deletes a task from etcd and waits until the agent has let it go.
func (s *story) remove(ctx context.Context, name string) error {
	s.show.step("removal", "etcdctl del %s/tasks/%s", agent.DefaultEtcdPrefix, name)
	if _, err := s.world.store.Delete(ctx, name); err != nil {
		return err
	}
	return s.board.wait(ctx, s.opts.patience, "the agent to end task "+name, func(st *state) string {
		if t, known := st.tasks[name]; known {
			return "the task is still " + t.State
		}
		return ""
	})
}

// firstLine waits for the first line of a log and tells how long it took.
func (s *story) firstLine(ctx context.Context, l *logFile, topic string) error {
	err := s.board.wait(ctx, s.opts.patience, "the agent to find "+l.path, func(st *state) string {
		for key := range st.files {
			if key.Path == l.path {
				return ""
			}
		}
		return fmt.Sprintf("it lists %d other files", len(st.files))
	})
	if err != nil {
		return err
	}
	var took time.Duration
	err = s.board.wait(ctx, s.opts.patience, "the first line in "+topic, func(st *state) string {
		var there bool
		if took, there = st.first[topic]; there {
			return ""
		}
		return fmt.Sprintf("none is there; %d were written and %d arrived elsewhere", st.written(), st.arrived())
	})
	if err == nil {
		s.show.step("line", "the first one is in %s, %s after it was written", topic, ms(took))
	}
	return err
}

// explain shows what the agent complained about.
func (s *story) explain() {
	for _, line := range s.world.complaints(8) {
		s.show.plain("log", "%s", line)
	}
}
