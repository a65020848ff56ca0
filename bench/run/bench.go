package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"logferry/test/kafkatest/localkafka"
)

// bench is one run of the benchmark. It must not be used from several
// goroutines at once.
type bench struct {
	opt options
	log *slog.Logger
	dir string // of everything that is made; removed at the end

	logferry, tutorialBinary, floorBinary string

	cluster *localkafka.Cluster
	client  sarama.Client
	topics  int // created so far

	idle    map[string]float64  // objects that a contender allocates until it is ready, by name
	delays  map[string]delays   // by contender, when the section latency has run
	results map[string]*summary // by contender, when the section main has run
	load    string              // what the machine did before the section began
	report  report
	failed  []error
}

// newBench builds the programs and makes a directory for data.
func newBench(ctx context.Context, opt options, log *slog.Logger) (*bench, error) {
	dir, err := os.MkdirTemp(opt.dir, "logferry-bench-*")
	if err != nil {
		return nil, err
	}
	b := &bench{opt: opt, log: log, dir: dir, logferry: opt.logferry,
		idle: map[string]float64{}, delays: map[string]delays{}}
	for pkg, binary := range map[string]*string{
		"logferry/cmd/logferry": &b.logferry, "logferry/bench/tutorial": &b.tutorialBinary, "logferry/bench/floor": &b.floorBinary,
	} {
		if *binary != "" {
			continue
		}
		*binary = filepath.Join(dir, filepath.Base(pkg))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", *binary, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("build %s: %w\n%s", pkg, err, out), b.close())
		}
	}
	return b, nil
}

func (b *bench) close() error {
	return errors.Join(b.closeCluster(), os.RemoveAll(b.dir))
}

// measure runs all sections. What was measured is in the report, also when an
// error is returned.
func (b *bench) measure(ctx context.Context) error {
	run := map[string]func(context.Context) error{
		"latency": b.latencySection, "main": b.mainSection, "quiet": b.quietSection, "lines": b.linesSection, "files": b.filesSection,
		"partitions": b.partitionsSection, "topics": b.topicsSection, "codec": b.codecSection, "features": b.featuresSection,
		"brokers": b.brokersSection,
	}
	if err := b.useCluster(ctx, 1); err != nil {
		return err
	}
	for _, section := range sections {
		if !b.opt.wants(section) {
			continue
		}
		b.load = busy()
		b.log.Info("section", "name", section, "load_average", b.load)
		if err := run[section](ctx); err != nil {
			return fmt.Errorf("section %s: %w", section, err)
		}
	}
	return errors.Join(b.failed...)
}

// participants are the contenders of that name that take part, and a line for
// each that does not.
func (b *bench) participants(ctx context.Context, names []string) (out []contender, notes []string) {
	for _, name := range names {
		if name == "tutorial" {
			out = append(out, tutorial{b.tutorialBinary})
			continue
		}
		f := ferry{binary: b.logferry, writer: name}
		if err := b.known(ctx, f, load{}); err != nil {
			notes = append(notes, b.drop(name, err))
			continue
		}
		out = append(out, f)
	}
	if b.opt.agent != "" {
		out = append(out, script{b.opt.agent})
	}
	return out, notes
}

// known asks this build whether it takes a writer, with the keys of a load.
func (b *bench) known(ctx context.Context, f ferry, l load) error {
	state, err := os.MkdirTemp(b.dir, "state-*")
	if err != nil {
		return err
	}
	err = f.known(ctx, job{
		brokers: b.cluster.Brokers(), state: state, inputs: []input{{dir: b.dir, topic: "none"}}, kafka: l.kafka, task: l.task, agent: l.agent,
	})
	return errors.Join(err, os.RemoveAll(state))
}

// drop notes why a contender takes no further part in a section. An error
// that is more than being left out makes the whole benchmark fail in the end.
func (b *bench) drop(name string, err error) (note string) {
	var why leftOut
	if errors.As(err, &why) {
		return fmt.Sprintf("`%s` is %s.", name, strings.TrimSuffix(why.Error(), "."))
	}
	b.log.Error("a contender failed", "contender", name, "error", err)
	b.failed = append(b.failed, fmt.Errorf("%s: %w", name, err))
	return fmt.Sprintf("`%s` failed; see the log of the run.", name)
}

// warmUp sends some lines, so that the broker is compiled.
func (b *bench) warmUp(ctx context.Context) error {
	d, err := accessLog(filepath.Join(b.dir, "warm-up"), 1, 1, b.opt.scaleLines)
	if err != nil {
		return err
	}
	_, err = b.run(ctx, ferry{binary: b.logferry, writer: "async"}, load{data: d, partitions: 3})
	return errors.Join(err, d.remove())
}

// measureIdle finds how many objects logferry allocates until it is ready.
func (b *bench) measureIdle(ctx context.Context, c contender) error {
	f, ours := c.(ferry)
	if _, done := b.idle[c.Name()]; done || !ours {
		return nil
	}
	empty, err := os.MkdirTemp(b.dir, "empty-*")
	if err != nil {
		return err
	}
	topic, err := b.topic(ctx, 3)
	if err != nil {
		return err
	}
	r, err := b.start(f, job{brokers: b.cluster.Brokers(), inputs: []input{{dir: empty, topic: topic}}})
	if err != nil {
		return err
	}
	if err = b.awaitReady(ctx, r); err == nil {
		b.idle[f.Name()], err = r.metric(ctx, "go_memstats_mallocs_total")
	}
	return errors.Join(err, r.stop(), b.deleteTopics([]string{topic}))
}

func (b *bench) awaitReady(ctx context.Context, r *running) error {
	ctx, cancel := context.WithTimeout(ctx, arriveWait)
	defer cancel()
	for {
		if addr := r.http.Load(); addr != nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+*addr+"/readyz", nil)
			if err != nil {
				return err
			}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return nil
				}
			}
		}
		if err := r.ended(); err != nil {
			return err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%s does not become ready: %w", r.name, err)
		}
	}
}

// without is list less the contenders whose index is in gone.
func without(list []contender, gone []int) []contender {
	var out []contender
	for i, c := range list {
		if !slices.Contains(gone, i) {
			out = append(out, c)
		}
	}
	return out
}
