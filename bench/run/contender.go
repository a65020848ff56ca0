package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"logferry/bench/proc"
)

// job is what a contender is started on.
type job struct {
	inputs  []input
	brokers []string
	state   string         // a directory of its own, empty
	kafka   map[string]any // logferry only: keys of the kafka section
	task    map[string]any // logferry only: keys of every task
	agent   map[string]any // logferry only: keys of agent.yaml
}

// input says which files go to which topic.
type input struct{ dir, topic string }

// contender is one way to ship lines. Its methods are called from one
// goroutine.
type contender interface {
	Name() string
	// Command says how to start it, and writes the files that it needs into
	// the job's state directory.
	Command(job) (proc.Command, error)
	// Mallocs is how many objects a run has allocated: asked once when all
	// lines are acknowledged, and again when the program has ended. ok is
	// false when it cannot say.
	Mallocs(ctx context.Context, r *running) (n float64, ok bool)
}

// tutorial is the baseline.
type tutorial struct{ binary string }

func (t tutorial) Name() string { return "tutorial" }

func (t tutorial) Command(j job) (proc.Command, error) {
	if len(j.inputs) != 1 {
		return proc.Command{}, leftOut("it takes one topic only")
	}
	args := []string{t.binary, "-dir", j.inputs[0].dir, "-topic", j.inputs[0].topic, "-brokers", strings.Join(j.brokers, ",")}
	if codec, ok := j.kafka["compression"].(string); ok {
		args = append(args, "-codec", codec)
	}
	return proc.Command{Args: args}, nil
}

var mallocsLine = regexp.MustCompile(`(?m)^mallocs (\d+)$`)

func (t tutorial) Mallocs(_ context.Context, r *running) (float64, bool) {
	m := mallocsLine.FindStringSubmatch(r.Output())
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(m[1], 64)
	return n, err == nil
}

// ferry is logferry with one of its writers.
type ferry struct {
	binary, writer string
}

func (f ferry) Name() string { return f.writer }

func (f ferry) Command(j job) (proc.Command, error) {
	config := filepath.Join(j.state, "agent.yaml")
	if err := f.configure(config, j); err != nil {
		return proc.Command{}, fmt.Errorf("configure %s: %w", f.writer, err)
	}
	return proc.Command{Args: []string{f.binary, "run", "--config", config}}, nil
}

// configure writes agent.yaml and a task for each input. Lines are spread
// over all partitions, as the tutorial does.
func (f ferry) configure(path string, j job) error {
	kafka := map[string]any{"brokers": j.brokers, "producer": f.writer}
	maps.Copy(kafka, j.kafka)
	agent := map[string]any{
		"id": "bench", "state_dir": filepath.Join(j.state, "state"),
		"http": map[string]any{"listen": "127.0.0.1:0"}, "log": map[string]any{"format": "json"},
		"kafka": kafka, "tasks": map[string]any{"files": []string{filepath.Join(j.state, "tasks", "*.yaml")}},
	}
	maps.Copy(agent, j.agent)
	if err := os.MkdirAll(filepath.Join(j.state, "tasks"), 0o755); err != nil {
		return err
	}
	for i, in := range j.inputs {
		task := map[string]any{"paths": []string{filepath.Join(in.dir, "*.log")}, "topic": in.topic, "partitioner": "sticky"}
		maps.Copy(task, j.task)
		if err := writeYAML(filepath.Join(j.state, "tasks", fmt.Sprintf("bench-%d.yaml", i)), task); err != nil {
			return err
		}
	}
	return writeYAML(path, agent)
}

func writeYAML(path string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

func (f ferry) Mallocs(ctx context.Context, r *running) (float64, bool) {
	n, err := r.metric(ctx, "go_memstats_mallocs_total")
	return n, err == nil
}

// exitBadConfig is how logferry ends on a configuration that it does not take.
const exitBadConfig = 78

// known says whether this build of logferry takes a configuration; the error
// is its own reason why not.
func (f ferry) known(ctx context.Context, j job) error {
	cmd, err := f.Command(j)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, f.binary, "check", "--config", cmd.Args[len(cmd.Args)-1]).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("ask whether the writer %s is known: %w", f.writer, err)
	case exit.ExitCode() == exitBadConfig:
		return leftOut(reason(string(out)))
	}
	return nil // something else is missing, which is not asked here
}

// inFile is where logferry says in which line of a file a fault stands.
var inFile = regexp.MustCompile(`[^ ]*\.yaml:\d+: `)

// reason is the line of a program's output that says what is wrong, without
// the name of a file that is gone when somebody reads it.
func reason(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, l := range lines {
		if at := inFile.FindStringIndex(l); at != nil {
			return strings.TrimSpace(l[at[1]:])
		}
	}
	return lines[len(lines)-1]
}

// script is any other agent.
type script struct{ path string }

func (s script) Name() string {
	base := filepath.Base(s.path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

func (s script) Command(j job) (proc.Command, error) {
	if len(j.inputs) != 1 {
		return proc.Command{}, leftOut("it takes one topic only")
	}
	if len(j.kafka)+len(j.task)+len(j.agent) > 0 {
		return proc.Command{}, leftOut("its configuration is its script's")
	}
	return proc.Command{Args: []string{s.path}, Env: []string{
		"LOGDIR=" + j.inputs[0].dir, "TOPIC=" + j.inputs[0].topic,
		"BROKERS=" + strings.Join(j.brokers, ","), "STATE_DIR=" + j.state,
	}}, nil
}

func (s script) Mallocs(context.Context, *running) (float64, bool) { return 0, false }
