package kafka

import (
	"context"
	"fmt"

	"logferry/sink/kafka/deadletter"
)

// letterFile appends dead letters to a bounded file, which several tasks may share.
type letterFile struct {
	s    *session
	file deadletter.File
}

func (d *letterFile) put(ctx context.Context, l deadletter.Letter) error {
	lost, err := d.file.Append(ctx, l)
	if lost.File != "" {
		d.s.m.lettersDropped.WithLabelValues(d.s.route.Task).Add(float64(lost.Letters))
		d.s.main.log.Error("dead letters are at their bound, the oldest were removed; replay or drop them in time, or raise dead_letter.max_bytes or max_files",
			"file", lost.File, "letters", lost.Letters, "bytes", lost.Bytes)
	}
	if err != nil {
		return fmt.Errorf("write dead letter: %w", err)
	}
	return nil
}

func (d *letterFile) close() {}
