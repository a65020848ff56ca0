package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/sink/kafka"
	"logferry/sink/kafka/deadletter"
	"logferry/sink/kafka/replay"
)

// letterPlace is where dead letters are kept: a file or a topic.
type letterPlace interface {
	// Read calls each with every letter in order, and counts what is none.
	Read(ctx context.Context, each func(deadletter.Letter) error) (unreadable int, err error)
	// Replay calls send with each letter that waits, and remembers those for
	// which send names the topic that they were sent to.
	Replay(ctx context.Context, send func(deadletter.Letter) (topic string, err error)) error
	// Drop removes the letters that match, and counts them.
	Drop(ctx context.Context, match func(deadletter.Letter) bool) (int, error)
}

func (a *app) deadletterCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "deadletter",
		Aliases: []string{"deadletters"},
		Short:   "List, show, replay and drop the records that Kafka refused",
		Long: `Records that Kafka will never take as they are (too large, invalid) are set aside as dead letters, with their cause, in a file
in the agent's state_dir or in a topic. These commands work on all places that the configuration names, and on the files
in its state_dir, or on those of --from-file and --from-topic. They may be used while the agent runs.`,
	}
	cmd.RunE = a.group
	cmd.AddCommand(a.deadletterListCmd(), a.deadletterShowCmd(), a.deadletterReplayCmd(), a.deadletterDropCmd())
	return cmd
}

// letterFlags say which dead letters are meant.
type letterFlags struct {
	kafka    *kafkaFlags
	stateDir string
	files    []string
	topics   []string

	task, cause, since string
	waiting, replayed  bool
	oldest             time.Time // from since
	ids                []string  // none: any
}

func (a *app) letterVars(cmd *cobra.Command) *letterFlags {
	f := &letterFlags{kafka: kafkaVars(cmd)}
	cmd.Flags().StringVar(&f.stateDir, "state-dir", "", "the agent's state_dir (LOGFERRY_STATE_DIR; default "+agent.DefaultStateDir+")")
	cmd.Flags().StringSliceVar(&f.files, "from-file", nil, "the letters of this file only")
	cmd.Flags().StringSliceVar(&f.topics, "from-topic", nil, "the letters of this topic only")
	completeFlag(cmd, "from-topic", a.topicNames(f.kafka))
	return f
}

func (f *letterFlags) filterVars(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.task, "task", "", "letters of this task only")
	cmd.Flags().StringVar(&f.cause, "cause", "", "letters with this cause only, such as too_large")
	cmd.Flags().StringVar(&f.since, "since", "", "letters set aside since then only: 24h, or 2026-01-31T12:00:00Z")
}

// parse looks at what the flags say.
func (f *letterFlags) parse() error {
	if f.since == "" {
		return nil
	}
	if d, err := time.ParseDuration(f.since); err == nil && d >= 0 {
		f.oldest = time.Now().Add(-d)
	} else if f.oldest, err = time.Parse(time.RFC3339, f.since); err != nil {
		return usagef("--since: %q is neither a duration nor a time; write 24h, or 2026-01-31T12:00:00Z", f.since)
	}
	return nil
}

// chosen says that something narrows the choice.
func (f *letterFlags) chosen() bool {
	return len(f.ids) > 0 || f.task != "" || f.cause != "" || f.since != "" || f.replayed
}

func (f *letterFlags) match(l deadletter.Letter) bool {
	switch {
	case f.task != "" && l.Task != f.task, f.cause != "" && l.Cause != f.cause, l.Time.Before(f.oldest):
		return false
	case f.waiting && !l.Replayed.IsZero(), f.replayed && l.Replayed.IsZero():
		return false
	}
	return len(f.ids) == 0 || slices.Contains(f.ids, l.ID)
}

// places finds where to look.
func (f *letterFlags) places(a *app, cmd *cobra.Command) ([]letterPlace, error) {
	if err := f.parse(); err != nil {
		return nil, err
	}
	cfg, err := f.kafka.config.load(a)
	if err != nil {
		return nil, err
	}
	if f.stateDir != "" {
		cfg.StateDir = f.stateDir
	}
	cfg.SetDefaults()
	files, topics := f.files, f.topics
	var out []letterPlace
	if len(files)+len(topics) == 0 {
		if files, out, err = f.configured(a, cmd, cfg); err != nil {
			return nil, err
		}
	}
	for _, path := range files {
		out = append(out, deadletter.File{Path: path})
	}
	for _, topic := range topics {
		c, err := f.kafka.resolve(a, cmd, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, replay.Topic{Config: c, Name: topic, Log: a.newLog("warn", "text")})
	}
	return out, nil
}

// configured are the files in state_dir, and what the clusters name.
func (f *letterFlags) configured(a *app, cmd *cobra.Command, cfg agent.Config) (files []string, topics []letterPlace, err error) {
	names, err := os.ReadDir(cfg.DeadLetterDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fileWords(err)
	}
	for _, e := range names {
		if i := strings.LastIndex(e.Name(), ".jsonl"); i >= 0 { // also where only a rotated file is left
			files = append(files, filepath.Join(cfg.DeadLetterDir(), e.Name()[:i]+".jsonl"))
		}
	}
	for _, name := range clusterNames(cfg) {
		cluster, _ := cfg.Cluster(name)
		d := cluster.DeadLetter
		switch {
		case d == nil:
		case d.File != "":
			files = append(files, d.File)
		case d.Topic != "":
			c, err := f.cluster(a, cmd, name)
			if err != nil {
				return nil, nil, err
			}
			topics = append(topics, replay.Topic{Config: c, Name: d.Topic, Log: a.newLog("warn", "text")})
		}
	}
	slices.Sort(files)
	return slices.Compact(files), topics, nil
}

// clusterNames lists the clusters of a configuration, the default one first.
func clusterNames(cfg agent.Config) []string {
	names := []string{""}
	for name := range cfg.Clusters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// cluster returns the settings of a cluster by its name in the configuration,
// unless flags name another one.
func (f *letterFlags) cluster(a *app, cmd *cobra.Command, name string) (kafka.Config, error) {
	k := *f.kafka
	if cmd.Flags().Changed("brokers") || k.cluster != "" || name == "" {
		return k.resolve(a, cmd, nil)
	}
	cfg, err := k.config.load(a)
	if err != nil {
		return kafka.Config{}, err
	}
	if _, ok := cfg.Clusters[name]; !ok {
		return kafka.Config{}, fmt.Errorf("there are letters for the cluster %q, which the configuration does not have; add it under clusters, or name another one with --cluster or --brokers", name)
	}
	k.cluster = name
	return k.resolve(a, cmd, nil)
}

// read calls each with every letter that is meant, place by place.
func (a *app) readLetters(ctx context.Context, places []letterPlace, f *letterFlags, each func(deadletter.Letter) error) error {
	for _, p := range places {
		unreadable, err := p.Read(ctx, func(l deadletter.Letter) error {
			if !f.match(l) {
				return nil
			}
			return each(l)
		})
		if err != nil {
			return fileWords(err)
		}
		if unreadable > 0 {
			fmt.Fprintf(a.err, "logferry: %s of %s are no dead letters and are left alone\n", count(unreadable, "record"), placeName(p))
		}
	}
	return nil
}

func placeName(p letterPlace) string {
	switch p := p.(type) {
	case deadletter.File:
		return p.Path
	case replay.Topic:
		return "topic " + p.Name
	}
	return "the letters"
}
