package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logferry/sink/kafka/deadletter"
	"logferry/sink/kafka/replay"
)

func (a *app) deadletterReplayCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Send dead letters again, to the topic that they were meant for",
		Long: `Send dead letters again, in their order and one at a time, each to the topic, partition and cluster that it was meant for:
those with the IDs, those that the filters choose, or with --all all that wait. What Kafka acknowledged is noted beside the
file (NAME.replayed), or in the dead-letter topic, and not sent again by a later replay; if this is interrupted between an
acknowledgement and its note, the next replay sends that one letter again. What Kafka still refuses is named, and
waits on; the letters behind it are sent. Replayed letters stay where they are until they are dropped.

Replays of one file wait for nobody: while one runs, another is refused. For a topic, see that only one runs at a time.

Exit code 0: all was sent, or nothing waits; 1: something was refused, or Kafka was not reached.`,
		Example: `  logferry deadletter replay --all --config /etc/logferry/agent.yaml
  logferry deadletter replay --task web --cause too_large --brokers 127.0.0.1:9092
  logferry deadletter replay 3f2a9c01b7de --topic web_log_large`,
		Args: cobra.ArbitraryArgs,
	}
	f, output := a.letterVars(cmd), outputVar(cmd, "table", "json")
	f.filterVars(cmd)
	r := &replayRun{flags: f, senders: map[string]*replay.Sender{}, rows: []replayRow{}}
	all := cmd.Flags().Bool("all", false, "all letters that wait")
	cmd.Flags().StringVar(&r.topic, "topic", "", "send to this topic instead")
	completeFlag(cmd, "topic", a.topicNames(f.kafka))
	cmd.Flags().BoolVar(&r.cut, "cut", false, "also letters that are cut, as what is left of them")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		f.ids = args
		if *all == f.chosen() {
			return usagef("say which letters to replay: their IDs, --task, --cause or --since, or --all")
		}
		places, err := f.places(a, cmd)
		if err != nil {
			return err
		}
		return a.replayLetters(cmd, places, r, output)
	})
	return cmd
}

// replayRun is one replay under way.
type replayRun struct {
	flags *letterFlags
	topic string
	cut   bool

	senders map[string]*replay.Sender // by cluster
	rows    []replayRow
	refused int
}

