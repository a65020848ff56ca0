package collector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/tail"
	"logferry/internal/record"
)

// Why a file that is read once is not tried again.
var (
	errGone      = errors.New("it is gone, or another file stands in its place; keep files until the task has finished")
	errRewritten = errors.New("it was truncated or written anew while it was read; keep files as they are until the task has finished")
)

// read reads a file on to its end, and sends what it holds. An error may go
// away; see failed.
func (o *Once) read(ctx context.Context, f *onceFile, out chan<- *record.Batch) error {
	t, err := o.ready(f)
	if err != nil {
		return err
	}
	for ctx.Err() == nil && (t.Packed() || t.Offset() < f.st.Until) {
		b, err := t.Read(ctx)
		if err == nil && b == nil {
			if t.Damage() != nil {
				return fmt.Errorf("%w; what stands before byte %d was read", t.Damage(), t.Offset())
			}
			b, err = t.Final(ctx)
		}
		switch {
		case errors.Is(err, tail.ErrTruncated):
			return errRewritten
		case err != nil:
			if errors.Is(err, unix.ESTALE) {
				t.Drop()
			}
			return err
		case b == nil && !t.Packed() && t.Offset() < f.st.Until:
			return errRewritten
		}
		if b == nil {
			break
		}
		select {
		case out <- b:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		t.Rest()
		t.EndOnce(checkpoint.OnceEnded)
	}
	return ctx.Err()
}

// ready opens a file, or opens it again, and finds where to go on in it.
func (o *Once) ready(f *onceFile) (*tail.File, error) {
	if f.f != nil {
		if err := f.f.Reopen(); err != nil {
			return nil, err
		}
		o.mu.Lock()
		f.state, f.err = FileReading, nil
		o.mu.Unlock()
		return f.f, nil
	}
	path, err := o.find(f)
	if err != nil {
		return nil, err
	}
	t, err := o.open(path)
	if err != nil {
		return nil, err
	}
	if t.ID() != f.id || f.st.Birth != 0 && t.Birth() != 0 && f.st.Birth != t.Birth() {
		t.Close()
		return nil, errGone
	}
	t.ReadOnce(f.st.Until, o.wake)
	t.SetSource(&record.Source{Task: o.cfg.Task, Host: o.cfg.Host, Path: f.path, File: f.id.String()})
	if !t.Resume(f.st) {
		if err := t.Unsure(); err != nil {
			t.Close()
			return nil, err
		}
		o.log.Info("the file is not what was read before, it is read from its beginning", "path", f.path, "committed", f.st.Offset)
	}
	t.Mark()
	o.mu.Lock()
	f.f, f.state, f.err = t, FileReading, nil
	o.mu.Unlock()
	return t, nil
}

// open opens a file by what it holds.
func (o *Once) open(path string) (*tail.File, error) {
	t, err := tail.OpenPacked(path, o.tail)
	if !errors.Is(err, tail.ErrNotPacked) {
		return t, err
	}
	if t, err = tail.Open(path, o.tail); err != nil {
		return nil, err
	}
	kind, err := t.OtherPacking()
	if err == nil && kind != "" {
		err = fmt.Errorf("open %s: %w, but %s; unpack it", path, tail.ErrNotPacked, kind)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// find tells under which name the file stands now: rotation may have renamed it.
func (o *Once) find(f *onceFile) (string, error) {
	info, err := o.deps.FS.Look(f.path)
	if err == nil && info.ID == f.id {
		return f.path, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dir := filepath.Dir(f.path)
	entries, err := o.deps.FS.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if info, err := o.deps.FS.Look(p); err == nil && info.ID == f.id {
			return p, nil
		}
	}
	return "", errGone
}

func (o *Once) wake() {
	select {
	case o.moved <- struct{}{}:
	default:
	}
}

// failed notes why a file could not be read on, and reports whether that is for
// good. What was read of it counts.
func (o *Once) failed(f *onceFile, err error) (final bool) {
	o.metrics.errors.Inc()
	o.mu.Lock()
	first := f.err == nil
	f.err, f.state = err, FileFailed
	if !outOfDescriptors(err) {
		f.tries++
	}
	t := f.f
	damaged := t != nil && t.Damage() != nil
	final = damaged || f.tries >= onceTries || errors.Is(err, errGone) || errors.Is(err, errRewritten) ||
		errors.Is(err, tail.ErrNotPacked) || errors.Is(err, tail.ErrNotAllowed) || errors.Is(err, tail.ErrNotRegular)
	if final {
		f.tries = -1
		f.st.Once = checkpoint.OnceFailed
	}
	st := f.st
	o.mu.Unlock()
	switch {
	case final && t != nil:
		t.Rest()
		t.EndOnce(checkpoint.OnceFailed)
	case final:
		o.deps.Store.Put(o.cfg.Task, f.id, st)
	}
	if first || final {
		o.log.Warn("a file cannot be read to its end", "path", f.path, "file", f.id.String(), "given_up", final, "error", err)
	}
	return final
}
