package agent

import (
	"cmp"
	"fmt"
	"time"

	"logferry/agent/task"
	"logferry/collector"
	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/rate"
	"logferry/collector/shape"
	"logferry/internal/timestamp"
)

// setFraming says in cfg how a task's files become records.
func setFraming(cfg *collector.Config, t task.Task) error {
	charset, known := frame.LookUp(t.Encoding)
	if !known {
		return fmt.Errorf("encoding %q is unknown", t.Encoding)
	}
	cfg.MaxLineBytes, cfg.DropLong, cfg.KeepCR = int(t.MaxLineBytes), t.LongLines == task.LongLineDrop, t.KeepCR
	cfg.Unit = charset.Unit()
	var err error
	if cfg.Shape, err = shape.New(shapeConfig(t, charset)); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if cfg.Groups, cfg.GroupQuiet, err = groups(t, charset); err != nil {
		return fmt.Errorf("multiline: %w", err)
	}
	if r := rateLimit(t); r != nil && !t.Filter.RateLimit.Drops() {
		cfg.Throttle = r
	}
	cfg.GroupQuiet = cmp.Or(cfg.GroupQuiet, task.PartialWait)
	cfg.Wrapped = wrapped(t.Format, charset, frame.Containers{Groups: cfg.Groups, Apart: cfg.GroupQuiet})
	return nil
}

// wrapped says which files of a task hold lines of containers. Only paths are
// looked at; a file that is none costs nothing. With an encoding lines can be those
// of CRI, which keeps a container's bytes.
func wrapped(format task.Format, charset *frame.Charset, c frame.Containers) func(path string) *frame.Containers {
	switch {
	case format == task.FormatRaw || charset.Unit() != frame.Bytes:
		return nil
	case format == task.FormatDocker:
		c.Format = frame.Docker
	case format == task.FormatAuto && charset == nil:
		c.Format = frame.Container
	default:
		c.Format = frame.CRI
	}
	return func(path string) *frame.Containers {
		if format == task.FormatAuto && !frame.InContainerLogs(path) {
			return nil
		}
		return &c
	}
}

// groups says which lines of a task's files are one record.
func groups(t task.Task, charset *frame.Charset) (g *frame.Groups, quiet time.Duration, err error) {
	m := t.Multiline
	if m == nil {
		return nil, 0, nil
	}
	g = &frame.Groups{
		Continue: frame.Preset(m.Preset), Charset: charset,
		MaxLines: cmp.Or(m.MaxLines, task.DefaultMultilineLines), MaxBytes: int(cmp.Or(m.MaxBytes, t.MaxLineBytes)),
	}
	for _, p := range []struct {
		pattern string
		to      **frame.Pattern
	}{{m.Start, &g.Start}, {m.Continue, &g.Continue}, {m.End, &g.End}} {
		if p.pattern == "" {
			continue
		}
		if *p.to, err = frame.Compile(p.pattern); err != nil {
			return nil, 0, err
		}
	}
	return g, cmp.Or(m.Timeout, task.DefaultMultilineTimeout), nil
}

func shapeConfig(t task.Task, charset *frame.Charset) shape.Config {
	cfg := shape.Config{Charset: charset, Raw: t.InvalidText == task.InvalidTextRaw, MaxBytes: int(t.MaxLineBytes), DropLong: t.LongLines == task.LongLineDrop}
	if f := t.Filter; f != nil {
		cfg.Include, cfg.Exclude, cfg.DropEmpty = f.Include, f.Exclude, f.DropEmpty
		for _, m := range f.Mask {
			cfg.Mask = append(cfg.Mask, shape.Mask{Pattern: m.Pattern, Replace: m.Replace})
		}
	}
	return cfg
}

// newEnvelope says what the records of a task carry on an agent with these
// labels. pods may be nil: nothing is known of any.
func newEnvelope(t task.Task, labels map[string]string, pods envelope.Pods) (*envelope.Envelope, error) {
	cfg := envelope.Config{Headers: t.Headers, ReadTime: t.Timestamp == task.TimestampRead, Labels: labels, Pods: pods}
	if len(t.Headers) == 0 {
		cfg.Headers = nil
	}
	if t.HasTopicTemplate() {
		cfg.Topic = t.Topic
	}
	if t.Key.IsTemplate() {
		cfg.Key = string(t.Key)
	}
	if t.Fields != nil {
		cfg.FieldFormat, cfg.FieldPattern, cfg.FieldDissect = string(t.Fields.Format), t.Fields.Pattern, t.Fields.Dissect
	}
	if t.Value == task.ValueJSON {
		if cfg.JSON = t.ValueFields; len(cfg.JSON) == 0 {
			cfg.JSON = task.DefaultValueFields()
		}
	}
	if err := sift(&cfg, t); err != nil {
		return nil, err
	}
	return envelope.New(cfg)
}

// sift says in cfg which records are sent, and when they were written.
func sift(cfg *envelope.Config, t task.Task) (err error) {
	if p := t.ParseTime; p != nil {
		cfg.TimeField = p.Field
		if cfg.Times, err = timestamp.New(p.Layouts, p.Timezone); err != nil {
			return fmt.Errorf("parse_time: %w", err)
		}
	}
	f := t.Filter
	if f == nil {
		return nil
	}
	for _, w := range f.Where {
		cfg.Where = append(cfg.Where, envelope.Where{Field: w.Field, In: w.In, NotIn: w.NotIn, Matches: w.Matches, NotMatches: w.NotMatches})
	}
	if f.Sample != nil {
		cfg.Share, cfg.SampleBy = f.Sample.Share, f.Sample.By
	}
	if f.RateLimit != nil && f.RateLimit.Drops() {
		cfg.RateLimit = rateLimit(t)
	}
	return nil
}

// rateLimit is what bounds the records of a task; nil: nothing does.
func rateLimit(t task.Task) *rate.Limiter {
	if t.Filter == nil || t.Filter.RateLimit == nil {
		return nil
	}
	r := t.Filter.RateLimit
	return rate.New(rate.Config{Lines: r.LinesPerSecond, Bytes: int(r.BytesPerSecond), Burst: r.Saved()})
}
