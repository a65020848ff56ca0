package task

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Bounds of max_line_bytes.
const (
	MinLineBytes    = ByteSize(1 << 10)
	LargestMaxBytes = ByteSize(64 << 20)
)

var (
	nameRule  = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,128}$`)
	topicRule = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
)

// Problem is one thing that is wrong with a task.
type Problem struct {
	Key  string // the key to change, such as "paths[0]"
	Text string // what is wrong and what to write instead
}

// Error returns "KEY: TEXT".
func (p Problem) Error() string { return p.Key + ": " + p.Text }

// Problems is all that is wrong with a task.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// checker gathers problems.
type checker struct{ found Problems }

func (c *checker) add(key, format string, args ...any) {
	c.found = append(c.found, Problem{key, fmt.Sprintf(format, args...)})
}

// Validate reports all that is wrong with a task that has a name and its
// defaults, as Problems; nil if nothing is.
func (t Task) Validate() error {
	if found := t.problems(); len(found) > 0 {
		return found
	}
	return nil
}

func (t Task) problems() Problems {
	var c checker
	c.name("name", t.Name, "a task needs one")
	if t.Cluster != "" {
		c.name("cluster", t.Cluster, "")
	}
	if t.From != "" {
		c.name("from", t.From, "")
	}
	if t.From != "" && t.From == t.Name {
		c.add("from", "%q is the task itself; name the task whose place it takes, or take from out", t.From)
	}
	c.paths(t)
	c.topics(t)
	c.selector(t.Select)
	c.rollout(t.Rollout)
	c.words(t)
	c.once(t)
	c.pipe(t)
	c.durations(t)
	if t.MaxLineBytes < MinLineBytes || t.MaxLineBytes > LargestMaxBytes {
		c.add("max_line_bytes", "%s is out of bounds; it must lie between %s and %s", t.MaxLineBytes, MinLineBytes, LargestMaxBytes)
	}
	c.encoding(t)
	c.multiline(t)
	c.filter(t.Filter, t.Fields)
	c.valueFields(t)
	c.fields(t)
	c.headers(t)
	c.key(t)
	c.parseTime(t)
	c.partition(t)
	if ct := t.CreateTopic; ct != nil {
		if ct.Partitions < 0 {
			c.add("create_topic.partitions", "%d is negative; leave it out for the broker's default", ct.Partitions)
		}
		if ct.ReplicationFactor < 0 {
			c.add("create_topic.replication_factor", "%d is negative; leave it out for the broker's default", ct.ReplicationFactor)
		}
	}
	c.deadLetter(t)
	return c.found
}

// CheckName says what is wrong with a task's name; nil if nothing is.
func CheckName(name string) error {
	var c checker
	c.name("name", name, "a task needs one")
	if len(c.found) > 0 {
		return c.found
	}
	return nil
}

func (c *checker) name(key, value, missing string) {
	switch {
	case value == "":
		c.add(key, "is missing; %s", missing)
	case !nameRule.MatchString(value):
		c.add(key, "%q is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -", value)
	}
}

// topic applies Kafka's own rule for legal topic names
// (org.apache.kafka.common.internals.Topic).
func (c *checker) topic(key, topic string) {
	switch {
	case topic == "":
		c.add(key, "is missing; name the Kafka topic to write to")
	case topic == "." || topic == "..", !topicRule.MatchString(topic):
		c.add(key, "%q is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -", topic)
	}
}

func (c *checker) paths(t Task) {
	if len(t.Paths) == 0 {
		c.add("paths", "is missing; list the files to collect, such as [/var/log/nginx/*.log]")
	}
	for i, p := range t.Paths {
		key := fmt.Sprintf("paths[%d]", i)
		if c.pattern(key, p) && !strings.HasPrefix(p, "/") {
			c.add(key, "%q is not an absolute path; begin it with /", p)
		}
	}
	for i, p := range t.Exclude {
		key := fmt.Sprintf("exclude[%d]", i)
		whole := strings.HasPrefix(p, "/") || strings.HasPrefix(p, "**/")
		if c.pattern(key, p) && strings.Contains(p, "/") && !whole {
			c.add(key, "%q can match no path; begin it with / or **/, or leave the directory out", p)
		}
	}
	if len(c.found) == 0 {
		c.nothingLeft(t)
	}
}

// pattern reports whether p is a glob worth a further look.
func (c *checker) pattern(key, p string) bool {
	switch {
	case p == "":
		c.add(key, "is empty; write a path or remove it")
	case strings.ContainsRune(p, 0):
		c.add(key, "%q holds a zero byte; remove it", p)
	case !doublestar.ValidatePattern(p):
		c.add(key, "%q is not a valid glob; close its brackets and braces, or escape them with \\", p)
	default:
		return true
	}
	return false
}

func (c *checker) words(t Task) {
	for _, w := range []struct {
		key, value string
		allowed    []string
	}{
		{"start", string(t.Start), t.Start.Values()},
		{"format", string(t.Format), t.Format.Values()},
		{"long_lines", string(t.LongLines), t.LongLines.Values()},
		{"invalid_text", string(t.InvalidText), append(t.InvalidText.Values(), "")},
		{"value", string(t.Value), t.Value.Values()},
		{"timestamp", string(t.Timestamp), t.Timestamp.Values()},
		{"partitioner", string(t.Partitioner), t.Partitioner.Values()},
	} {
		if !slices.Contains(w.allowed, w.value) {
			c.add(w.key, "cannot be %q; use one of %s", w.value, strings.TrimSuffix(strings.Join(w.allowed, ", "), ", "))
		}
	}
}

func (c *checker) once(t Task) {
	switch {
	case !t.Once:
	case t.Start == StartEnd:
		c.add("start", "cannot be end with once: true, which reads what is in the files; take one of them out")
	case t.Poll:
		c.add("poll", "is not used with once: true, which does not wait for changes; take it out")
	}
}

// pipe refuses what needs a file that can be looked at again.
func (c *checker) pipe(t Task) {
	if !t.Pipe {
		return
	}
	for _, k := range []struct {
		key, why string
		set      bool
	}{
		{"once", "which has no end; take one of them out", t.Once},
		{"start", "which has no end to begin at; take it out", t.Start == StartEnd},
		{"ignore_older", "which is not older than its writers; take it out", t.IgnoreOlder != 0},
		{"multiline", "whose lines cannot wait for a restart; let the writer send them as one, or write to a file", t.Multiline != nil},
		{"format", "to which no container runtime writes; take it out", t.Format == FormatCRI || t.Format == FormatDocker},
		{"encoding", "whose lines are cut at single bytes; let the writer send UTF-8", strings.HasPrefix(strings.ReplaceAll(strings.ToLower(t.Encoding), "_", "-"), "utf-16")},
	} {
		if k.set {
			c.add(k.key, "cannot be used with pipe: true, %s", k.why)
		}
	}
}

func (c *checker) encoding(t Task) {
	name := strings.ReplaceAll(strings.ToLower(t.Encoding), "_", "-")
	switch {
	case name != "" && !slices.Contains(Encodings(), name):
		c.add("encoding", "%q is unknown; use one of %s", t.Encoding, strings.Join(Encodings(), ", "))
	case t.Format == FormatDocker && name != "" && name != "utf-8":
		c.add("encoding", "%q cannot be that of format: docker, whose lines are UTF-8; take encoding out", t.Encoding)
	case t.Format == FormatCRI && strings.HasPrefix(name, "utf-16"):
		c.add("encoding", "%q cannot be that of format: cri, whose lines begin in ASCII; take encoding out", t.Encoding)
	case t.InvalidText == InvalidTextRaw && (name == "" || name == "utf-8"):
		c.add("invalid_text", "is used with an encoding other than utf-8 only; set that or remove invalid_text")
	case t.InvalidText == InvalidTextRaw && t.Filter != nil && len(t.Filter.Mask) > 0:
		c.add("invalid_text", "raw would send what filter.mask cannot read; use replace, or take the masks out")
	}
}

func (c *checker) durations(t Task) {
	if t.IgnoreOlder < 0 {
		c.add("ignore_older", "%s is negative; leave it out to collect files of any age", t.IgnoreOlder)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"close_inactive", t.CloseInactive},
		{"rotate_wait", t.RotateWait},
		{"poll_interval", t.PollInterval},
	} {
		if d.value <= 0 {
			c.add(d.key, "%s is not positive; write a duration such as 5s", d.value)
		}
	}
}

func (c *checker) partition(t Task) {
	switch {
	case t.Partition < 0:
		c.add("partition", "%d is negative; partitions are counted from 0", t.Partition)
	case t.Partition > 0 && t.Partitioner != PartitionManual:
		c.add("partition", "is used with partitioner: manual only; set that or remove partition")
	}
}

// Bounds of what bounds a file of dead letters.
const (
	minLetterBytes ByteSize = 64 << 10
	maxLetterBytes ByteSize = 1 << 30
	maxLetterFiles          = 1000
)

func (c *checker) deadLetter(t Task) {
	d := t.DeadLetter
	switch {
	case d == nil:
	case (d.Topic == "") == (d.File == ""):
		c.add("dead_letter", "must hold exactly one of topic and file")
	case d.Topic != "":
		c.topic("dead_letter.topic", d.Topic)
		if d.Topic == t.Topic || d.Topic == t.TopicFallback {
			c.add("dead_letter.topic", "%q is the task's own topic; name another one", d.Topic)
		}
		for _, glob := range t.TopicsAllowed {
			if ok, _ := path.Match(glob, d.Topic); ok {
				c.add("dead_letter.topic", "%q matches %q of topics_allowed; name one that records cannot name", d.Topic, glob)
			}
		}
		if d.MaxBytes != 0 || d.MaxFiles != 0 {
			c.add("dead_letter", "max_bytes and max_files bound a file; bound a topic by its own retention")
		}
	case !strings.HasPrefix(d.File, "/") || strings.HasSuffix(d.File, "/") || strings.ContainsRune(d.File, 0):
		c.add("dead_letter.file", "%q is not the absolute path of a file; begin it with / and end it with a name", d.File)
	case d.MaxBytes != 0 && (d.MaxBytes < minLetterBytes || d.MaxBytes > maxLetterBytes):
		c.add("dead_letter.max_bytes", "%d bytes are out of bounds; write something from 64KiB to 1GiB", int64(d.MaxBytes))
	case d.MaxFiles < 0 || d.MaxFiles > maxLetterFiles:
		c.add("dead_letter.max_files", "%d is out of bounds; write a number from 1 to %d", d.MaxFiles, maxLetterFiles)
	}
}
