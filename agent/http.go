package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"logferry/collector"
)

// server answers scrapes, probes and questions. It only reads state.
type server struct {
	a      *Agent
	ln     net.Listener
	srv    *http.Server
	gate   *gate
	ending chan struct{} // closed when it shuts down: what would go on for ever ends
}

func newServer(a *Agent) (*server, error) {
	s := &server{a: a, ending: make(chan struct{})}
	var err error
	if s.gate, err = newGate(a.cfg.HTTP, a.log); err != nil {
		return nil, err
	}
	var secure *tls.Config
	if t := a.cfg.HTTP.TLS; t != nil {
		if secure, err = serverTLS(*t, a.log); err != nil {
			return nil, err
		}
	}
	if s.ln, err = net.Listen("tcp", a.cfg.HTTP.Listen); err != nil {
		return nil, fmt.Errorf("listen for http: %w; set http.listen to a free address", err)
	}
	if secure != nil {
		s.ln = tls.NewListener(s.ln, secure)
	}
	s.warn()
	s.srv = &http.Server{
		Handler: http.MaxBytesHandler(s.gate.guard(s.routes()), maxBody), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ConnState: (&conns{}).state, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	s.srv.RegisterOnShutdown(func() { close(s.ending) })
	return s, nil
}

// maxBody bounds what a request may carry, in bytes. None needs to carry
// anything.
const maxBody = 4 << 10

// warn tells of settings that somebody may not have meant.
func (s *server) warn() {
	switch h := s.a.cfg.HTTP; {
	case h.isLocal():
	case h.Insecure:
		s.a.log.Warn("http answers everybody who can connect, about all tasks and files; set http.tls and http.token_file in place of http.insecure", "listen", h.Listen)
	case !h.hasCredentials():
		s.a.log.Warn("http answers other hosts only what http.open names; set http.tls with http.token_file or http.tls.client_ca_file for the rest", "listen", h.Listen, "open", h.Open)
	}
}

func (s *server) routes() http.Handler {
	a, mux := s.a, http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /api/v1/agent", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.view()) })
	mux.HandleFunc("GET /api/v1/tasks", s.tasks)
	mux.HandleFunc("GET /api/v1/files", s.files)
	mux.HandleFunc("GET /api/v1/explain", s.explain)
	mux.HandleFunc("GET /api/v1/tap", s.tap)
	mux.HandleFunc("GET /{$}", s.page)
	if a.cfg.HTTP.PProf {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	return mux
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) error {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.srv.Shutdown(grace) != nil {
			_ = s.srv.Close()
		}
	})
	err := s.srv.Serve(s.ln)
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http: %w", err)
}

