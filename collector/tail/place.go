package tail

import (
	"errors"
	"fmt"
	"log/slog"

	"logferry/collector/checkpoint"
	"logferry/collector/frame"
	"logferry/internal/record"
)

// End as an offset stands for the end of a file: behind its last newline.
const End int64 = -1

// ErrMidLine says that an offset is not where a line starts.
var ErrMidLine = errors.New("the offset is in the middle of a line")

// StateAt returns what is to be stored of the file at path so that reading
// goes on at offset. It must be in the file, and, unless anywhere is set, be
// where a line starts; the ErrMidLine names where the lines around it do. A
// file with a byte order mark of UTF-16 is taken for one.
func StateAt(task, path string, offset int64, anywhere bool, log *slog.Logger) (checkpoint.FileID, checkpoint.State, error) {
	f, err := Open(path, &Deps{Log: log, Pool: NewPool()})
	if err != nil {
		return checkpoint.FileID{}, checkpoint.State{}, err
	}
	defer f.Close()
	f.SetSource(&record.Source{Task: task, Path: path})
	head := make([]byte, 2)
	n, err := f.preadFull(head, 0)
	if err != nil {
		return f.id, checkpoint.State{}, fmt.Errorf("read %s: %w", path, err)
	}
	switch string(head[:n]) {
	case "\xff\xfe":
		f.deps.Frame.Unit = frame.LittleEndian
	case "\xfe\xff":
		f.deps.Frame.Unit = frame.BigEndian
	}
	switch {
	case offset == End:
		offset, err = f.lastLine(f.size, f.size+1)
	case offset < 0 || offset > f.size:
		err = fmt.Errorf("%s has %d bytes: %d is not in it", path, f.size, offset)
	case offset > 0 && !anywhere:
		err = f.checkLineStart(offset)
	}
	if err != nil {
		return f.id, checkpoint.State{}, err
	}
	f.SeekTo(offset)
	return f.id, f.Checkpoint(), nil
}

// checkLineStart looks whether a newline stands right before offset.
func (f *File) checkLineStart(offset int64) error {
	before, err := f.lastLine(offset, offset+1)
	if err != nil || before == offset {
		return err
	}
	next, buf := int64(-1), make([]byte, 4<<10)
	for at := offset - offset%2; next < 0; at += int64(len(buf)) {
		n, err := f.preadFull(buf, at)
		if err != nil {
			return err
		}
		if _, end := f.deps.Frame.Unit.Newline(buf[:n], at); end > 0 {
			next = at + int64(end)
		} else if n < len(buf) {
			break
		}
	}
	if next < 0 {
		return fmt.Errorf("%w: the last line of %s starts at %d", ErrMidLine, f.path, before)
	}
	return fmt.Errorf("%w: lines of %s start at %d and %d", ErrMidLine, f.path, before, next)
}
