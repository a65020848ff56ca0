package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent/etcdsource"
)

// redrawInterval is the least time between two pictures of --watch.
const redrawInterval = 200 * time.Millisecond

type statusFlags struct {
	etcd   *etcdFlags
	output *outputFlag
	json   bool
	watch  bool
}

func (a *app) statusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [TASK|AGENT]",
		Short: "Show what the tasks do on all agents",
		Long: `Show what the tasks do on all agents: how many run each, refuse it or fail, how far they are behind, and each refusal and
failure with its agent and what to do. With the name of a task: one row for each of its agents. With the id of an agent: one
row for each of its tasks. Pending agents have not yet told that they took the newest version. Numbers are those of the
agents' newest reports: a change of state is reported at once, all else within half a minute. With --watch and JSON, each
moment is one line. A change that goes from wave to wave is told below the table: its wave, who has it, what it waits for, and
why it went back.

Exit code 0: all is well, or --watch was ended by Ctrl-C; 1: something is refused, fails or went back, two agents have the same id, or etcd was not reached.`,
		Example: `  logferry status --etcd 127.0.0.1:2379
  logferry status web --watch --etcd 127.0.0.1:2379`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%q is one argument too many", args[1])
			}
			return nil
		},
	}
	f := &statusFlags{etcd: etcdVars(cmd), output: outputVar(cmd, "table", "json")}
	completeArg(cmd, false, a.fleetNames(f.etcd))
	cmd.Flags().BoolVar(&f.json, "json", false, "the same as -o json")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "show it again at each change, until Ctrl-C")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		if f.json {
			f.output.format = "json"
		}
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		return a.withStore(cmd, f.etcd, func(ctx context.Context, s remote) error {
			if f.watch {
				return a.watchStatus(ctx, s, f, name)
			}
			fleet, err := s.Fleet(ctx)
			if err != nil {
				return err
			}
			v, err := newStatusView(fleet, name)
			if err != nil {
				return err
			}
			if err := a.show(f.output, v, v.table); err != nil {
				return err
			}
			if v.Trouble {
				return silent(exitFailed)
			}
			return nil
		})
	})
	return cmd
}

// watchStatus shows the status at each change. On a terminal each picture
// takes the place of the one before; elsewhere an empty line parts them. JSON
// is one line each.
func (a *app) watchStatus(ctx context.Context, s remote, f *statusFlags, name string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d := &drawing{app: a, output: f.output, out: asTerminal(a.out), seen: time.Now(), stop: stop}
	if d.out != nil {
		defer d.followSize(ctx)()
	}
	err := s.WatchFleet(ctx, redrawInterval, func(fleet etcdsource.Fleet, lost error) {
		v, _ := newStatusView(fleet, name) // a name that is not known may come yet, and the view says so
		d.show(v, lost)
	})
	if d.failed != nil {
		return d.failed
	}
	return err
}

// drawing is a watched status. Its newest picture is drawn again when the
// terminal's size changes.
type drawing struct {
	app    *app
	output *outputFlag
	out    *os.File // nil: it is no terminal
	stop   func()

	mu     sync.Mutex
	view   *statusView // nil: there is none yet
	seen   time.Time   // when etcd was last heard
	failed error
}

func (d *drawing) show(v statusView, lost error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if lost == nil {
		d.seen = time.Now()
	} else {
		v.Lost = oneLine(lost.Error())
	}
	d.view = &v
	d.drawLocked()
}

func (d *drawing) drawLocked() {
	if d.failed = d.app.picture(d.output, *d.view, d.out, d.seen); d.failed != nil {
		d.stop()
	}
}

// followSize draws anew at each change of the terminal's size, until the function
// that it returns is called.
func (d *drawing) followSize(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	resized, quit := resizes()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-resized:
			}
			d.mu.Lock()
			if d.view != nil && d.output.format != "json" {
				d.drawLocked()
			}
			d.mu.Unlock()
		}
	}()
	return func() { stop(); <-done; quit() }
}

