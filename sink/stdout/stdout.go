// Package stdout is the sink for dry runs: it writes every record as a line to
// a stream and needs no Kafka. A batch is done once its lines are written.
package stdout

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"logferry/internal/record"
	"logferry/sink"
)

var _ sink.Sink = (*Sink)(nil)

// Sink writes the values of records, each followed by a newline.
type Sink struct {
	w   io.Writer
	buf []byte
	err atomic.Pointer[error]
}

// New makes a sink that writes to w, one batch with each call. Sinks may share
// a w that can be called from several goroutines, as os.Stdout can.
func New(w io.Writer) *Sink {
	return &Sink{w: w}
}

// Err implements sink.Sink. It reports the write error that ended Run.
func (s *Sink) Err() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}

// Run implements sink.Sink, but for one thing: a stream that cannot be written
// to does not heal, so a write error ends it.
func (s *Sink) Run(ctx context.Context, in <-chan *record.Batch) error {
	for {
		select {
		case b, ok := <-in:
			if !ok {
				return nil
			}
			if err := s.write(b); err != nil {
				err = fmt.Errorf("write records: %w", err)
				s.err.Store(&err)
				return err
			}
			b.Done()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Sink) write(b *record.Batch) error {
	s.buf = s.buf[:0]
	for i := range b.Records {
		s.buf = append(append(s.buf, b.Records[i].Value...), '\n')
	}
	_, err := s.w.Write(s.buf)
	return err
}
