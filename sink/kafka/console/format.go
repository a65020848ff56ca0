package console

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"logferry/internal/record"
)

// Formats are the names that Printer takes.
var Formats = []string{"value", "meta", "json"}

// Printer returns a function that writes messages to w:
//
//	value  the value and a newline
//	meta   topic, partition, offset, time and key before the value
//	json   one object a line; bytes that are not UTF-8 stand in base64 under key_base64 or value_base64
func Printer(format string, w io.Writer) (func(Message) error, error) {
	switch format {
	case "value":
		return func(m Message) error {
			_, err := w.Write(append(m.Value, '\n'))
			return err
		}, nil
	case "meta":
		return func(m Message) error {
			_, err := fmt.Fprintf(w, "%s[%d]@%d %s key=%s %s\n", m.Topic, m.Partition, m.Offset,
				m.Time.UTC().Format(time.RFC3339Nano), keyWord(m.Key), m.Value)
			return err
		}, nil
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(m Message) error { return enc.Encode(document(m)) }, nil
	}
	return nil, fmt.Errorf("%q is not a format: take one of %s", format, strings.Join(Formats, ", "))
}

func keyWord(key []byte) string {
	if key == nil {
		return "-"
	}
	return fmt.Sprintf("%q", key)
}

type jsonMessage struct {
	Topic       string            `json:"topic"`
	Partition   int32             `json:"partition"`
	Offset      int64             `json:"offset"`
	Time        time.Time         `json:"time"`
	Key         *string           `json:"key"`
	KeyBase64   []byte            `json:"key_base64,omitempty"`
	Value       *string           `json:"value"`
	ValueBase64 []byte            `json:"value_base64,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func document(m Message) jsonMessage {
	doc := jsonMessage{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Time: m.Time.UTC()}
	doc.Key, doc.KeyBase64 = record.TextOrBytes(m.Key)
	doc.Value, doc.ValueBase64 = record.TextOrBytes(m.Value)
	if len(m.Headers) > 0 {
		doc.Headers = make(map[string]string, len(m.Headers))
		for _, h := range m.Headers {
			doc.Headers[h.Key] = h.Value
		}
	}
	return doc
}