// picture shows one moment of a watched status; on a terminal what has room there.
func (a *app) picture(output *outputFlag, v statusView, out *os.File, seen time.Time) error {
	if output.format == "json" {
		return json.NewEncoder(a.out).Encode(v)
	}
	var text strings.Builder
	if out != nil {
		fmt.Fprintf(&text, "logferry status at %s, %s; Ctrl-C ends\n\n", seen.Format(time.TimeOnly), count(v.Agents, "agent"))
	}
	if err := (&app{out: &text}).show(output, v, v.table); err != nil {
		return err
	}
	if v.Lost != "" {
		fmt.Fprintf(&text, "\nno news since %s: %s\n", seen.Format(time.TimeOnly), v.Lost)
	}
	if out == nil {
		_, err := fmt.Fprintln(a.out, text.String())
		return err
	}
	columns, rows := terminalSize(out)
	_, err := fmt.Fprint(a.out, "\x1b[H\x1b[2J"+roomFor(text.String(), columns, rows))
	return err
}

// roomFor lays lines out for a terminal of that size: the table's are cut on the
// right, those below it are wrapped, and what does not fit is counted.
func roomFor(text string, columns, rows int) string {
	var lines []string
	parts := 0 // empty lines so far: the table is between the first and the second
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" {
			parts++
		}
		if parts < 2 {
			lines = append(lines, fitted(line, columns))
			continue
		}
		runes := []rune(harmless(line))
		for len(runes) > columns {
			lines, runes = append(lines, string(runes[:columns])), runes[columns:]
		}
		lines = append(lines, string(runes))
	}
	return strings.Join(atMost(lines, rows), "\n")
}

// statusView is what status shows: the whole fleet, or one task or agent of it.
type statusView struct {
	Revision int64                     `json:"revision"` // of etcd, at which all of it was read
	Agents   int                       `json:"agents"`   // that run
	Name     string                    `json:"name,omitempty"`
	Tasks    []etcdsource.TaskOverview `json:"tasks"` // with the name of an agent: as that agent sees them
	Errors   []string                  `json:"errors,omitempty"`
	Trouble  bool                      `json:"trouble"`        // what exit code 1 stands for
	Lost     string                    `json:"lost,omitempty"` // why there is no news

	known   bool // the name is one of a task or an agent
	byAgent bool // the name is one of an agent
}

// newStatusView returns what there is to show. A name that is neither a
// task's nor an agent's is an error, beside a view that shows nothing.
func newStatusView(fleet etcdsource.Fleet, name string) (statusView, error) {
	v := statusView{Revision: fleet.Revision, Agents: len(fleet.Members), Name: name, Tasks: fleet.Overview(), known: true}
	var about []etcdsource.Member
	if name == "" {
		about = fleet.Members
	} else if i := slices.IndexFunc(v.Tasks, func(o etcdsource.TaskOverview) bool { return called(o, name) }); i >= 0 {
		v.Tasks = slices.DeleteFunc(v.Tasks, func(o etcdsource.TaskOverview) bool { return !called(o, name) })
	} else if i := slices.IndexFunc(fleet.Members, func(m etcdsource.Member) bool { return m.Name == name }); i >= 0 {
		about = fleet.Members[i : i+1]
		fleet.Members, v.byAgent = about, true
		v.Tasks = slices.DeleteFunc(fleet.Overview(), func(o etcdsource.TaskOverview) bool { return len(o.On) == 0 })
	} else {
		v.Tasks, v.known = []etcdsource.TaskOverview{}, false
		return v, fmt.Errorf("neither a task nor an agent is called %q; 'logferry status' lists the tasks, 'logferry agents' the agents", name)
	}
	for _, m := range about {
		if text := memberTrouble(m); text != "" {
			v.Errors = append(v.Errors, m.Name+": "+text)
		}
	}
	v.Trouble = len(v.Errors) > 0 || slices.ContainsFunc(v.Tasks, etcdsource.TaskOverview.Troubled)
	return v, nil
}

