package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"logferry/agent/task"
	"logferry/internal/record"
)

const (
	tapBeat     = time.Second      // how often a tap looks whether its task is still there
	tapPatience = 10 * time.Second // how long a reader may take nothing
)

// TapEvent is one line of /api/v1/tap: a record, a number of records that were
// not shown, or the reason for the end.
type TapEvent struct {
	Time        time.Time         `json:"time,omitzero"` // of the record
	Topic       string            `json:"topic,omitempty"`
	Path        string            `json:"path,omitempty"` // empty: this is no record
	File        string            `json:"file,omitempty"`
	Offset      int64             `json:"offset"`
	Key         *string           `json:"key,omitempty"`
	KeyBase64   []byte            `json:"key_base64,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 []byte            `json:"value_base64,omitempty"` // of one that is not UTF-8
	Bytes       int               `json:"bytes"`                  // of the whole value; more than there are here: it was cut
	Skipped     uint64            `json:"skipped,omitempty"`      // records that were sent and not shown, since the last one
	Error       string            `json:"error,omitempty"`        // why there is no more
}

// tap streams records of a task as they leave for Kafka, one JSON object a line.
func (s *server) tap(w http.ResponseWriter, r *http.Request) {
	if err := s.gate.mayTap(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	name, rate := r.URL.Query().Get("task"), float64(defaultRate)
	if text := r.URL.Query().Get("rate"); text != "" {
		var err error
		if rate, err = strconv.ParseFloat(text, 64); err != nil || !(rate > 0 && rate <= maxRate) {
			http.Error(w, fmt.Sprintf("rate is %q; write a number of records a second, %d at most", text, maxRate), http.StatusBadRequest)
			return
		}
	}
	if s.a.supervisor.Task(name) == nil {
		http.Error(w, fmt.Sprintf("this agent has no task %q; it has %s", name, s.taskNames()), http.StatusNotFound)
		return
	}
	p, stop, err := s.a.taps.start(name, rate)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	defer stop()
	s.a.log.Info("tap started", "task", name, "rate", rate, "remote", r.RemoteAddr)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	s.stream(w, r, name, p)
}

// stream writes what the tap gets until the reader, the task or the agent ends.
func (s *server) stream(w http.ResponseWriter, r *http.Request, name string, p *tap) {
	c, enc := http.NewResponseController(w), json.NewEncoder(w)
	send := func(events ...TapEvent) bool {
		if c.SetWriteDeadline(time.Now().Add(tapPatience)) != nil {
			return false
		}
		for _, e := range events {
			if enc.Encode(e) != nil {
				return false
			}
		}
		return c.Flush() == nil
	}
	t, beat := s.a.supervisor.Task(name), time.NewTicker(tapBeat)
	defer beat.Stop()
	for ok := send(); ok; {
		select {
		case <-r.Context().Done():
			return
		case <-s.ending:
			send(TapEvent{Error: "the agent is stopping"})
			return
		case rec := <-p.out:
			ok = send(rec.event(t))
		case <-beat.C:
			if t = s.a.supervisor.Task(name); t == nil {
				send(TapEvent{Error: fmt.Sprintf("task %q was removed", name)})
				return
			}
			if n := p.missed.Swap(0); n > 0 {
				ok = send(TapEvent{Skipped: n})
			}
		}
	}
}

func (s *server) taskNames() string {
	if names := s.a.supervisor.Names(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "none"
}

func (r tapRecord) event(t *task.Task) TapEvent {
	topic, _ := topicOf(*t, r.topic)
	e := TapEvent{
		Time: r.time.UTC(), Topic: topic, Path: r.source.Path, File: r.source.File, Offset: r.offset,
		Bytes: r.size, Skipped: r.missed,
	}
	key := r.key
	if key == nil {
		switch t.Key {
		case task.KeyHost:
			key = []byte(r.source.Host)
		case task.KeyPath:
			key = []byte(r.source.Path)
		}
	}
	e.Key, e.KeyBase64 = record.TextOrBytes(key)
	e.Value, e.ValueBase64 = record.TextOrBytes(r.value)
	if len(r.value) < r.size { // it may have been cut within a letter
		for i := len(r.value); e.Value == nil && i > 0 && i > len(r.value)-utf8.UTFMax; i-- {
			if utf8.Valid(r.value[:i]) {
				e.Value, e.ValueBase64 = record.TextOrBytes(r.value[:i])
			}
		}
	}
	for _, h := range r.headers {
		if e.Headers == nil {
			e.Headers = map[string]string{}
		}
		e.Headers[h.Key] = string(h.Value)
	}
	return e
}
