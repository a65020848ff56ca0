package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/agent/task"
	"logferry/sink/kafka"
)

func (a *app) taskTryCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "try FILE",
		Short: "Show what a task makes of a log, without etcd or Kafka",
		Long: `Show what a task makes of a log: for each record what would be sent, or why it would not. Nothing is sent, and no
checkpoint is read or written. "-" is standard input, for FILE or for --input. What is left out is shown as it is before masks.`,
		Example: `  logferry task try web.yaml --input /var/log/nginx/access.log
  tail -n 20 /var/log/shop/shop.log | logferry task try shop.yaml --input -`,
		Args: needs("FILE"),
	}
	output := outputVar(cmd, "text", "json")
	input := cmd.Flags().StringP("input", "i", "", `the log; "-" is standard input`)
	name := cmd.Flags().String("task", "", "the task's name, if the file holds several")
	path := cmd.Flags().String("path", "", "the path that the log stands for (default: that of --input)")
	cmd.RunE = a.body(func(_ *cobra.Command, args []string) error {
		switch {
		case *input == "":
			return usagef(`--input is missing: the log, or "-" for standard input`)
		case *input == "-" && args[0] == "-":
			return usagef("FILE and --input cannot both be standard input; write one of them to a file")
		}
		t, err := a.oneTask(args[0], *name)
		if err != nil {
			return badConfig(err)
		}
		log := a.in
		if *input != "-" {
			f, err := os.Open(*input)
			if err != nil {
				return fileWords(err)
			}
			defer func() { _ = f.Close() }()
			log = f
		}
		switch {
		case *path != "":
		case *input == "-":
			*path = "<stdin>"
		default:
			if *path, err = filepath.Abs(*input); err != nil {
				return err
			}
		}
		return a.try(output, t, *path, log)
	})
	return cmd
}

// oneTask reads the task of a file; name tells which, if it holds several.
func (a *app) oneTask(file, name string) (task.Task, error) {
	data, origin, err := a.readTaskText(file)
	if err != nil {
		return task.Task{}, err
	}
	defs, err := task.Parse(data, origin)
	if err != nil {
		return task.Task{}, err
	}
	if name == "" && len(defs) == 1 {
		return defs[0].Complete(baseName(file))
	}
	var names []string
	for _, d := range defs {
		if d.Task.Name == name && name != "" {
			return d.Complete(name)
		}
		names = append(names, d.Task.Name)
	}
	return task.Task{}, fmt.Errorf("%s: which task is meant is not clear; name it with --task: %s", origin, strings.Join(names, ", "))
}

func (a *app) try(output *outputFlag, t task.Task, path string, log io.Reader) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("look for the name of this host: %w", err)
	}
	sent, left, topics := 0, 0, map[string]bool{}
	each := a.tryText
	if output.format == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		each = func(r agent.Trial) error { return enc.Encode(r) }
	}
	whole, err := agent.Try(t, host, path, log, func(r agent.Trial) error {
		if r.LeftOut == "" {
			sent++
			topics[r.Topic] = true
		} else {
			left++
		}
		return each(r)
	})
	if err != nil {
		return err
	}
	where := strings.Join(slices.Sorted(maps.Keys(topics)), ", ")
	if where == "" {
		where = t.FixedTopic()
	}
	a.say(output, "%s would be sent to %s, %s left out", count(sent, "record"), where, count(left, "record"))
	if !whole {
		a.say(output, "The log is longer: only its first %s were looked at.", task.ByteSize(agent.TryBytes))
	}
	return nil
}

// fallbackWords says why a record does not go to the topic that it asked for.
func fallbackWords(why, asked string) string {
	switch kafka.Fallback(why) {
	case kafka.MissingField:
		return "it lacks something that topic names"
	case kafka.InvalidTopic:
		return fmt.Sprintf("%q is no valid topic name", asked)
	}
	return fmt.Sprintf("topics_allowed does not allow %q", asked)
}

// tryText shows one record to people.
func (a *app) tryText(r agent.Trial) error {
	var b strings.Builder
	switch {
	case r.LeftOut == "" && r.Fallback != "":
		fmt.Fprintf(&b, "offset %d: sent to %s, since %s\n", r.Offset, r.Topic, fallbackWords(r.Fallback, r.Asked))
	case r.LeftOut == "":
		fmt.Fprintf(&b, "offset %d: sent to %s\n", r.Offset, r.Topic)
	case r.Pattern != "":
		fmt.Fprintf(&b, "offset %d: left out by %s %q\n", r.Offset, r.LeftOut, r.Pattern)
	default:
		fmt.Fprintf(&b, "offset %d: left out, %s\n", r.Offset, map[string]string{
			"include": "it matches no include pattern", "empty": "it is empty", "long": "it is longer than max_line_bytes",
			"where": "a field is not as filter.where wants it", "sample": "filter.sample does not choose it",
		}[r.LeftOut])
	}
	if r.Key != "" {
		fmt.Fprintf(&b, "  key     %q\n", r.Key)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		fmt.Fprintf(&b, "  header  %s=%q\n", name, r.Headers[name])
	}
	if r.Time != "" {
		fmt.Fprintf(&b, "  time    %s\n", r.Time)
	}
	fmt.Fprintf(&b, "  value   %q\n", r.Value)
	_, err := io.WriteString(a.out, b.String())
	return err
}