// called says whether a name is a task's, with its group or without.
func called(o etcdsource.TaskOverview, name string) bool {
	return o.Name == name || o.Qualified() == name
}

func (v statusView) table(t *table) {
	switch {
	case !v.known:
		t.row(fmt.Sprintf("neither a task nor an agent is called %q", v.Name))
		return
	case v.Name == "":
		v.fleetRows(t)
	default:
		v.singleRows(t)
	}
	_ = t.w.Flush() // lines for people follow, which are no columns
	v.troubles(t)
}

func (v statusView) fleetRows(t *table) {
	t.row("TASK", "REVISION", "AGENTS", "RUNNING", "PENDING", "REFUSED", "FAILING", "STOPPED", "LAG", "BEHIND", "OLDEST")
	for _, o := range v.Tasks {
		t.row(o.Qualified(), revision(o.Revision), o.Agents, o.Running+o.Unknown, o.Pending, o.Refused, o.Failing, o.Stopped,
			byteWords(o.LagBytes), behind(o.LagSeconds), moment(o.OldestUnacked))
	}
}

// singleRows are those of one task or one agent.
func (v statusView) singleRows(t *table) {
	first := "AGENT\tHOST"
	if v.byAgent {
		first = "TASK"
	}
	t.row(first, "STATE", "REVISION", "FILES", "RECORDS", "BYTES", "LAG", "BEHIND", "OLDEST")
	for _, o := range v.Tasks {
		for _, on := range o.On {
			first := on.Agent + "\t" + textOrDash(on.Host)
			if v.byAgent {
				first = o.Qualified()
			}
			t.row(first, on.State, revision(on.Revision), on.Files, on.Records, byteWords(int64(on.Bytes)),
				byteWords(on.LagBytes), behind(on.LagSeconds), moment(on.OldestUnacked))
		}
	}
}

// namesShown is how many agents with the same trouble are named.
const namesShown = 3

// troubles tells each refusal and failure.
func (v statusView) troubles(t *table) {
	if lines := v.troubleLines(); len(lines) > 0 {
		fmt.Fprintf(t.w, "\n%s\n", strings.Join(lines, "\n"))
	}
}

// troubleLines are those of refusals and failures, those with the same words once.
func (v statusView) troubleLines() []string {
	lines := slices.Clone(v.Errors)
	for _, o := range v.Tasks {
		if o.Rollout != nil {
			lines = append(lines, rolloutLine(o.Qualified(), o.Rollout))
		}
		if o.Error != "" {
			lines = append(lines, fmt.Sprintf("%s is not valid on any agent: %s", o.Qualified(), o.Error))
		}
		var order []string
		agents := map[string][]string{}
		note := func(on etcdsource.TaskOnAgent, what, text string) {
			key := what + "\x00" + oneLine(text)
			if agents[key] == nil {
				order = append(order, key)
			}
			agents[key] = append(agents[key], on.Agent)
		}
		for _, on := range o.On {
			if on.NotCollected > 0 {
				note(on, "does not collect "+count(on.NotCollected, "path"), on.FirstRefused)
			}
			if on.Troubled() || on.State == "pending" && on.Error != "" {
				note(on, "is "+on.State, on.Error)
			}
		}
		for _, key := range order {
			what, text, _ := strings.Cut(key, "\x00")
			lines = append(lines, fmt.Sprintf("%s %s on %s: %s", o.Qualified(), what, someOf(agents[key]), textOrDash(text)))
		}
	}
	return lines
}

func someOf(names []string) string {
	if len(names) <= namesShown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:namesShown], ", "), len(names)-namesShown)
}

func revision(rev int64) string {
	if rev == 0 {
		return "-"
	}
	return fmt.Sprint(rev)
}

// byteWords writes a number of bytes with at most one decimal.
func byteWords(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f%ciB", v, " KMGTP"[unit])
}

func behind(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
