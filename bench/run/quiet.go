package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"logferry/bench/gen"
	"logferry/bench/stats"
)

const (
	quietLines = 3                // in each file at the start
	settle     = 10 * time.Second // after the last line was acknowledged
	manyWait   = 5 * time.Minute  // for the lines of all files
)

// calm is what many quiet files cost.
type calm struct {
	start     float64 // seconds until the lines that stood in them were acknowledged
	rss, peak int64   // bytes; rss after the window
	cpu       float64 // share of one core, 0 to 1
	wakeLast  float64 // milliseconds from the first append until the last of the woken files' lines had arrived
	wakeP50   float64 // milliseconds from append to arrival
	lost      int
}

// quiet watches a contender that has nothing to do on many files, and then
// wakes some of them at once.
func (b *bench) quiet(ctx context.Context, c contender, files, wake int, window time.Duration) (q calm, err error) {
	dir, err := os.MkdirTemp(b.dir, "quiet-*")
	if err != nil {
		return calm{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := accessLog(dir, 1, files, int64(files*quietLines))
	if err != nil {
		return calm{}, err
	}
	topic, err := b.topic(ctx, 3)
	if err != nil {
		return calm{}, err
	}
	defer func() { err = errors.Join(err, b.deleteTopics([]string{topic})) }()
	e, err := newEnds(b.client, []string{topic})
	if err != nil {
		return calm{}, err
	}
	a, err := consumeNew(b.cluster.Brokers(), topic) // early: until it reads all partitions, half a second may pass
	if err != nil {
		return calm{}, err
	}
	defer a.close()
	begin := time.Now()
	r, err := b.start(c, job{brokers: b.cluster.Brokers(), inputs: []input{{dir: d.dirs[0], topic: topic}}})
	if err != nil {
		return calm{}, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	res := result{lines: d.total()}
	if _, err := b.awaitAll(ctx, r, e, begin, &res); err != nil {
		return calm{}, err
	}
	if res.lost > 0 {
		return calm{}, fmt.Errorf("%s: %d of %d lines did not arrive", c.Name(), res.lost, res.lines)
	}
	q.start = res.wall.Seconds()
	if err := b.idleWindow(ctx, r, window, &q); err != nil {
		return calm{}, err
	}
	err = wakeFiles(a, d.dirs[0], wake, &q)
	return q, err
}

// idleWindow measures while nothing happens.
func (b *bench) idleWindow(ctx context.Context, r *running, window time.Duration, q *calm) error {
	if err := pause(ctx, min(settle, window)); err != nil {
		return err
	}
	before, err := r.Usage()
	begin := time.Now()
	if err != nil {
		return errors.Join(r.ended(), err)
	}
	if err := pause(ctx, window); err != nil {
		return err
	}
	after, err := r.Usage()
	if err != nil {
		return errors.Join(r.ended(), err)
	}
	q.cpu = (after.CPU - before.CPU).Seconds() / time.Since(begin).Seconds()
	q.rss, q.peak = after.RSS, after.PeakRSS
	return nil
}

// wakeFiles appends a line to each of n files that are spread over all.
func wakeFiles(a *arrivals, dir string, n int, q *calm) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(paths) < n {
		return fmt.Errorf("wake %d of %d files: %w", n, len(paths), errors.Join(err, os.ErrNotExist))
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close() // nothing is buffered
		}
	}()
	for i := range n {
		f, err := os.OpenFile(paths[i*len(paths)/n], os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	text := gen.New(1, seed)
	begin := time.Now()
	for i, f := range files {
		w := appender{to: f, lines: text, next: i}
		if err := w.append(); err != nil {
			return err
		}
	}
	a.await(0, n, arriveWait)
	took, newest := a.milliseconds(0, n)
	q.lost = n - len(took)
	q.wakeP50 = stats.Quantile(took, 0.5)
	q.wakeLast = float64(newest.Sub(begin)) / float64(time.Millisecond)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
