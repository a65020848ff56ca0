package deadletter

import (
	"strconv"
	"time"

	"logferry/internal/record"
)

// The headers that tell a letter's story in a topic. They follow the record's
// own, and the cause is the first of them.
const (
	headerCause      = "logferry.cause"
	headerError      = "logferry.error"
	headerTask       = "logferry.task"
	headerCluster    = "logferry.cluster"
	headerTopic      = "logferry.topic"
	headerPartition  = "logferry.partition"
	headerHost       = "logferry.host"
	headerPath       = "logferry.path"
	headerFile       = "logferry.file"
	headerOffset     = "logferry.offset"
	headerTime       = "logferry.time"
	headerRecordTime = "logferry.record_time"
	headerCut        = "logferry.cut"
)

// Story returns the headers that a letter carries in a topic besides its own.
func (l Letter) Story() []record.Header {
	h := func(k, v string) record.Header { return record.Header{Key: k, Value: []byte(v)} }
	out := []record.Header{h(headerCause, l.Cause), h(headerError, l.Error), h(headerTask, l.Task)}
	if l.Cluster != "" {
		out = append(out, h(headerCluster, l.Cluster))
	}
	out = append(out,
		h(headerTopic, l.Topic), h(headerPartition, strconv.Itoa(int(l.Partition))),
		h(headerHost, l.Host), h(headerPath, l.Path), h(headerFile, l.File), h(headerOffset, strconv.FormatInt(l.Offset, 10)),
		h(headerTime, l.Time.UTC().Format(time.RFC3339Nano)), h(headerRecordTime, l.RecordTime.UTC().Format(time.RFC3339Nano)),
	)
	if l.Cut {
		out = append(out, h(headerCut, "true"))
	}
	return out
}

// FromRecord reads a letter from a record of a topic; ok is false when the
// record is none. The record's own headers may have names of a story, so the
// story begins at the last cause.
func FromRecord(key, value []byte, headers []record.Header) (l Letter, ok bool) {
	start := -1
	for i, h := range headers {
		if h.Key == headerCause {
			start = i
		}
	}
	if start < 0 {
		return Letter{}, false
	}
	l = Letter{Key: key, Value: value}
	if start > 0 {
		l.Headers = headers[:start]
	}
	for _, h := range headers[start:] {
		l.read(h.Key, string(h.Value))
	}
	return l, l.Topic != ""
}

func (l *Letter) read(key, v string) {
	for name, into := range map[string]*string{
		headerCause: &l.Cause, headerError: &l.Error, headerTask: &l.Task, headerCluster: &l.Cluster,
		headerTopic: &l.Topic, headerHost: &l.Host, headerPath: &l.Path, headerFile: &l.File,
	} {
		if key == name {
			*into = v
		}
	}
	switch key {
	case headerPartition:
		n, _ := strconv.ParseInt(v, 10, 32)
		l.Partition = int32(n)
	case headerOffset:
		l.Offset, _ = strconv.ParseInt(v, 10, 64)
	case headerTime:
		l.Time, _ = time.Parse(time.RFC3339Nano, v)
	case headerRecordTime:
		l.RecordTime, _ = time.Parse(time.RFC3339Nano, v)
	case headerCut:
		l.Cut = v == "true"
	}
}
