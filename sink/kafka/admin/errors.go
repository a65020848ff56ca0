package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

// What an operation can fail with that a caller may want to tell apart.
var (
	ErrTopicExists  = errors.New("topic already exists")
	ErrUnknownTopic = errors.New("unknown topic")
	ErrUnreachable  = errors.New("kafka cannot be reached")
	ErrAccess       = errors.New("kafka lets nobody in")
)

// said is an error in its own words that is also one of the sentinels above.
type said struct {
	words string
	kind  error
}

func (e *said) Error() string { return e.words }
func (e *said) Unwrap() error { return e.kind }

func saidf(kind error, format string, args ...any) error {
	return &said{words: fmt.Sprintf(format, args...), kind: kind}
}

// UnknownTopic is the error for a topic that the cluster does not have.
func UnknownTopic(topic string) error {
	return saidf(ErrUnknownTopic, "topic %q does not exist", topic)
}

// unreachable names every broker and why it did not answer.
func unreachable(brokers []string, failures map[string]error, tried time.Duration, cause error) error {
	failed := make([]string, 0, len(failures))
	for addr, err := range failures {
		failed = append(failed, addr+": "+dialCause(err))
	}
	sort.Strings(failed)
	why := strings.Join(failed, "; ")
	if why == "" {
		why = strings.Join(brokers, ", ") + ": " + handshakeCause(cause)
	}
	return saidf(ErrUnreachable, "no kafka broker answers (tried for %s): %s", roundTime(tried), why)
}

// dialCause says in a few words why an address could not be dialled.
func dialCause(err error) string {
	var dns *net.DNSError
	var opErr *net.OpError
	switch {
	case errors.As(err, &dns):
		return "the host name is not known"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused, nothing listens there"
	case errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "no answer in time"
	case errors.As(err, &opErr):
		return opErr.Err.Error()
	default:
		return err.Error()
	}
}

// handshakeCause explains a broker that was dialled but did not serve.
func handshakeCause(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed), isTimeout(err):
		return "connected, but no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "the connection was closed at once; is this a kafka listener, and does it want TLS or a login?"
	default:
		return Words(err)
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func roundTime(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// Words puts a sarama error on one line without its prefixes.
func Words(err error) string {
	var topicErr *sarama.TopicError
	if errors.As(err, &topicErr) && topicErr.ErrMsg != nil && *topicErr.ErrMsg != "" {
		return *topicErr.ErrMsg
	}
	lines := strings.Split(err.Error(), "\n")
	seen := map[string]bool{}
	out := lines[:0]
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l != "" && !seen[l] {
			seen[l] = true
			out = append(out, l)
		}
	}
	text := strings.Join(out, "; ")
	for _, prefix := range []string{"kafka server: ", "kafka: "} {
		text = strings.ReplaceAll(text, prefix, "")
	}
	return text
}
