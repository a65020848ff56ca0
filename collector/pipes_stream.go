package collector

import (
	"context"
	"sync/atomic"
	"time"

	"logferry/collector/checkpoint"
	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/pipe"
	"logferry/collector/shape"
	"logferry/internal/record"
)

const (
	// pipeBatchBytes is how much of a pipe goes on at once.
	pipeBatchBytes = 64 << 10
	// pipeBatchRecords bounds the records of it.
	pipeBatchRecords = 1024
	// pipeRecordBytes is what a record of a pipe costs beside its text.
	pipeRecordBytes = 64
)

// pipeStream is one named pipe and the goroutine that makes batches of its lines.
type pipeStream struct {
	p       *Pipes
	path    string
	from    *pipe.Reader
	src     *record.Source
	form    *envelope.Form
	tracker *checkpoint.Tracker // counts bytes; nothing of it is stored
	read    int64               // bytes, newlines included
	started time.Time
	ended   atomic.Bool // the pipe is gone, and everything of it is handed on
}

func newPipeStream(p *Pipes, path string, from *pipe.Reader) *pipeStream {
	s := &pipeStream{
		p: p, path: path, from: from, tracker: checkpoint.NewTracker(0), started: time.Now(),
		src: &record.Source{Task: p.cfg.Task, Host: p.cfg.Host, Path: path, File: from.ID().String()},
	}
	if p.cfg.Envelope != nil {
		s.form = p.cfg.Envelope.For(s.src)
	}
	return s
}

// run hands the lines of a pipe on until it is stopped or gone, or ctx ends. Once
// reading ends they come as fast as they can: the rate is no reason to lose any.
func (s *pipeStream) run(reading, ctx context.Context, out chan<- *record.Batch) {
	for line := range s.from.Lines() {
		if s.p.cfg.Throttle != nil {
			_ = s.p.cfg.Throttle.Wait(reading)
		}
		b, err := s.gather(ctx, line)
		if err == nil {
			select {
			case out <- &b.Batch:
				continue
			case <-ctx.Done():
			}
		}
		s.from.Kill() // what is under way in it is lost as well, and nobody knows how much
		break
	}
	if err := s.from.Wait(); err != nil {
		s.p.refuse(s.path, err)
	}
	s.ended.Store(true)
}

// pipeBatch is the owner of its own records.
type pipeBatch struct {
	record.Batch
	s     *pipeStream
	space shape.Space
}

// gather makes a batch of a line and those that come right behind it. Only the first
// waits for the budget: others wait for what a batch holds.
func (s *pipeStream) gather(ctx context.Context, line pipe.Line) (*pipeBatch, error) {
	b := &pipeBatch{s: s}
	b.Size = len(line.Text) + pipeRecordBytes + s.p.cfg.RecordOverhead
	if err := s.p.deps.Budget.Acquire(ctx, b.Size); err != nil {
		s.lose(int64(line.Length + 1))
		return nil, err
	}
	b.Start = s.read
	held, cut, dropped := b.Size, 0, 0
	mostRecords, mostBytes := s.most()
	lines := frame.Lines{MaxBytes: s.p.cfg.MaxLineBytes, DropLong: s.p.cfg.DropLong, KeepCR: s.p.cfg.KeepCR}
	rest := time.NewTimer(gatherPause)
	defer rest.Stop()
	for more := true; more; {
		var c frame.Counts
		b.Records, c = lines.One(b.Records, line.Text, s.read, line.Length)
		cut, dropped = cut+c.Cut, dropped+c.Dropped
		s.read += int64(line.Length) + 1
		if b.Size >= mostBytes || len(b.Records) >= mostRecords {
			break
		}
		select {
		case line, more = <-s.from.Lines():
			if more {
				b.Size += len(line.Text) + pipeRecordBytes + s.p.cfg.RecordOverhead
			}
		case <-rest.C:
			more = false
		}
	}
	s.p.tail.Long(cut, dropped)
	s.finish(b, held)
	return b, nil
}

// most bounds a batch: where a rate holds the pipe, to what may pass at once.
func (s *pipeStream) most() (records, bytes int) {
	records, bytes = pipeBatchRecords, pipeBatchBytes
	if n := s.p.tail.MostRecords; n > 0 {
		records = min(records, n)
	}
	if n := s.p.tail.MostBytes; n > 0 {
		bytes = min(bytes, n)
	}
	return records, bytes
}

// finish gives records what they are to be and carry, and pays for it.
func (s *pipeStream) finish(b *pipeBatch, held int) {
	b.Source, b.Time, b.End = s.src, time.Now(), s.read
	if s.p.cfg.Shape != nil && len(b.Records) > 0 {
		var counts shape.Counts
		b.Records, counts = s.p.cfg.Shape.Apply(b.Records, frame.Bytes, &b.space)
		s.p.metrics.shaped(counts)
	}
	if s.form != nil {
		var counts envelope.Counts
		b.Records, counts = s.form.Apply(b.Records, b.Time, &b.space)
		s.p.metrics.dressed(counts)
	}
	b.Size += b.space.Held()
	s.p.deps.Budget.Charge(b.Size - held)
	b.SetOwner(b, s.tracker.Add(b.End, b.Time))
	s.p.tail.Read(&b.Batch, int(b.End-b.Start))
}

// BatchDone implements record.Owner.
func (b *pipeBatch) BatchDone(_ *record.Batch, token uint64) {
	b.s.p.tail.Acked(&b.Batch)
	b.s.tracker.Resolve(token)
	b.s.p.deps.Budget.Release(b.Size)
}

// lose names bytes that were read and will never be delivered.
func (s *pipeStream) lose(n int64) {
	if n <= 0 {
		return
	}
	s.p.lost.Add(n)
	s.p.metrics.abandoned.WithLabelValues(abandonedPipe).Add(float64(n))
	s.p.log.Warn("the task ends while what was read of a named pipe is not delivered; it is lost: let writers wait until the task runs again, or raise shutdown_timeout",
		"path", s.path, "bytes", n)
}

// status says how far the pipe is. Its sizes count from when it was opened.
func (s *pipeStream) status() FileStatus {
	st := FileStatus{Task: s.p.cfg.Task, Path: s.path, State: FileQuiet, Started: s.started, Read: s.tracker.Last(), Committed: s.tracker.Committed()}
	st.Size, st.LagBytes = st.Read, st.Read-st.Committed
	if oldest, ok := s.tracker.Oldest(); ok {
		st.State, st.LagSeconds = FileReading, time.Since(oldest).Seconds()
	}
	return st
}
