package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
	"logferry/collector/frame"
	"logferry/internal/record"
	"logferry/sink/kafka"
)

// What a task may say is made ready, whatever stands in a log, and names no
// topic that is not allowed.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{{.host}}", "app_{{.fields.a}}", "{{ .labels.env }}-{{.kubernetes.pod}}", "${host}", "{{.fields.a.b}}x{{.stream}}", "{{", "}}{{.offset}}"} {
		for _, line := range []string{`{"a":"app_x","b":1}`, `{"a":"../__x"}`, `a=app_b c="d\n"`, "[app_c] d", ""} {
			f.Add(text, line)
		}
	}
	ways := []map[string]string{{"format": "json"}, {"format": "logfmt"}, {"dissect": "[%{a}] %{b}"}, {"pattern": `(?P<a>\w+)`}}
	f.Fuzz(func(t *testing.T, template, line string) {
		for _, way := range ways {
			text, err := json.Marshal(map[string]any{
				"paths": []string{"/a"}, "topic": template, "topics_allowed": []string{"app_*"}, "topic_fallback": "other", "fields": way,
				"key": template, "headers": map[string]string{"h": template},
				"filter": map[string]any{"sample": map[string]any{"share": 0.5, "by": template}, "where": []map[string]any{{"field": "a", "not_in": []string{"no"}}}},
			})
			require.NoError(t, err)
			decoded, err := task.DecodeOne(text, "f", "x")
			if err != nil {
				continue
			}
			env, err := newEnvelope(decoded, map[string]string{"env": "prod"}, nil)
			require.NoError(t, err, template)
			form := env.For(&record.Source{Task: "x", Host: "h", Path: "/var/log/pods/a_b_c/d/0.log", File: "1-2"})
			var space frame.Space
			recs, _ := form.Apply([]record.Record{{Value: []byte(line)}}, time.Now(), &space)
			for _, r := range recs {
				topic, why := topicOf(decoded, r.Extra.Topic)
				if why != kafka.NoFallback {
					require.Equal(t, "other", topic)
					continue
				}
				require.True(t, kafka.ValidTopic(topic), topic)
				require.True(t, strings.HasPrefix(topic, "app_"), topic)
			}
		}
	})
}
