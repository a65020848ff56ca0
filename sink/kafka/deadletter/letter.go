// Package deadletter says what a dead letter is: a record that Kafka will
// never take, with the reason and all that is needed to send it again. It
// writes letters into bounded files and reads them back, and puts them into
// the form that they have in a topic.
package deadletter

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"logferry/internal/record"
)

// Letter is a record with the reason why it was set aside.
type Letter struct {
	ID       string    // names it in the place that it was read from; empty before
	Replayed time.Time // when it was sent again; zero: it waits

	Time  time.Time // when it was set aside
	Cause string    // one of a bounded set, such as "too_large"
	Error string    // what Kafka said

	Task      string
	Cluster   string // name of the cluster that it was meant for; empty: the default one
	Topic     string // that it was meant for
	Partition int32  // that it was meant for

	Host, Path, File string // see record.Source
	Offset           int64  // where the record starts in its file, in bytes

	RecordTime time.Time // the record's own time stamp
	Key        []byte    // nil: none
	Headers    []record.Header
	Value      []byte
	Cut        bool // a part of the record is missing, because the dead-letter topic did not take all of it
}

// line is a letter as JSON. Bytes that are not UTF-8 are written in base64,
// and the matching encoding field says so.
type line struct {
	ID            string       `json:"id,omitempty"`
	Replayed      time.Time    `json:"replayed,omitzero"`
	Time          time.Time    `json:"time"`
	Cause         string       `json:"cause"`
	Error         string       `json:"error"`
	Task          string       `json:"task"`
	Cluster       string       `json:"cluster,omitempty"`
	Topic         string       `json:"topic"`
	Partition     int32        `json:"partition"`
	Host          string       `json:"host"`
	Path          string       `json:"path"`
	File          string       `json:"file"`
	Offset        int64        `json:"offset"`
	RecordTime    time.Time    `json:"record_time,omitzero"`
	Cut           bool         `json:"cut,omitempty"`
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

// MarshalJSON writes the letter as one line of a file has it, and its ID and
// when it was replayed, if they are set.
func (l Letter) MarshalJSON() ([]byte, error) {
	out := line{
		ID: l.ID, Replayed: l.Replayed, Time: l.Time.UTC(), Cause: l.Cause, Error: l.Error,
		Task: l.Task, Cluster: l.Cluster, Topic: l.Topic, Partition: l.Partition,
		Host: l.Host, Path: l.Path, File: l.File, Offset: l.Offset, Cut: l.Cut,
	}
	if !l.RecordTime.IsZero() {
		out.RecordTime = l.RecordTime.UTC()
	}
	out.Value, out.ValueEncoding = printable(l.Value)
	if l.Key != nil {
		key, enc := printable(l.Key)
		out.Key, out.KeyEncoding = &key, enc
	}
	for _, h := range l.Headers {
		v, enc := printable(h.Value)
		out.Headers = append(out.Headers, lineHeader{Key: h.Key, Value: v, ValueEncoding: enc})
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Letter) UnmarshalJSON(data []byte) (err error) {
	var in line
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*l = Letter{
		ID: in.ID, Replayed: in.Replayed, Time: in.Time, Cause: in.Cause, Error: in.Error,
		Task: in.Task, Cluster: in.Cluster, Topic: in.Topic, Partition: in.Partition,
		Host: in.Host, Path: in.Path, File: in.File, Offset: in.Offset, RecordTime: in.RecordTime, Cut: in.Cut,
	}
	if l.Value, err = unprinted(in.Value, in.ValueEncoding); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if in.Key != nil {
		if l.Key, err = unprinted(*in.Key, in.KeyEncoding); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	for _, h := range in.Headers {
		v, err := unprinted(h.Value, h.ValueEncoding)
		if err != nil {
			return fmt.Errorf("header %s: %w", h.Key, err)
		}
		l.Headers = append(l.Headers, record.Header{Key: h.Key, Value: v})
	}
	return nil
}

func printable(b []byte) (text, encoding string) {
	if utf8.Valid(b) {
		return string(b), "utf8"
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

func unprinted(text, encoding string) ([]byte, error) {
	switch encoding {
	case "utf8":
		return []byte(text), nil
	case "base64":
		return base64.StdEncoding.DecodeString(text)
	}
	return nil, fmt.Errorf("unknown encoding %q", encoding)
}

// encode makes the line of a file, with its newline.
func (l Letter) encode() ([]byte, error) {
	l.ID, l.Replayed = "", time.Time{}
	b, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	return append(b, '\n'), nil
}

// decode reads a line of a file. The letter's ID is made of the line's bytes,
// so it stays the same when files are rotated.
func decode(b []byte) (Letter, error) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	var l Letter
	if err := json.Unmarshal(b, &l); err != nil {
		return Letter{}, err
	}
	if l.Topic == "" || l.Time.IsZero() {
		return Letter{}, fmt.Errorf("neither topic nor time may be missing")
	}
	l.ID, l.Replayed = lineID(b), time.Time{}
	return l, nil
}

func lineID(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}