// replayRow is what became of one letter.
type replayRow struct {
	ID        string `json:"id"`
	Task      string `json:"task"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Error     string `json:"error,omitempty"` // why it was not sent
}

func (a *app) replayLetters(cmd *cobra.Command, places []letterPlace, r *replayRun, output *outputFlag) (err error) {
	defer func() {
		for _, s := range r.senders {
			err = errors.Join(err, s.Close())
		}
	}()
	known := map[string]bool{}
	if err := a.readLetters(cmd.Context(), places, r.flags, func(l deadletter.Letter) error { known[l.ID] = true; return nil }); err != nil {
		return err
	}
	for _, id := range r.flags.ids {
		if !known[id] {
			return noLetter(id)
		}
	}
	var failed error
	for _, p := range places {
		if failed = p.Replay(cmd.Context(), func(l deadletter.Letter) (string, error) { return r.send(a, cmd, l) }); failed != nil {
			break
		}
	}
	if err := a.show(output, r.rows, r.table); err != nil {
		return err
	}
	switch {
	case failed != nil:
		return fmt.Errorf("%w; %s sent before that", fileWords(failed), countSent(len(r.rows)-r.refused))
	case r.refused > 0:
		return fmt.Errorf("%s not sent; what they need stands with each, the others are sent", countSent(r.refused))
	case len(r.rows) == 0:
		a.say(output, "no dead letters wait")
	}
	return nil
}

func countSent(n int) string {
	if n == 1 {
		return "1 letter was"
	}
	return fmt.Sprintf("%d letters were", n)
}

func (r *replayRun) table(t *table) {
	if len(r.rows) == 0 {
		return
	}
	t.row("ID", "TASK", "TOPIC", "PARTITION", "OFFSET")
	for _, row := range r.rows {
		if row.Error == "" {
			t.row(row.ID, row.Task, row.Topic, row.Partition, row.Offset)
		} else {
			t.row(row.ID, row.Task, row.Topic, "-", "not sent: "+row.Error)
		}
	}
}

// send sends one letter; the topic is empty when it was left out.
func (r *replayRun) send(a *app, cmd *cobra.Command, l deadletter.Letter) (topic string, err error) {
	if !r.flags.match(l) {
		return "", nil
	}
	row := replayRow{ID: l.ID, Task: l.Task, Topic: l.Topic}
	if r.topic != "" {
		row.Topic = r.topic
	}
	if l.Cut && !r.cut {
		r.refuse(row, "a part of it is missing; --cut sends what is left of it")
		return "", nil
	}
	s, err := r.sender(a, cmd, l.Cluster)
	if err != nil {
		return "", err
	}
	row.Partition, row.Offset, err = s.Send(l, row.Topic)
	var refused *replay.RefusedError
	if errors.As(err, &refused) {
		r.refuse(row, refused.Error()+"; "+refusalRemedy(refused.Cause))
		return "", nil
	} else if err != nil {
		return "", err
	}
	r.rows = append(r.rows, row)
	return row.Topic, nil
}

func (r *replayRun) refuse(row replayRow, why string) {
	row.Error = why
	r.refused++
	r.rows = append(r.rows, row)
}

func refusalRemedy(cause string) string {
	if cause == "too_large" {
		return "raise max.message.bytes of the topic, or send it to another one with --topic"
	}
	return "send it to another topic with --topic, or drop it"
}

// sender returns the connection to the cluster that a letter names.
func (r *replayRun) sender(a *app, cmd *cobra.Command, cluster string) (*replay.Sender, error) {
	if s := r.senders[cluster]; s != nil {
		return s, nil
	}
	cfg, err := r.flags.cluster(a, cmd, cluster)
	if err != nil {
		return nil, err
	}
	s, err := replay.Open(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	r.senders[cluster] = s
	return s, nil
}

func (a *app) deadletterDropCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop [ID...]",
		Short: "Remove dead letters for good",
		Long: `Remove dead letters for good: those with the IDs, those that the filters choose, those that were replayed, or --all. Of a topic,
the beginning is deleted up to the first record that stays (which needs the right to Delete on it); what is behind that is
marked as dropped, neither listed nor replayed any more, and deleted with the beginning some day.`,
		Example: `  logferry deadletter drop --replayed
  logferry deadletter drop 3f2a9c01b7de
  logferry deadletter drop --all --from-topic dead_letters --brokers 127.0.0.1:9092`,
		Args: cobra.ArbitraryArgs,
	}
	f, output := a.letterVars(cmd), outputVar(cmd, "table", "json")
	f.filterVars(cmd)
	all := cmd.Flags().Bool("all", false, "all letters")
	cmd.Flags().BoolVar(&f.replayed, "replayed", false, "letters that were replayed only")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		f.ids = args
		if *all == f.chosen() {
			return usagef("say which letters to drop: their IDs, --task, --cause, --since or --replayed, or --all")
		}
		places, err := f.places(a, cmd)
		if err != nil {
			return err
		}
		return a.dropLetters(cmd.Context(), places, f, output)
	})
	return cmd
}

func (a *app) dropLetters(ctx context.Context, places []letterPlace, f *letterFlags, output *outputFlag) error {
	missing := map[string]bool{}
	for _, id := range f.ids {
		missing[id] = true
	}
	dropped := 0
	for _, p := range places {
		n, err := p.Drop(ctx, func(l deadletter.Letter) bool {
			if !f.match(l) {
				return false
			}
			delete(missing, l.ID)
			return true
		})
		dropped += n
		if err != nil {
			return fmt.Errorf("%w; %s dropped before that", fileWords(err), countSent(dropped))
		}
	}
	if err := a.show(output, map[string]int{"dropped": dropped}, func(t *table) { t.row("dropped " + count(dropped, "dead letter")) }); err != nil {
		return err
	}
	if len(missing) > 0 {
		return noLetter(strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	return nil
}
