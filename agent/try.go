package agent

import (
	"fmt"
	"io"
	"time"

	"logferry/agent/task"
	"logferry/collector"
	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/shape"
	"logferry/collector/tail"
	"logferry/internal/record"
	"logferry/sink/kafka"
)

// TryBytes is the most that Try reads of a log.
const TryBytes = 64 << 20

// Trial is what a task makes of one record.
type Trial struct {
	Offset   int64             `json:"offset"` // where it begins in the log, in bytes
	LeftOut  string            `json:"left_out,omitempty"`
	Pattern  string            `json:"pattern,omitempty"` // the exclude pattern that it matches
	Topic    string            `json:"topic,omitempty"`
	Fallback string            `json:"fallback,omitempty"` // why Topic is not the one that it asked for
	Asked    string            `json:"asked,omitempty"`    // that
	Key      string            `json:"key,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Time     string            `json:"time,omitempty"`
	Value    string            `json:"value"` // of one that is left out: before masks
}

// Try tells each of what a task would make of a log that stands under path on
// a host, in order. It reads TryBytes at most; whole is false when there is more.
func Try(t task.Task, host, path string, log io.Reader, each func(Trial) error) (whole bool, err error) {
	var cfg collector.Config
	if err := setFraming(&cfg, t); err != nil {
		return false, err
	}
	if t.Filter != nil && t.Filter.RateLimit != nil { // a log that is read in one go would be over any rate
		f := *t.Filter
		f.RateLimit = nil
		t.Filter = &f
	}
	env, err := newEnvelope(t, nil, nil)
	if err != nil {
		return false, err
	}
	var form *envelope.Form
	if env != nil {
		form = env.For(&record.Source{Task: t.Name, Host: host, Path: path, File: "DEVICE-INODE"})
	}
	var space frame.Space
	if t.Once {
		unpacked, rest, err := tail.Unpack(log)
		if err != nil {
			return false, fmt.Errorf("read the log: %w", err)
		}
		defer rest()
		log = unpacked
	}
	data, err := io.ReadAll(io.LimitReader(log, TryBytes+1))
	if err != nil {
		return false, fmt.Errorf("read the log: %w", err)
	}
	whole = len(data) <= TryBytes
	data = data[:min(len(data), TryBytes)]
	return whole, tryRecords(cfg, path, data, func(r record.Record, why shape.Reason, pattern string) error {
		if space.Reset(0); why == shape.Kept && form != nil {
			value := r.Value
			recs, counts := form.Apply([]record.Record{r}, time.Now(), &space)
			if len(recs) > 0 {
				r = recs[0]
			} else {
				r, why = record.Record{Value: value, Offset: r.Offset}, leftOut(counts)
			}
		}
		trial := Trial{Offset: r.Offset, LeftOut: string(why), Pattern: pattern, Value: string(r.Value)}
		if why == shape.Kept {
			var named []byte
			if r.Extra != nil {
				named = r.Extra.Topic
			}
			var why kafka.Fallback
			if trial.Topic, why = topicOf(t, named); why != kafka.NoFallback {
				trial.Fallback, trial.Asked = string(why), string(named)
			}
			trial.Time = "when it is read"
			if r.Extra != nil && !r.Extra.Time.IsZero() {
				trial.Time = r.Extra.Time.UTC().Format(time.RFC3339Nano)
			}
			trial.Key = map[task.Key]string{task.KeyHost: host, task.KeyPath: path}[t.Key]
		}
		if r.Extra != nil && r.Extra.Key != nil {
			trial.Key = string(r.Extra.Key)
		}
		if r.Extra != nil {
			trial.Headers = map[string]string{}
			for _, h := range r.Extra.Headers {
				trial.Headers[h.Key] = string(h.Value)
			}
		}
		return each(trial)
	})
}

// leftOut is why a record was left out.
func leftOut(c envelope.Counts) shape.Reason {
	switch {
	case c.Where > 0:
		return envelope.LeftWhere
	case c.Sample > 0:
		return envelope.LeftSample
	}
	return envelope.LeftRate
}

// tryRecords cuts data as the collector cuts a file that nobody writes to any more.
func tryRecords(cfg collector.Config, path string, data []byte, each func(r record.Record, why shape.Reason, pattern string) error) error {
	const most = 4096
	lines := frame.Lines{MaxBytes: cfg.MaxLineBytes, KeepCR: cfg.KeepCR, Unit: cfg.Unit}
	lines.Unit, _ = lines.Unit.Of(data)
	var wrapped *frame.Containers
	if cfg.Wrapped != nil {
		wrapped = cfg.Wrapped(path)
	}
	var space, unwrapped shape.Space
	var counts shape.Counts
	one := func(r record.Record) error {
		if cfg.DropLong && r.Extra.Has(record.HeaderTruncated) {
			return each(r, shape.Long, "")
		}
		why, pattern := shape.Kept, ""
		if cfg.Shape != nil {
			why, pattern = cfg.Shape.One(&r, lines.Unit, &space, &counts)
		}
		err := each(r, why, pattern)
		space.Reset(0)
		return err
	}
	for at := 0; at < len(data); {
		var recs []record.Record
		var used int
		unwrapped.Reset(0)
		if wrapped != nil {
			recs, used, _, _ = lines.AppendContainers(wrapped, nil, data[at:], int64(at), most, true, time.Now(), &unwrapped)
		} else if cfg.Groups != nil {
			recs, used, _, _ = lines.AppendGroups(cfg.Groups, nil, data[at:], int64(at), most, true)
		} else {
			recs, used, _ = lines.Append(nil, data[at:], int64(at), most)
		}
		if at += used; used == 0 {
			rest := data[at:]
			if wrapped != nil {
				recs, _ = lines.OneContainer(wrapped, nil, rest, int64(at), len(rest), time.Now(), &unwrapped)
			} else {
				recs, _ = lines.One(nil, rest, int64(at), len(rest))
			}
			at = len(data)
		}
		for _, r := range recs {
			if err := one(r); err != nil {
				return err
			}
		}
	}
	return nil
}
