package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
)

func (a *app) topCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch one agent, or all of them: rate, lag, files and errors",
		Long: `Watch one agent live: for each task its state, what Kafka acknowledged a second, how far it is behind, its files, what is
read and on its way, errors of producing and dead letters since the agent's start, and below what is wrong.
With --fleet, or an etcd given by --etcd: all agents that stand in etcd, one row each, with the rates between their two newest
reports, of which a quiet agent writes one in half a minute.
Keys: q ends, n sorts by name, r by rate, l by lag. Without a terminal one picture follows the other.

--once shows one picture, with rates over one --interval (of one agent). Exit code 0: all is well, or it was ended with q or Ctrl-C; 1: with --once,
a task fails or was refused; or the agent or etcd was not reached.`,
		Example: `  logferry top
  logferry top --agent 10.0.0.7:9600
  logferry top --once -o json
  logferry top --fleet --etcd 127.0.0.1:2379`,
		Args: needs(),
	}
	t := &topRun{app: a}
	t.address = a.agentVars(cmd, agent.DefaultListen, "")
	t.output = outputVar(cmd, "table", "json")
	fleet, e := cmd.Flags().Bool("fleet", false, "all agents that stand in etcd"), etcdVars(cmd)
	cmd.MarkFlagsMutuallyExclusive("agent", "fleet")
	cmd.MarkFlagsMutuallyExclusive("agent", "etcd")
	once := cmd.Flags().Bool("once", false, "show one picture and end, for scripts")
	cmd.Flags().DurationVarP(&t.interval, "interval", "i", time.Second, "time between two pictures")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error {
		if t.interval < 100*time.Millisecond || t.interval > time.Hour {
			return usagef("--interval: must be from 100ms to 1h")
		}
		if *fleet || cmd.Flags().Changed("etcd") {
			return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
				return (&fleetTop{topRun: *t}).run(ctx, s, *once)
			})
		}
		if err := t.look(cmd.Context()); err != nil {
			return err
		}
		if *once {
			return t.showOnce(cmd.Context())
		}
		if out := asTerminal(a.out); out != nil && t.output.format != "json" {
			return t.watch(cmd.Context(), out)
		}
		return t.follow(cmd.Context())
	})
	return cmd
}

// topRun is one run of top.
type topRun struct {
	app      *app
	address  *agentFlags
	output   *outputFlag
	interval time.Duration

	before, now topSample
	lost        error // why the newest look failed
}

// look asks the agent for a sample.
func (t *topRun) look(ctx context.Context) error {
	next := topSample{}
	err := askAgent(ctx, t.address, "/api/v1/agent", &next.agent)
	if err == nil {
		err = askAgent(ctx, t.address, "/api/v1/tasks", &next.tasks)
	}
	if t.lost = err; err != nil {
		return err
	}
	next.at = time.Now()
	if t.now.at.IsZero() {
		t.now = next
	}
	t.before, t.now = t.now, next
	return nil
}

func (t *topRun) view() topView { return newTopView(t.before, t.now) }

// pause waits for the next look; false when ctx ended.
func (t *topRun) pause(ctx context.Context) bool {
	timer := time.NewTimer(t.interval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *topRun) showOnce(ctx context.Context) error {
	if !t.pause(ctx) {
		return ctx.Err()
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	return t.showLast(t.view())
}

// showLast writes the only picture. Its exit code tells of trouble.
func (t *topRun) showLast(v topPicture) error {
	if err := t.app.show(t.output, v, func(tab *table) { plain(tab, v) }); err != nil {
		return err
	}
	if v.troubled() {
		return silent(exitFailed)
	}
	return nil
}

// showNext writes one of many pictures: a line of JSON, or text and an empty line.
func (t *topRun) showNext(v topPicture) error {
	if t.output.format == "json" {
		return json.NewEncoder(t.app.out).Encode(v)
	}
	err := t.app.show(t.output, v, func(tab *table) { plain(tab, v) })
	if err == nil {
		_, err = fmt.Fprintln(t.app.out)
	}
	return err
}

// topPicture is one picture of top.
type topPicture interface {
	lines() (head, rows, troubles []string)
	troubled() bool
	ordered(key byte) topPicture
}

// topMoment is a picture that may be older than now: lost says why.
type topMoment struct {
	view topPicture
	at   time.Time
	lost error
}

func plain(tab *table, v topPicture) {
	head, rows, troubles := v.lines()
	text := strings.Join(append(append(head, ""), rows...), "\n") + "\n"
	if len(troubles) > 0 {
		text += "\n" + strings.Join(troubles, "\n") + "\n"
	}
	fmt.Fprint(tab.w, text)
}

// follow writes one picture after the other, until Ctrl-C.
func (t *topRun) follow(ctx context.Context) error {
	for t.pause(ctx) {
		if err := t.look(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := t.showNext(t.view()); err != nil {
			return err
		}
	}
	return nil
}

// watch draws on a terminal until q or Ctrl-C. An agent that does not answer is
// asked again.
func (t *topRun) watch(ctx context.Context, out *os.File) error {
	looks, looking := t.looks(ctx)
	defer looking()
	return t.app.drive(ctx, out, t.moment(), looks)
}

func (t *topRun) moment() topMoment { return topMoment{view: t.view(), at: t.now.at, lost: t.lost} }

// looks asks the agent again and again, beside the drawing: an agent that hangs
// must not keep keys from being heard. The returned function ends it.
func (t *topRun) looks(ctx context.Context) (<-chan topMoment, func()) {
	ctx, stop := context.WithCancel(ctx)
	out, done, run := make(chan topMoment), make(chan struct{}), *t
	go func() {
		defer close(done)
		for run.pause(ctx) {
			_ = run.look(ctx) // it is told in the picture
			select {
			case out <- run.moment():
			case <-ctx.Done():
			}
		}
	}()
	return out, func() { stop(); <-done }
}

// drive shows moments on a terminal, in the order that keys choose, until q or
// Ctrl-C, and gives the terminal back as it was.
func (a *app) drive(ctx context.Context, out *os.File, m topMoment, moments <-chan topMoment) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var keys <-chan byte
	if in := asTerminal(a.in); in != nil {
		typed, restore, err := keysOf(ctx, in)
		if err != nil {
			return err
		}
		defer restore()
		keys = typed
	}
	resized, end := resizes()
	defer end()
	if _, err := fmt.Fprint(out, ansiEnter); err != nil {
		return err
	}
	defer func() { _, _ = fmt.Fprint(out, ansiLeave) }()
	order := byte('n')
	for {
		if err := m.draw(out, order); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case key := <-keys:
			if key == 'q' || key == 'Q' {
				return nil
			} else if topOrders[key] != nil {
				order = key
			}
		case <-resized:
		case m = <-moments:
		}
	}
}

func (m topMoment) draw(out *os.File, order byte) error {
	columns, rows := terminalSize(out)
	foot := "q ends; sort by n name, r rate, l lag"
	if m.lost != nil {
		foot = fmt.Sprintf("no answer since %s: %s", m.at.Format(time.TimeOnly), oneLine(m.lost.Error()))
	}
	_, err := fmt.Fprint(out, screenful(m.view.ordered(order), foot, columns, rows))
	return err
}
