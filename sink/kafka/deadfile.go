package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// letterFile appends dead letters to a file of JSON lines. It opens the file
// for each letter, so the file may be moved away at any time, and several
// tasks may share it.
type letterFile struct{ path string }

// letterLine is one line of the file. Bytes that are not UTF-8 are written in
// base64, and the matching encoding field says so.
type letterLine struct {
	Time          time.Time    `json:"time"` // when the letter was written
	Cause         string       `json:"cause"`
	Error         string       `json:"error"`
	Task          string       `json:"task"`
	Topic         string       `json:"topic"`
	Partition     int32        `json:"partition"`
	Host          string       `json:"host"`
	Path          string       `json:"path"`
	File          string       `json:"file"`
	Offset        int64        `json:"offset"`
	Key           *string      `json:"key"` // null: no key
	KeyEncoding   string       `json:"key_encoding,omitempty"`
	Headers       []lineHeader `json:"headers,omitempty"`
	Value         string       `json:"value"`
	ValueEncoding string       `json:"value_encoding"` // "utf8" or "base64"
}

type lineHeader struct {
	Key           string `json:"key"`
	Value         string `json:"value"`
	ValueEncoding string `json:"value_encoding"`
}

func (d *letterFile) put(_ context.Context, l letter) error {
	line, err := json.Marshal(l.line(time.Now()))
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	if err := appendLine(d.path, line); err != nil {
		return fmt.Errorf("write dead letter: %w", err)
	}
	return nil
}

func (d *letterFile) close() {}

func (l letter) line(now time.Time) letterLine {
	out := letterLine{
		Time: now.UTC(), Cause: l.cause, Error: l.err.Error(),
		Task: l.route.Task, Topic: l.route.Topic, Partition: l.part,
		Host: l.source.Host, Path: l.source.Path, File: l.source.File, Offset: l.offset,
	}
	out.Value, out.ValueEncoding = printable(l.value)
	if l.key != nil {
		key, enc := printable(l.key)
		out.Key, out.KeyEncoding = &key, enc
	}
	for _, h := range l.headers {
		v, enc := printable(h.Value)
		out.Headers = append(out.Headers, lineHeader{Key: h.Key, Value: v, ValueEncoding: enc})
	}
	return out
}

func printable(b []byte) (text, encoding string) {
	if utf8.Valid(b) {
		return string(b), "utf8"
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

// appendLine appends a line and brings it to the disk. A line that an earlier
// failure left unfinished is ended first, so that it spoils no other.
func appendLine(path string, line []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, len(line)+2)
	if size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			buf = append(buf, '\n')
		}
	}
	if _, err := f.Write(append(append(buf, line...), '\n')); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if size == 0 {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// syncDir makes a new file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
