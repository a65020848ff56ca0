package pipe

import "bytes"

var newline = []byte{'\n'}

// pass hands a chunk on, and leaves out of each line what stands behind the bound.
func (r *Reader) pass(chunk []byte) error {
	if r.long+len(chunk) <= r.cfg.MaxBytes {
		_, err := r.to.Write(chunk)
		if i := bytes.LastIndexByte(chunk, '\n'); i >= 0 {
			r.number += bytes.Count(chunk, newline)
			r.long = len(chunk) - i - 1
		} else {
			r.long += len(chunk)
		}
		return err
	}
	out := make([]byte, 0, len(chunk))
	for len(chunk) > 0 {
		i := bytes.IndexByte(chunk, '\n')
		text := chunk
		if i >= 0 {
			text = chunk[:i]
		}
		if room := r.cfg.MaxBytes - r.long; room > 0 {
			out = append(out, text[:min(room, len(text))]...)
		}
		r.long += len(text)
		if i < 0 {
			break
		}
		r.endText()
		out = append(out, '\n')
		chunk = chunk[i+1:]
	}
	_, err := r.to.Write(out)
	return err
}

// endLine ends a line that has begun.
func (r *Reader) endLine() error {
	if r.long == 0 {
		return nil
	}
	r.endText()
	_, err := r.to.Write(newline)
	return err
}

func (r *Reader) endText() {
	r.number++
	if r.long > r.cfg.MaxBytes {
		r.mu.Lock()
		r.cut[r.number] = r.long
		r.mu.Unlock()
	}
	r.long = 0
}
