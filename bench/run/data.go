package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"logferry/bench/gen"
)

// seed makes the same data in every run.
const seed = 1

// dataset is what one run has to ship: directories of files *.log that stand
// full before it begins. It is only read.
type dataset struct {
	dirs  []string // one a topic
	lines []int64  // by directory
	bytes int64    // of all files
	spans []span   // by directory and file, what is in it; nil: the lines do not name themselves
}

// span is the lines [0, n) of a stream of package gen, and the directory that
// they are in.
type span struct {
	dir    int
	stream uint16
	n      uint64
}

func (d *dataset) total() int64 {
	var sum int64
	for _, n := range d.lines {
		sum += n
	}
	return sum
}

// accessLog makes `dirs` directories with `files` files each, which together
// hold about `lines` lines of the generator; each file holds at least one.
func accessLog(root string, dirs, files int, lines int64) (*dataset, error) {
	d := &dataset{lines: make([]int64, dirs)}
	count := dirs * files
	if count >= 1<<16 {
		return nil, fmt.Errorf("make data: %d files are more than there are streams", count)
	}
	for i := range dirs {
		dir := filepath.Join(root, fmt.Sprintf("topic-%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		d.dirs = append(d.dirs, dir)
		for j := range files {
			k := i*files + j
			n := max(1, (lines*int64(k+1))/int64(count)-(lines*int64(k))/int64(count))
			size, err := writeFile(filepath.Join(dir, fmt.Sprintf("access-%05d.log", j)), func(w io.Writer) error {
				_, err := gen.New(uint16(k), seed).Write(w, 0, uint64(n))
				return err
			})
			if err != nil {
				return nil, err
			}
			d.lines[i] += n
			d.bytes += size
			d.spans = append(d.spans, span{dir: i, stream: uint16(k), n: uint64(n)})
		}
	}
	return d, nil
}

// sizedLog makes one file of about `total` bytes with lines of `size` bytes,
// their newline included: the text of the access log, cut elsewhere.
func sizedLog(root string, size int, total int64) (*dataset, error) {
	dir := filepath.Join(root, "topic-0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	n := max(1, total/int64(size))
	written, err := writeFile(filepath.Join(dir, "sized.log"), func(w io.Writer) error {
		cut := &cutter{to: w, size: size, left: n}
		_, err := gen.New(1, seed).Write(cut, 0, uint64(total))
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &dataset{dirs: []string{dir}, lines: []int64{n}, bytes: written}, nil
}

var errEnough = errors.New("enough")

// cutter passes text on as lines of one length.
type cutter struct {
	to   io.Writer
	size int   // bytes of a line, with its newline
	left int64 // lines to write
	line []byte
	out  bytes.Buffer
}

func (c *cutter) Write(p []byte) (int, error) {
	text := bytes.ReplaceAll(p, []byte("\n"), []byte(" "))
	c.out.Reset()
	for len(text) > 0 && c.left > 0 {
		n := min(len(text), c.size-1-len(c.line))
		c.line = append(c.line, text[:n]...)
		text = text[n:]
		if len(c.line) == c.size-1 {
			c.out.Write(c.line)
			c.out.WriteByte('\n')
			c.line = c.line[:0]
			c.left--
		}
	}
	if _, err := c.to.Write(c.out.Bytes()); err != nil {
		return 0, err
	}
	if c.left == 0 {
		return 0, errEnough
	}
	return len(p), nil
}

// writeFile makes a file and returns how large it became.
func writeFile(path string, fill func(io.Writer) error) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(fill(f), f.Close()); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// warm reads all files once, so that each contender finds them in the page
// cache.
func (d *dataset) warm() error {
	for _, dir := range d.dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := discard(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func discard(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(io.Discard, f)
	return err
}

func (d *dataset) remove() error {
	var errs []error
	for _, dir := range d.dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}
