package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"logferry/bench/stats"
)

// lineBytes is the average length of the generator's lines.
const lineBytes = 189

// row is one value of what a scaling section varies.
type row struct {
	label string
	data  func(root string) (*dataset, error)
	load  load // its data are made by data
	nodes int  // of the cluster; 0: one
}

// plain is one file of the usual lines.
func (b *bench) plain(root string) (*dataset, error) { return accessLog(root, 1, 1, b.opt.scaleLines) }

// scaling runs one section: each row with each contender.
func (b *bench) scaling(ctx context.Context, section, what string, rows []row) error {
	contenders, notes := b.participants(ctx, b.opt.scaling)
	table := stats.NewTable(2, what, "who", "records/s", "MB/s", "CPU-s/GB", "× first row", "peak MiB", "lost / doubled")
	first := map[string]float64{} // by contender: CPU-s/GB of the first row
	for i, r := range rows {
		if i > 0 && !b.opt.wantsRow(r.label) {
			continue
		}
		if err := b.useCluster(ctx, max(r.nodes, 1)); err != nil {
			return err
		}
		d, err := r.data(filepath.Join(b.dir, section))
		if err != nil {
			return err
		}
		l := r.load
		l.data, l.partitions = d, max(l.partitions, 1)
		got, err := b.rounds(ctx, b.opt.scale, contenders, l, false)
		if err := errors.Join(err, d.remove()); err != nil {
			return err
		}
		for _, n := range got.notes {
			notes = append(notes, r.label+": "+n)
		}
		for _, c := range contenders {
			if s := got.by[c.Name()]; s != nil {
				if first[c.Name()] == 0 {
					first[c.Name()] = s.cpuPerGB()
				}
				table.Add(r.label, c.Name(), stats.Number(s.linesPerSecond()), stats.Number(s.megabytesPerSecond()), stats.Number(s.cpuPerGB()),
					stats.Number(s.cpuPerGB()/first[c.Name()]), mebibytes(s.peak()), s.losses())
			}
		}
	}
	b.publish(section, fmt.Sprintf("%s MB a row, lz4 and acks=all unless it says otherwise; medians of %s",
		stats.Number(float64(b.opt.scaleLines)*lineBytes/1e6), plural(b.opt.scale, "round")), table, notes)
	return nil
}

func (b *bench) linesSection(ctx context.Context) error {
	var rows []row
	for _, size := range []int{64, 200, 2000, 20_000} {
		rows = append(rows, row{label: stats.Count(int64(size)) + " B", load: load{partitions: 3}, data: func(root string) (*dataset, error) {
			return sizedLog(root, size, b.opt.scaleLines*lineBytes)
		}})
	}
	return b.scaling(ctx, "lines", "line length", rows)
}

func (b *bench) filesSection(ctx context.Context) error {
	var rows []row
	for _, files := range []int{1, 100, 10_000} {
		rows = append(rows, row{label: stats.Count(int64(files)), load: load{partitions: 3}, data: func(root string) (*dataset, error) {
			return accessLog(root, 1, files, b.opt.scaleLines)
		}})
	}
	return b.scaling(ctx, "files", "files", rows)
}

func (b *bench) partitionsSection(ctx context.Context) error {
	var rows []row
	for _, n := range []int32{1, 3, 64} {
		rows = append(rows, row{label: stats.Count(int64(n)), load: load{partitions: n}, data: b.plain})
	}
	return b.scaling(ctx, "partitions", "partitions", rows)
}

func (b *bench) topicsSection(ctx context.Context) error {
	var rows []row
	for _, n := range []int{1, 10, 100} {
		rows = append(rows, row{label: stats.Count(int64(n)), load: load{partitions: 3}, data: func(root string) (*dataset, error) {
			return accessLog(root, n, 1, b.opt.scaleLines)
		}})
	}
	return b.scaling(ctx, "topics", "topics, each with its task", rows)
}

func (b *bench) codecSection(ctx context.Context) error {
	var rows []row
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		rows = append(rows, row{label: codec, load: load{partitions: 3, kafka: map[string]any{"compression": codec}}, data: b.plain})
	}
	return b.scaling(ctx, "codec", "codec", rows)
}

func (b *bench) brokersSection(ctx context.Context) error {
	var rows []row
	for _, n := range []int{1, 3} {
		rows = append(rows, row{label: plural(n, "broker"), nodes: n, load: load{partitions: 3}, data: b.plain})
	}
	return b.scaling(ctx, "brokers", "brokers, as many replicas", rows)
}

func (b *bench) featuresSection(ctx context.Context) error {
	type keys = map[string]any
	var rows []row
	for _, f := range []struct {
		label       string
		kafka, task keys
		data        func(root string) (*dataset, error) // nil: plain
	}{
		{label: "plain"},
		{label: "`acks: 1`", kafka: keys{"acks": "1"}},
		{label: "`acks: 0`", kafka: keys{"acks": "0"}},
		{label: "`idempotent: false`", kafka: keys{"idempotent": false}},
		{label: "`partitioner: file`", task: keys{"partitioner": "file"}},
		{label: "`partitioner: round_robin`", task: keys{"partitioner": "round_robin"}},
		{label: "`key: path`", task: keys{"key": "path"}},
		{label: "`key: path`, `partitioner: murmur2`", task: keys{"key": "path", "partitioner": "murmur2"}},
		{label: "`poll: true`", task: keys{"poll": true}},
		{label: "`filter: {exclude: [no such text]}`", task: keys{"filter": keys{"exclude": []string{"no such text"}}}},
		{label: "`filter: {exclude: ['\" 5[0-9]{3} 0 ']}`", task: keys{"filter": keys{"exclude": []string{`" 5[0-9]{3} 0 `}}}},
		{label: "`filter: {mask: ...}` of a card's number", task: keys{"filter": keys{"mask": []keys{{"pattern": `\b\d{12}(\d{4})\b`, "replace": "************$1"}}}}},
		{label: "`headers` of path and offset", task: keys{"headers": keys{"path": "{{.path}}", "offset": "{{.offset}}"}}},
		{label: "`value: json`", data: b.dressed(plainLine), task: keys{"value": "json"}},
		{label: "`encoding: gb18030`", task: keys{"encoding": "gb18030"}},
		{label: "JSON lines, `key` of a field", data: b.dressed(jsonLine), task: keys{"fields": keys{"format": "json"}, "key": "{{.fields.user}}"}},
		{label: "`multiline: {preset: java}`, a trace in every tenth record", data: b.dressed(traced), task: keys{"multiline": keys{"preset": "java"}}},
		{label: "`format: cri`", data: b.dressed(criLine), task: keys{"format": "cri", "timestamp": "read"}},
		{label: "`format: cri`, every second line in two parts", data: b.dressed(criParts), task: keys{"format": "cri", "timestamp": "read"}},
		{label: "`format: docker`", data: b.dressed(dockerLine), task: keys{"format": "docker", "timestamp": "read"}},
	} {
		if f.data == nil {
			f.data = b.plain
		}
		rows = append(rows, row{label: f.label, load: load{partitions: 3, kafka: f.kafka, task: f.task}, data: f.data})
	}
	return b.scaling(ctx, "features", "feature", rows)
}
