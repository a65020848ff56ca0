package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"logferry/bench/proc"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

const (
	pollEvery = 10 * time.Millisecond // how often the topics' ends are asked for: the resolution of all times
	stall     = 20 * time.Second      // without a new record: the rest will not come
)

// result is one run from a full file to its last acknowledged line.
type result struct {
	wall    time.Duration
	cpu     time.Duration
	peak    int64 // bytes
	lines   int64
	bytes   int64
	mallocs float64 // a line; negative: not known
	lost    int64   // by counts, or by the lines themselves where they were verified
	doubled int64
	checked bool // each line was looked at
}

func (r result) linesPerSecond() float64 { return float64(r.lines-r.lost) / r.wall.Seconds() }
func (r result) megabytesPerSecond() float64 {
	return float64(r.bytes) / 1e6 / r.wall.Seconds()
}

// cpuPerGB is in seconds for 10^9 bytes of log.
func (r result) cpuPerGB() float64 { return r.cpu.Seconds() / (float64(r.bytes) / 1e9) }

// load is what one row of a table asks for.
type load struct {
	data       *dataset
	partitions int32
	kafka      map[string]any
	task       map[string]any
	agent      map[string]any
	verify     bool // look at each line afterwards, where the data allow it
}

// run times one contender on a load: it is started on full files and measured
// at the moment at which Kafka has acknowledged as many lines as they hold.
func (b *bench) run(ctx context.Context, c contender, l load) (res result, err error) {
	j, topics, err := b.prepare(ctx, l)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, b.deleteTopics(topics)) }()
	e, err := newEnds(b.client, topics)
	if err != nil {
		return result{}, err
	}
	begin := time.Now()
	r, err := b.start(c, j)
	if err != nil {
		return result{}, fmt.Errorf("start %s: %w", c.Name(), err)
	}
	res = result{lines: l.data.total(), bytes: l.data.bytes, mallocs: -1}
	usage, waitErr := b.awaitAll(ctx, r, e, begin, &res)
	res.cpu, res.peak = usage.CPU, usage.PeakRSS
	if n, ok := c.Mallocs(ctx, r); ok && waitErr == nil {
		res.mallocs = (n - b.idle[c.Name()]) / float64(res.lines)
	}
	stopErr := r.stop()
	if waitErr != nil {
		return result{}, waitErr
	}
	if n, ok := c.Mallocs(ctx, r); ok && res.mallocs < 0 {
		res.mallocs = n / float64(res.lines)
	}
	if stopErr != nil {
		b.log.Warn("a contender did not stop well", "contender", c.Name(), "error", stopErr)
	}
	return res, b.account(ctx, l, topics, e, &res)
}

func (b *bench) prepare(ctx context.Context, l load) (job, []string, error) {
	j := job{brokers: b.cluster.Brokers(), kafka: l.kafka, task: l.task, agent: l.agent}
	var topics []string
	for _, dir := range l.data.dirs {
		name, err := b.topic(ctx, l.partitions)
		if err != nil {
			return j, topics, err
		}
		topics = append(topics, name)
		j.inputs = append(j.inputs, input{dir: dir, topic: name})
	}
	return j, topics, l.data.warm()
}

// awaitAll returns what the contender has cost when the topics hold all lines.
// When nothing comes any more, it returns the cost at the last progress that
// it saw, with the lines that are missing as lost.
func (b *bench) awaitAll(ctx context.Context, r *running, e *ends, begin time.Time, res *result) (proc.Usage, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last, progress := int64(0), begin
	var usage proc.Usage
	for {
		_, sum, err := e.count()
		now := time.Now()
		if err != nil {
			return usage, err
		}
		if sum >= res.lines {
			res.wall = now.Sub(begin)
			return r.Usage()
		}
		if sum > last {
			last, progress = sum, now
		}
		if now.Sub(progress) > stall {
			res.wall, res.lost = progress.Sub(begin), res.lines-sum
			return r.Usage()
		}
		if err := r.ended(); err != nil {
			return usage, err
		}
		select {
		case <-ctx.Done():
			return usage, ctx.Err()
		case <-tick.C:
		}
	}
}

// account says what was lost and what came twice: by counts, or, where the
// load asks for it, line by line.
func (b *bench) account(ctx context.Context, l load, topics []string, e *ends, res *result) error {
	byTopic, _, err := e.count()
	if err != nil {
		return err
	}
	res.lost, res.doubled = 0, 0
	for i, topic := range topics {
		surplus := byTopic[topic] - l.data.lines[i]
		res.lost += max(0, -surplus)
		res.doubled += max(0, surplus)
	}
	if !l.verify || l.data.spans == nil {
		return nil
	}
	report, err := b.verify(ctx, l.data, topics)
	if err != nil {
		return err
	}
	res.checked, res.lost, res.doubled = true, report.Lost, report.Doubled
	if report.Garbled+report.Unexpected > 0 {
		return fmt.Errorf("garbled lines arrived: %w", report.Err(0))
	}
	return nil
}

func (b *bench) verify(ctx context.Context, d *dataset, topics []string) (verify.Report, error) {
	check := verify.New()
	for _, s := range d.spans {
		check.Expect(s.stream, 0, s.n)
	}
	for _, topic := range topics {
		err := kafkaread.Each(ctx, b.cluster.Brokers(), topic, func(r kafkaread.Record) error {
			check.Add(r.Partition, r.Offset, r.Value)
			return nil
		})
		if err != nil {
			return verify.Report{}, err
		}
	}
	return check.Report(), nil
}
