package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"logferry/bench/gen"
	"logferry/bench/stats"
)

const (
	linePause  = 25 * time.Millisecond // 40 lines a second
	warmLines  = 80                    // are not measured: connections and watches are made at them
	arriveWait = 30 * time.Second      // for the first line, and for the last
)

// delay is how long lines took from their append to a quiet file until a
// consumer had them.
type delay struct {
	p50, p99, max float64 // milliseconds
	cpu           float64 // share of one core, 0 to 1
	lines, lost   int
}

func (d delay) median() float64 { return d.p50 }
func (d delay) tail() float64   { return d.p99 }
func (d delay) share() float64  { return d.cpu }

// delays are those of one contender, round by round.
type delays []delay

func (s delays) values(of func(delay) float64) (all []float64) {
	for _, d := range s {
		all = append(all, of(d))
	}
	return all
}

func (s delays) median(of func(delay) float64) float64 { return stats.Median(s.values(of)) }

// spread shows the lowest and the highest share of a core, in percent.
func (s delays) spread() string {
	return spread(s.values(func(d delay) float64 { return 100 * d.cpu }))
}

// sum has the lines of all rounds, and the longest delay of any.
func (s delays) sum() (all delay) {
	for _, d := range s {
		all.max = max(all.max, d.max)
		all.lines += d.lines
		all.lost += d.lost
	}
	return all
}

// latency appends 40 lines a second to one quiet file, at irregular moments,
// so that no timer of the contender falls into step with them.
func (b *bench) latency(ctx context.Context, c contender, window time.Duration) (d delay, err error) {
	dir, err := os.MkdirTemp(b.dir, "latency-*")
	if err != nil {
		return delay{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.OpenFile(filepath.Join(dir, "quiet.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return delay{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	topic, err := b.topic(ctx, 3)
	if err != nil {
		return delay{}, err
	}
	defer func() { err = errors.Join(err, b.deleteTopics([]string{topic})) }()
	a, err := consumeNew(b.cluster.Brokers(), topic)
	if err != nil {
		return delay{}, err
	}
	defer a.close()
	w := &appender{to: f, lines: gen.New(1, seed)}
	if err := w.append(); err != nil {
		return delay{}, err
	}
	r, err := b.start(c, job{brokers: b.cluster.Brokers(), inputs: []input{{dir: dir, topic: topic}}})
	if err != nil {
		return delay{}, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	if !a.await(0, 1, arriveWait) {
		return delay{}, errors.Join(r.ended(), fmt.Errorf("%s: the first line did not arrive in %s", c.Name(), arriveWait))
	}
	return b.pace(ctx, r, w, a, window)
}

// pace warms up, then measures.
func (b *bench) pace(ctx context.Context, r *running, w *appender, a *arrivals, window time.Duration) (delay, error) {
	if err := w.paced(ctx, min(warmLines, int(window/linePause))); err != nil {
		return delay{}, err
	}
	first := w.next
	before, err := r.Usage()
	begin := time.Now()
	if err != nil {
		return delay{}, errors.Join(r.ended(), err)
	}
	if err := w.paced(ctx, int(window/linePause)); err != nil {
		return delay{}, err
	}
	after, err := r.Usage()
	spent := time.Since(begin)
	if err != nil {
		return delay{}, errors.Join(r.ended(), err)
	}
	a.await(first, w.next, arriveWait) // what is missing then is lost
	took, _ := a.milliseconds(first, w.next)
	return delay{
		p50: stats.Quantile(took, 0.5), p99: stats.Quantile(took, 0.99), max: stats.Quantile(took, 1),
		cpu:   (after.CPU - before.CPU).Seconds() / spent.Seconds(),
		lines: w.next - first, lost: w.next - first - len(took),
	}, nil
}

// appender writes stamped lines of about the usual length.
type appender struct {
	to    *os.File
	lines *gen.Lines
	next  int // number of the next line
	text  []byte
}

func (w *appender) append() error {
	w.text = w.lines.Append(w.text[:0], uint64(w.next))
	const stampBytes = 32
	text := w.text[:max(0, len(w.text)-1-stampBytes)]
	_, err := w.to.WriteString(stamp(time.Now(), w.next, string(text)))
	w.next++
	return err
}

func (w *appender) paced(ctx context.Context, n int) error {
	for range n {
		pause := linePause/5 + rand.N(linePause*8/5) // linePause on average
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		if err := w.append(); err != nil {
			return err
		}
	}
	return nil
}
