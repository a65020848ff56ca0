package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"logferry/bench/stats"
)

// publish puts a section into the report, with what a reader must know to
// judge it.
func (b *bench) publish(section, how string, table *stats.Table, notes []string) {
	text := []string{fmt.Sprintf("%s.\n%s; load average before: %s.", how, machine(time.Now()), b.load), strings.TrimSpace(table.Markdown())}
	if len(notes) > 0 {
		text = append(text, "- "+strings.Join(notes, "\n- "))
	}
	b.report.set(section, strings.Join(text, "\n\n"))
}

func (b *bench) latencySection(ctx context.Context) error {
	contenders, notes := b.participants(ctx, b.opt.contenders)
	for round := range b.opt.rounds {
		var gone []int
		for i, c := range contenders {
			d, err := b.latency(ctx, c, b.opt.latency)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				notes, gone = append(notes, b.drop(c.Name(), err)), append(gone, i)
				delete(b.delays, c.Name())
				continue
			}
			b.log.Info("latency", "contender", c.Name(), "round", round+1, "p50_ms", d.p50, "p99_ms", d.p99, "cpu", d.cpu)
			b.delays[c.Name()] = append(b.delays[c.Name()], d)
		}
		contenders = without(contenders, gone)
	}
	table := stats.NewTable(1, "who", "p50 ms", "p99 ms", "max ms", "CPU, % of a core", "lowest–highest", "lines", "lost")
	for _, c := range contenders {
		s := b.delays[c.Name()]
		sum := s.sum()
		table.Add(c.Name(), stats.Number(s.median(delay.median)), stats.Number(s.median(delay.tail)), stats.Number(sum.max),
			stats.Number(100*s.median(delay.share)), s.spread(), stats.Count(int64(sum.lines)), stats.Count(int64(sum.lost)))
	}
	b.publish("latency", fmt.Sprintf("40 lines/s for %s to one quiet file; medians of %s", b.opt.latency, plural(b.opt.rounds, "round")), table, notes)
	return nil
}

// series is what several rounds of one load gave.
type series struct {
	by              map[string]*summary // by contender; those that failed are not in it
	floor, ownFloor summary             // with the library's compressor, and with logferry's
	notes           []string
}

// rounds runs all contenders on a load in turn, round after round, and the
// floor too when that is asked for. Contenders that fail are dropped.
func (b *bench) rounds(ctx context.Context, n int, contenders []contender, l load, withFloor bool) (series, error) {
	out := series{by: map[string]*summary{}}
	contenders, out.notes = b.fit(ctx, contenders, l)
	for round := range n {
		if withFloor {
			for _, f := range []*summary{&out.floor, &out.ownFloor} {
				r, err := b.floor(ctx, l.data, f == &out.ownFloor)
				if err != nil {
					return out, err
				}
				f.runs = append(f.runs, r)
			}
		}
		l.verify = round == 0
		var gone []int
		for i, c := range contenders {
			name := c.Name()
			r, err := b.run(ctx, c, l)
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			if err != nil {
				out.notes, gone = append(out.notes, b.drop(name, err)), append(gone, i)
				delete(out.by, name)
				continue
			}
			b.log.Info("run", "contender", name, "round", round+1, "lines_per_s", int(r.linesPerSecond()), "cpu_s_per_gb", r.cpuPerGB(), "peak_mib", r.peak>>20)
			if out.by[name] == nil {
				out.by[name] = &summary{}
			}
			out.by[name].runs = append(out.by[name].runs, r)
		}
		contenders = without(contenders, gone)
	}
	return out, nil
}

// fit drops the contenders that cannot take the configuration of a load.
func (b *bench) fit(ctx context.Context, contenders []contender, l load) (fit []contender, notes []string) {
	for _, c := range contenders {
		if f, ours := c.(ferry); ours {
			if err := b.known(ctx, f, l); err != nil {
				notes = append(notes, b.drop(c.Name(), err))
				continue
			}
		}
		fit = append(fit, c)
	}
	return fit, notes
}

