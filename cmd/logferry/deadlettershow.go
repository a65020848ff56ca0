package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"logferry/internal/record"
	"logferry/sink/kafka/deadletter"
)

// letterRow is one letter of a list: all but its record.
type letterRow struct {
	ID         string    `json:"id"`
	Time       time.Time `json:"time"`
	Task       string    `json:"task"`
	Cause      string    `json:"cause"`
	Error      string    `json:"error"`
	Cluster    string    `json:"cluster,omitempty"`
	Topic      string    `json:"topic"`
	Host       string    `json:"host"`
	Path       string    `json:"path"`
	File       string    `json:"file"`
	Offset     int64     `json:"offset"`
	ValueBytes int       `json:"value_bytes"`
	Cut        bool      `json:"cut,omitempty"`
	Replayed   time.Time `json:"replayed,omitzero"`
}

func (r letterRow) state() string {
	switch {
	case !r.Replayed.IsZero():
		return "replayed"
	case r.Cut:
		return "cut"
	}
	return "waits"
}

func (a *app) deadletterListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first",
		Long: `List dead letters, oldest first. A letter waits until it is replayed; one that is cut came to a topic that did not take all
of it, and is replayed with --cut only.`,
		Example: `  logferry deadletter list --state-dir /var/lib/logferry
  logferry deadletter list --task web --cause too_large --since 24h
  logferry deadletter list --from-topic dead_letters --brokers 127.0.0.1:9092 -o json`,
		Args: needs(),
	}
	f, output := a.letterVars(cmd), outputVar(cmd, "table", "json")
	f.filterVars(cmd)
	cmd.Flags().BoolVar(&f.waiting, "waiting", false, "letters that were not replayed only")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error {
		places, err := f.places(a, cmd)
		if err != nil {
			return err
		}
		rows := []letterRow{}
		err = a.readLetters(cmd.Context(), places, f, func(l deadletter.Letter) error {
			rows = append(rows, letterRow{
				ID: l.ID, Time: l.Time, Task: l.Task, Cause: l.Cause, Error: l.Error, Cluster: l.Cluster, Topic: l.Topic,
				Host: l.Host, Path: l.Path, File: l.File, Offset: l.Offset, ValueBytes: len(l.Value), Cut: l.Cut, Replayed: l.Replayed,
			})
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortStableFunc(rows, func(a, b letterRow) int { return a.Time.Compare(b.Time) })
		return a.show(output, rows, func(t *table) {
			t.row("ID", "TIME", "TASK", "CAUSE", "TOPIC", "PATH", "OFFSET", "SIZE", "STATE")
			for _, r := range rows {
				t.row(r.ID, moment(r.Time), r.Task, r.Cause, r.Topic, r.Path, r.Offset, byteWords(int64(r.ValueBytes)), r.state())
			}
		})
	})
	return cmd
}

func (a *app) deadletterShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter whole, or its value alone",
		Long: `Show one dead letter: why it was set aside, where it comes from, where it was meant to go, and the record. Bytes that are no
text are shown as Go writes them in a string. --value writes the value as it is and nothing else; -o json has everything.`,
		Example: `  logferry deadletter show 3f2a9c01b7de
  logferry deadletter show dead_letters/0/17 --from-topic dead_letters --value > record.bin`,
		Args: needs("ID"),
	}
	f, output := a.letterVars(cmd), outputVar(cmd, "text", "json")
	value := cmd.Flags().Bool("value", false, "write the value alone, byte for byte")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		f.ids = args
		places, err := f.places(a, cmd)
		if err != nil {
			return err
		}
		l, err := a.findLetter(cmd.Context(), places, f)
		if err != nil {
			return err
		}
		if *value {
			_, err := a.out.Write(l.Value)
			return err
		}
		return a.show(output, l, func(t *table) { letterText(t, l) })
	})
	return cmd
}

func (a *app) findLetter(ctx context.Context, places []letterPlace, f *letterFlags) (found *deadletter.Letter, err error) {
	err = a.readLetters(ctx, places, f, func(l deadletter.Letter) error {
		found = &l
		return nil
	})
	if err == nil && found == nil {
		err = noLetter(f.ids[0])
	}
	return found, err
}

func noLetter(id string) error {
	return fmt.Errorf("no dead letter has the ID %q; 'logferry deadletter list' with the same flags shows those that there are", id)
}

func letterText(t *table, l *deadletter.Letter) {
	t.row("id", l.ID)
	t.row("time", l.Time.UTC().Format(time.RFC3339Nano))
	t.row("cause", l.Cause)
	t.row("error", oneLine(l.Error))
	if !l.Replayed.IsZero() {
		t.row("replayed", l.Replayed.UTC().Format(time.RFC3339Nano))
	}
	if l.Cut {
		t.row("cut", "the dead-letter topic did not take all of the record")
	}
	t.row("task", l.Task)
	t.row("topic", fmt.Sprintf("%s, partition %d", l.Topic, l.Partition))
	if l.Cluster != "" {
		t.row("cluster", l.Cluster)
	}
	t.row("host", l.Host)
	t.row("path", l.Path)
	t.row("file", l.File)
	t.row("offset", l.Offset)
	if !l.RecordTime.IsZero() {
		t.row("record time", l.RecordTime.UTC().Format(time.RFC3339Nano))
	}
	if l.Key != nil {
		t.row("key", readable(l.Key))
	}
	for _, h := range l.Headers {
		t.row("header", headerText(h))
	}
	t.row("value", count(len(l.Value), "byte"))
	_ = t.w.Flush() // the value is no column
	writeReadable(t.w, l.Value)
}

func headerText(h record.Header) string { return h.Key + "=" + readable(h.Value) }

// readable shows bytes on one line, so that none of them does something to the terminal.
func readable(b []byte) string {
	q := fmt.Sprintf("%q", b)
	if q == `"`+string(b)+`"` {
		return string(b)
	}
	return q
}

// writeReadable writes a value with its line breaks and tabs.
func writeReadable(w io.Writer, b []byte) {
	for line := range bytes.Lines(b) {
		text := bytes.TrimSuffix(line, []byte("\n"))
		if !utf8.Valid(text) || bytes.ContainsFunc(text, func(r rune) bool { return r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) }) {
			text = fmt.Appendf(nil, "%q", text)
		}
		fmt.Fprintf(w, "%s\n", bytes.ReplaceAll(text, []byte("\t"), []byte("        ")))
	}
}