// notReady lists what is missing before the agent does its work.
func (a *Agent) notReady() []string {
	var why []string
	if !a.supervisor.Applied() {
		why = append(why, "the first set of tasks is not there yet")
	}
	var failing []string
	running := 0
	for _, t := range a.supervisor.Tasks() {
		switch {
		case t.State == TaskRunning, t.State == TaskDraining, t.State == TaskFinished, t.Held:
			running++
		case t.State == TaskFailing:
			failing = append(failing, fmt.Sprintf("task %s: %s", t.Name, t.Error))
		}
	}
	if running == 0 && len(failing) > 0 { // one bad topic does not make a host unready
		why = append(why, failing...)
	}
	return why
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	why := s.a.notReady()
	if len(why) > 0 && s.gate.trusts(r) != nil { // names of tasks are not for everybody
		why = []string{"ask with a token, or on the agent's host, for the reason"}
	}
	if len(why) > 0 {
		http.Error(w, "not ready: "+strings.Join(why, "; "), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
}

func (s *server) tasks(w http.ResponseWriter, _ *http.Request) {
	list := TaskList{Agent: s.a.cfg.ID, Tasks: s.a.supervisor.Tasks(), Others: s.a.others()}
	if list.Tasks == nil {
		list.Tasks = []TaskStatus{}
	}
	produced := s.a.kafka.Produced()
	for i := range list.Tasks {
		t := &list.Tasks[i]
		p := produced[t.Name]
		t.AckedRecords, t.AckedBytes, t.ProduceErrors, t.DeadLetters = p.Records, p.Bytes, p.Errors, p.DeadLetters
	}
	writeJSON(w, list)
}

// TaskList is what /api/v1/tasks answers.
type TaskList struct {
	Agent  string       `json:"agent"`
	Tasks  []TaskStatus `json:"tasks"`
	Others int          `json:"for_other_agents"`
}

// notCollected is a path that matches a task's globs and is not read.
type notCollected struct {
	Task  string `json:"task"`
	Path  string `json:"path"`
	Error string `json:"error"`
}

func (s *server) files(w http.ResponseWriter, r *http.Request) {
	files, ignored := []collector.FileStatus{}, []notCollected{}
	name := r.URL.Query().Get("task")
	for _, t := range s.a.supervisor.Tasks() {
		if name != "" && name != t.Name || t.collect == nil {
			continue
		}
		files = append(files, t.collect.Files()...)
		for path, why := range t.collect.Refused() {
			ignored = append(ignored, notCollected{t.Name, path, why})
		}
	}
	slices.SortFunc(ignored, func(a, b notCollected) int {
		return strings.Compare(a.Task+"\x00"+a.Path, b.Task+"\x00"+b.Path)
	})
	slices.SortFunc(files, func(a, b collector.FileStatus) int {
		return strings.Compare(a.Task+"\x00"+a.Path+"\x00"+a.File, b.Task+"\x00"+b.Path+"\x00"+b.File)
	})
	writeJSON(w, map[string]any{"agent": s.a.cfg.ID, "files": files, "not_collected": ignored})
}

// explain tells for one path what each task does with it, and why.
func (s *server) explain(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	if !filepath.IsAbs(path) {
		http.Error(w, fmt.Sprintf("path is %q; give the absolute path of a file", path), http.StatusBadRequest)
		return
	}
	path = filepath.Clean(path)
	tasks := []TaskExplanation{}
	for _, t := range s.a.supervisor.Tasks() {
		e := TaskExplanation{Explanation: collector.Explanation{Task: t.Name, Why: "the task does not run: " + cmp.Or(t.Error, string(t.State))}}
		if t.collect != nil {
			e.Explanation = t.collect.Explain(path)
		}
		if t.Task != nil {
			e.Topic = t.Task.Topic
		}
		tasks = append(tasks, e)
	}
	writeJSON(w, PathExplanation{Agent: s.a.cfg.ID, Path: path, Tasks: tasks})
}

// PathExplanation is what /api/v1/explain answers.
type PathExplanation struct {
	Agent string            `json:"agent"`
	Path  string            `json:"path"`
	Tasks []TaskExplanation `json:"tasks"`
}

// TaskExplanation says what one task does with the path.
type TaskExplanation struct {
	collector.Explanation
	Topic string `json:"topic,omitempty"`
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client is gone: nobody to tell
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>logferry {{.ID}}</title>
<style>body{font:15px system-ui,sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3em .8em;border-bottom:1px solid #ddd}td.n{text-align:right}.failing,.refused{color:#b00}</style>
<h1>logferry {{.ID}}</h1>
<p>{{if .NotReady}}<b class="failing">not ready</b>: {{range .NotReady}}{{.}} {{end}}{{else}}ready{{end}}</p>
{{with .Clash}}<p><b class="failing">another agent has the same id</b>: it runs on {{.Host}} {{.HTTP}}; give each agent an id of its own</p>{{end}}
<table><tr><th>task<th>state<th>topic<th>source<th>files<th>lag, bytes<th>lag, s<th>
{{range .Tasks}}<tr><td><a href="/api/v1/files?task={{.Name}}">{{.Name}}</a><td class="{{.State}}">{{.State}}<td>{{with .Task}}{{.Topic}}{{end}}<td>{{.Source}}
<td class="n">{{.Files}}<td class="n">{{.LagBytes}}<td class="n">{{printf "%.1f" .LagSeconds}}<td>{{.Error}}
{{else}}<tr><td colspan="8">no tasks{{end}}</table>
{{with .Others}}<p>{{.}} more for other agents</p>{{end}}
<p><a href="/metrics">metrics</a> · <a href="/api/v1/agent">agent</a> · <a href="/api/v1/tasks">tasks</a> · <a href="/api/v1/files">files</a> · <a href="/readyz">readyz</a></p>
</html>
`))

func (s *server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	reg, _ := s.a.registration()
	_ = pageTemplate.Execute(w, map[string]any{"Clash": reg.Clash, "ID": s.a.cfg.ID, "Tasks": s.a.supervisor.Tasks(), "NotReady": s.a.notReady(), "Others": s.a.others()})
}