func (b *bench) mainSection(ctx context.Context) error {
	contenders, notes := b.participants(ctx, b.opt.contenders)
	for _, c := range contenders {
		if err := b.measureIdle(ctx, c); err != nil {
			return err
		}
	}
	d, err := accessLog(filepath.Join(b.dir, "main"), 1, 1, b.opt.lines)
	if err != nil {
		return err
	}
	got, err := b.rounds(ctx, b.opt.rounds, contenders, load{data: d, partitions: 3}, true)
	if err := errors.Join(err, d.remove()); err != nil {
		return err
	}
	b.results = got.by
	table := stats.NewTable(1, "who", "lines/s", "slowest–fastest", "MB/s", "CPU-s/GB", "× floor", "peak MiB", "p50 ms", "p99 ms", "allocations/line", "lost / doubled")
	for _, c := range contenders {
		if s := got.by[c.Name()]; s != nil {
			table.Add(b.mainRow(c.Name(), *s, got.floor)...)
		}
	}
	table.Add(floorRow("floor", got.floor, got.floor)...)
	table.Add(floorRow("floor, our lz4", got.ownFloor, got.floor)...)
	notes = append(notes, got.notes...)
	if base := got.by["tutorial"]; base != nil {
		for _, c := range contenders {
			if s := got.by[c.Name()]; s != nil && s != base {
				notes = append(notes, compare(c.Name(), *s, *base))
			}
		}
	}
	b.publish("main", fmt.Sprintf("%s lines, %s MB, lz4, acks=all, 3 partitions; medians of %s",
		stats.Count(d.total()), stats.Number(float64(d.bytes)/1e6), plural(b.opt.rounds, "round")), table, notes)
	return nil
}

func (b *bench) mainRow(name string, s, floor summary) []string {
	p50, p99 := "–", "–"
	if s := b.delays[name]; len(s) > 0 {
		p50, p99 = stats.Number(s.median(delay.median)), stats.Number(s.median(delay.tail))
	}
	return []string{name, stats.Number(s.linesPerSecond()), s.spread(), stats.Number(s.megabytesPerSecond()), stats.Number(s.cpuPerGB()),
		stats.Number(s.cpuPerGB() / floor.cpuPerGB()), mebibytes(s.peak()), p50, p99, stats.Number(s.mallocs()), s.losses()}
}

func floorRow(name string, s, floor summary) []string {
	return []string{name, "–", "–", stats.Number(s.megabytesPerSecond()), stats.Number(s.cpuPerGB()),
		stats.Number(s.cpuPerGB() / floor.cpuPerGB()), "–", "–", "–", "–", "–"}
}

func (b *bench) quietSection(ctx context.Context) error {
	contenders, notes := b.participants(ctx, b.opt.scaling)
	table := stats.NewTable(2, "files", "who", "first read s", "RSS MiB", "peak MiB", "CPU, % of a core", "woken p50 ms", "all woken ms", "lost")
	for _, files := range b.opt.quiet {
		for _, c := range contenders {
			q, err := b.quiet(ctx, c, files, b.opt.wake, b.opt.window)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				notes = append(notes, b.drop(c.Name(), err))
				continue
			}
			b.log.Info("quiet", "contender", c.Name(), "files", files, "cpu", q.cpu, "rss_mib", q.rss>>20, "woken_ms", q.wakeLast)
			table.Add(stats.Count(int64(files)), c.Name(), stats.Number(q.start), mebibytes(float64(q.rss)), mebibytes(float64(q.peak)),
				stats.Number(100*q.cpu), stats.Number(q.wakeP50), stats.Number(q.wakeLast), stats.Count(int64(q.lost)))
		}
	}
	b.publish("quiet", fmt.Sprintf("Nothing is written for %s, then a line to each of %d files at once", b.opt.window, b.opt.wake), table, notes)
	return nil
}
