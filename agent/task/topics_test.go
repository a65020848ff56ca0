package task

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const topicHead = "paths: [/a]\ntopic: 'app_{{.fields.app}}'\nfields: {format: json}\n"

func TestATopicCanBeATemplateWithinBounds(t *testing.T) {
	got, err := DecodeOne([]byte(topicHead+"topics_allowed: ['app_*', 'x[ab]?']\ntopic_fallback: other\nmax_topics: 7\n"), "f", "x")
	require.NoError(t, err)
	require.True(t, got.HasTopicTemplate())
	require.Equal(t, "other", got.FixedTopic())
	require.Equal(t, 7, got.TopicLimit())
	require.Equal(t, []string{"app_*", "x[ab]?"}, got.TopicsAllowed)

	got, err = DecodeOne([]byte("paths: [/a]\ntopic: '{{.kubernetes.namespace}}.{{ .labels.env }}'\ntopics_allowed: [a*]\ntopic_fallback: other\nmax_topics: 100\n"), "f", "x")
	require.NoError(t, err)
	other := got
	other.MaxTopics = 0
	require.True(t, Equal(got, other))
	require.False(t, Task{Topic: "a"}.HasTopicTemplate())
	require.Equal(t, "a", Task{Topic: "a"}.FixedTopic())
}

func TestATopicThatIsNotConfinedIsRefusedWithItsLineAndARemedy(t *testing.T) {
	const ok = "topics_allowed: [app_*]\ntopic_fallback: other\n"
	const all = "time, stream, host, path, file, offset, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, kubernetes.uid, labels.NAME, fields.NAME, kubernetes.labels.NAME, kubernetes.annotations.NAME"
	for _, c := range []struct{ text, want string }{
		{"topic: 'app_{{.fields.app}}'\nfields: {format: json}\ntopic_fallback: other\n", `f:1: topics_allowed: is missing; what stands in a log must not name any topic: list globs of those that it may, such as [app_*]`},
		{"topic: 'app_{{.fields.app}}'\nfields: {format: json}\ntopics_allowed: [app_*]\n", `f:1: topic_fallback: is missing; name the topic for records of which the template makes no topic that topics_allowed allows`},
		{"topic: 'app_{{.fields.app}}'\n" + ok, `f:2: topic: names fields.app, and nothing says how fields are found; write fields: {format: json}, {format: logfmt}, {dissect: PATTERN} or {pattern: RE2}`},
		{"topic: 'app_{{.hots}}'\n" + ok, `f:2: topic: "hots" is unknown; did you mean host?`},
		{"topic: 'app_{{.offset}}'\n" + ok, `f:2: topic: {{.offset}} differs from file to file or from record to record, and cannot be part of a topic; use stream, host, task, kubernetes.namespace, kubernetes.pod, kubernetes.container, labels.NAME or fields.NAME`},
		{"topic: 'app {{.host}}'\n" + ok, `f:2: topic: "app {{.host}}" can make no valid topic name; beside {{ }} use the letters a-z A-Z 0-9 . _ -`},
		{"topic: 'app_{host}'\n", `f:2: topic: "{host}" is no field and would be sent as text; did you mean {{.host}}?`},
		{"topic: 'app_${service}'\n", `f:2: topic: "${service}" is no field and would be sent as text; write {{.NAME}} with one of ` + all},
		{"topic: 'app_{{.host'\n" + ok, `f:2: topic: "app_{{.host" holds {{ or }} without the other; write {{.NAME}}`},
		{"topic: web\ntopics_allowed: [a]\n", `f:3: topics_allowed: is used with a template in topic only, such as app_{{.labels.env}}; write one or remove topics_allowed`},
		{"topic: web\nmax_topics: 3\n", `f:3: max_topics: is used with a template in topic only, such as app_{{.labels.env}}; write one or remove max_topics`},
		{"topic: '{{.host}}'\ntopics_allowed: ['*']\ntopic_fallback: other\n", `f:3: topics_allowed[0]: "*" allows every topic; begin it with what the topics have in common, such as app_*`},
		{"topic: '{{.host}}'\ntopics_allowed: ['a[']\ntopic_fallback: other\n", `f:3: topics_allowed[0]: "a[" is not a valid glob; close its brackets`},
		{"topic: '{{.host}}'\ntopics_allowed: [a b]\ntopic_fallback: other\n", `f:3: topics_allowed[0]: "a b" can match no topic; use the letters a-z A-Z 0-9 . _ -, and * ? [ ]`},
		{"topic: '{{.host}}'\ntopics_allowed: [a*]\ntopic_fallback: o/r\n", `f:4: topic_fallback: "o/r" is not a valid topic name; use 1 to 249 of the letters a-z A-Z 0-9 . _ -`},
		{"topic: '{{.host}}'\n" + ok + "max_topics: 1001\n", `f:5: max_topics: 1001 is out of bounds; write a number from 1 to 1000`},
		{"topic: '{{.host}}'\n" + ok + "max_topics: 0\n", `f:5: max_topics: must be more than 0; leave it out for the default`},
		{"topic: '{{.host}}'\n" + ok + "max_topic: 5\n", `f:5: unknown key "max_topic"; did you mean "max_topics"?`},
		{"topic: '{{.host}}'\n" + ok + "dead_letter: {topic: app_dead}\n", `f:5: dead_letter.topic: "app_dead" matches "app_*" of topics_allowed; name one that records cannot name`},
		{"topic: '{{.host}}'\n" + ok + "dead_letter: {topic: other}\n", `f:5: dead_letter.topic: "other" is the task's own topic; name another one`},
		{"topic: '{{.host}}" + strings.Repeat("x", 1100) + "'\n" + ok, fmt.Sprintf(`f:2: topic: is %d bytes long, the limit is 1024`, 1109)},
	} {
		_, err := DecodeOne([]byte("paths: [/a]\n"+c.text), "f", "x")
		require.EqualError(t, err, c.want, c.text)
	}
}

func TestARefusalReadsTheSameEachTime(t *testing.T) {
	text := []byte("paths: [/a]\ntopic: web\ntopics_allowed: [a]\ntopic_fallback: b\nmax_topics: 3\n")
	const tail = "is used with a template in topic only, such as app_{{.labels.env}}; write one or remove "
	for range 50 {
		_, err := DecodeOne(text, "f", "x")
		require.EqualError(t, err, "f:3: topics_allowed: "+tail+"topics_allowed\nf:4: topic_fallback: "+tail+"topic_fallback\nf:5: max_topics: "+tail+"max_topics")
	}
}
