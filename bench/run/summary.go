package main

import (
	"fmt"
	"math"

	"logferry/bench/stats"
)

// summary is several runs of one contender on one load.
type summary struct{ runs []result }

func (s summary) median(of func(result) float64) float64 {
	var values []float64
	for _, r := range s.runs {
		values = append(values, of(r))
	}
	return stats.Median(values)
}

func (s summary) linesPerSecond() float64     { return s.median(result.linesPerSecond) }
func (s summary) megabytesPerSecond() float64 { return s.median(result.megabytesPerSecond) }
func (s summary) cpuPerGB() float64           { return s.median(result.cpuPerGB) }

// peak is the largest of all runs: memory is a bound, not an average.
func (s summary) peak() float64 {
	most := math.NaN()
	for _, r := range s.runs {
		if v := float64(r.peak); r.peak > 0 && !(most > v) {
			most = v
		}
	}
	return most
}

// spread shows the slowest and the fastest of several runs.
func (s summary) spread() string {
	var all []float64
	for _, r := range s.runs {
		all = append(all, r.linesPerSecond())
	}
	return spread(all)
}

// spread is the least and the greatest of several values.
func spread(all []float64) string {
	if len(all) < 2 {
		return "–"
	}
	return stats.Number(stats.Quantile(all, 0)) + "–" + stats.Number(stats.Quantile(all, 1))
}

// mallocs is a line's; NaN when it is not known.
func (s summary) mallocs() float64 {
	return s.median(func(r result) float64 {
		if r.mallocs < 0 {
			return math.NaN()
		}
		return r.mallocs
	})
}

// losses are those of all runs together; a star says that every line of one
// run was looked at.
func (s summary) losses() string {
	var lost, doubled int64
	star := ""
	for _, r := range s.runs {
		lost += r.lost
		doubled += r.doubled
		if r.checked {
			star = " ✓"
		}
	}
	return fmt.Sprintf("%s / %s%s", stats.Count(lost), stats.Count(doubled), star)
}

func mebibytes(bytes float64) string { return stats.Number(bytes / (1 << 20)) }

// compare tells how one contender stands to the baseline, in one sentence.
func compare(name string, s, baseline summary) string {
	return fmt.Sprintf("`%s`: %s × the tutorial's lines/s, at 1/%s of its CPU.", name,
		stats.Number(s.linesPerSecond()/baseline.linesPerSecond()), stats.Number(baseline.cpuPerGB()/s.cpuPerGB()))
}
