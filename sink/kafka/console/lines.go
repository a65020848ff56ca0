package console

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// line is one line of the input. Text holds no more than the limit; size is
// the length that the line has.
type line struct {
	text []byte
	size int
	err  error
}

// readLines reads in on a goroutine of its own until it ends, an error comes,
// or stop is closed. The channel is closed behind the last line.
func readLines(in io.Reader, limit int, stop <-chan struct{}) <-chan line {
	out := make(chan line)
	go func() {
		defer close(out)
		r := bufio.NewReaderSize(in, 64<<10)
		for {
			l, more := readLine(r, limit)
			if l.err != nil || more || l.size > 0 {
				select {
				case out <- l:
				case <-stop:
					return
				}
			}
			if !more {
				return
			}
		}
	}()
	return out
}

// readLine reads one line and keeps at most limit bytes of it. More is false
// at the end of the input.
func readLine(r *bufio.Reader, limit int) (l line, more bool) {
	for {
		part, err := r.ReadSlice('\n')
		ended := err == nil
		if ended {
			part = part[:len(part)-1]
		}
		l.size += len(part)
		if room := limit - len(l.text); room > 0 {
			l.text = append(l.text, part[:min(room, len(part))]...)
		}
		switch {
		case ended:
			if l.size == len(l.text) && bytes.HasSuffix(l.text, []byte{'\r'}) {
				l.text = l.text[:len(l.text)-1]
				l.size--
			}
			return l, true
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return l, false
		default:
			return line{err: err}, false
		}
	}
}

// split takes the key off a line.
func split(text []byte, opts ProduceOptions) (key, value []byte, err error) {
	if opts.Key != "" {
		key = []byte(opts.Key)
	}
	if opts.KeySeparator == "" {
		return key, text, nil
	}
	key, value, found := bytes.Cut(text, []byte(opts.KeySeparator))
	if !found {
		return nil, nil, fmt.Errorf("no key separator %q in it", opts.KeySeparator)
	}
	return key, value, nil
}
