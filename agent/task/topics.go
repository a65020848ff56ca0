package task

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what topics a template can make.
const (
	DefaultMaxTopics = 100
	LargestMaxTopics = 1000
	maxTopicGlobs    = 64
)

// HasTopicTemplate reports whether its records can go to several topics.
func (t Task) HasTopicTemplate() bool { return strings.Contains(t.Topic, "{{") }

// FixedTopic is where its records go unless they name another topic.
func (t Task) FixedTopic() string {
	if t.HasTopicTemplate() {
		return t.TopicFallback
	}
	return t.Topic
}

// TopicLimit is how many topics a template can make on one agent.
func (t Task) TopicLimit() int { return cmp.Or(t.MaxTopics, DefaultMaxTopics) }

// TopicFields lists what {{.NAME}} can name in a topic, besides labels.NAME and
// fields.NAME: what is the same for many records.
func TopicFields() []string {
	return slices.DeleteFunc(TemplateFields(), func(name string) bool {
		return slices.Contains([]string{"time", "offset", "path", "file", "kubernetes.uid"}, name)
	})
}

var topicText = regexp.MustCompile(`^[a-zA-Z0-9._-]*$`)

func (c *checker) topics(t Task) {
	if !t.HasTopicTemplate() {
		if foreignField.MatchString(t.Topic) {
			c.template("topic", t.Topic, t.Fields)
		} else {
			c.topic("topic", t.Topic)
		}
		for _, k := range []struct {
			key string
			set bool
		}{{"topics_allowed", t.TopicsAllowed != nil}, {"topic_fallback", t.TopicFallback != ""}, {"max_topics", t.MaxTopics != 0}} {
			if k.set {
				c.add(k.key, "is used with a template in topic only, such as app_{{.labels.env}}; write one or remove %s", k.key)
			}
		}
		return
	}
	c.topicTemplate(t)
	c.topicGlobs(t.TopicsAllowed)
	if t.TopicFallback == "" {
		c.add("topic_fallback", "is missing; name the topic for records of which the template makes no topic that topics_allowed allows")
	} else {
		c.topic("topic_fallback", t.TopicFallback)
	}
	if t.MaxTopics < 0 || t.MaxTopics > LargestMaxTopics {
		c.add("max_topics", "%d is out of bounds; write a number from 1 to %d", t.MaxTopics, LargestMaxTopics)
	}
}

func (c *checker) topicTemplate(t Task) {
	if len(t.Topic) > maxHeaderBytes {
		c.add("topic", "is %d bytes long, the limit is %d", len(t.Topic), maxHeaderBytes)
		return
	}
	before := len(c.found)
	c.template("topic", t.Topic, t.Fields)
	if len(c.found) > before {
		return
	}
	for _, m := range placeholder.FindAllStringSubmatch(t.Topic, -1) {
		if name := m[2]; slices.Contains(TemplateFields(), name) && !slices.Contains(TopicFields(), name) {
			c.add("topic", "{{.%s}} differs from file to file or from record to record, and cannot be part of a topic; use %s, labels.NAME or fields.NAME", name, strings.Join(TopicFields(), ", "))
		}
	}
	if rest := placeholder.ReplaceAllString(t.Topic, ""); !topicText.MatchString(rest) {
		c.add("topic", "%q can make no valid topic name; beside {{ }} use the letters a-z A-Z 0-9 . _ -", t.Topic)
	}
}

func (c *checker) topicGlobs(globs []string) {
	switch {
	case len(globs) == 0:
		c.add("topics_allowed", "is missing; what stands in a log must not name any topic: list globs of those that it may, such as [app_*]")
	case len(globs) > maxTopicGlobs:
		c.add("topics_allowed", "has %d entries, the limit is %d", len(globs), maxTopicGlobs)
		return
	}
	for i, glob := range globs {
		key := fmt.Sprintf("topics_allowed[%d]", i)
		if _, err := path.Match(glob, ""); err != nil {
			c.add(key, "%q is not a valid glob; close its brackets", glob)
			continue
		}
		switch {
		case glob == "":
			c.add(key, "is empty; write a glob such as app_* or remove it")
		case strings.Trim(glob, "*?") == "":
			c.add(key, "%q allows every topic; begin it with what the topics have in common, such as app_*", glob)
		case !topicText.MatchString(strings.NewReplacer("*", "", "?", "", "[", "", "]", "", "^", "").Replace(glob)):
			c.add(key, "%q can match no topic; use the letters a-z A-Z 0-9 . _ -, and * ? [ ]", glob)
		}
	}
}
