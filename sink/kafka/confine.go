package kafka

import (
	"fmt"
	"path"
	"strings"
)

// Confine says which topics the content of records may name. What stands in a
// log can then neither reach any other topic, nor make more of them than max.
type Confine struct {
	Allowed []string // globs of path.Match; a name must match one of them
	Never   []string // names that no record may name, whatever Allowed says
	Max     int      // most topics that a task writes to at once, without the fallback
}

// MaxTopics bounds Confine.Max.
const MaxTopics = 1000

// Fallback is why a record goes to the fallback topic.
type Fallback string

// The reasons, as metrics name them.
const (
	NoFallback   Fallback = ""              // it goes to its own
	MissingField Fallback = "missing_field" // it lacks a field that the topic's template names
	InvalidTopic Fallback = "invalid"       // what the template makes is no name of a topic
	NotAllowed   Fallback = "not_allowed"   // it matches none of Confine.Allowed
	TopicLimit   Fallback = "limit"         // Confine.Max others are in use
	NoTopic      Fallback = "no_topic"      // it does not exist, and cannot be created
)

// Check says whether a record may go to the topic that it names. It does not
// know of those in use.
func (c *Confine) Check(name []byte) Fallback {
	switch {
	case len(name) == 0:
		return MissingField
	case !ValidTopic(string(name)):
		return InvalidTopic
	}
	topic := string(name)
	if strings.HasPrefix(topic, "__") { // Kafka's own
		return NotAllowed
	}
	for _, never := range c.Never {
		if topic == never {
			return NotAllowed
		}
	}
	for _, glob := range c.Allowed {
		if ok, _ := path.Match(glob, topic); ok {
			return NoFallback
		}
	}
	return NotAllowed
}

func (c *Confine) validate() error {
	if len(c.Allowed) == 0 {
		return fmt.Errorf("none is given; list globs such as app_*")
	}
	for _, glob := range c.Allowed {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("%q is not a valid glob; close its brackets", glob)
		}
	}
	if c.Max < 1 || c.Max > MaxTopics {
		return fmt.Errorf("at most %d topics are out of bounds; choose 1 to %d", c.Max, MaxTopics)
	}
	return nil
}

// maxTopicName is the length of Kafka's longest topic name, in bytes.
const maxTopicName = 249

// ValidTopic applies Kafka's rule for topic names
// (org.apache.kafka.common.internals.Topic).
func ValidTopic(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxTopicName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
