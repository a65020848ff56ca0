package envelope

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/internal/record"
)

// podList knows one pod, from some moment on.
type podList struct {
	pod   *Pod
	asked int
}

func (p *podList) Find(Kubernetes) *Pod { return p.pod }

func (p *podList) Await(Kubernetes) *Pod { p.asked++; return p.pod }

const podLog = "/var/log/pods/shop_web-1_uid-1/app/0.log"

func applied(f *Form, text string) record.Record {
	recs := []record.Record{{Value: []byte(text)}}
	f.Apply(recs, time.Unix(0, 0), &frame.Space{})
	return recs[0]
}

func TestLabelsOfPodsComeWhenTheyAreKnownAndStay(t *testing.T) {
	pods := &podList{}
	e, err := New(Config{
		Headers: map[string]string{"app": "{{.kubernetes.labels.app.kubernetes.io/name}}", "pod": "{{.kubernetes.pod}}"},
		Key:     "{{.kubernetes.annotations.team}}", Pods: pods,
	})
	require.NoError(t, err)
	require.True(t, e.AsksForPods())
	f := e.For(&record.Source{Path: podLog})
	require.Equal(t, 1, pods.asked)
	pod := record.Header{Key: "pod", Value: []byte("web-1")}
	first := applied(f, "a")
	require.Equal(t, &record.Extra{Headers: []record.Header{pod}}, first.Extra)

	pods.pod = &Pod{Labels: map[string]string{"app.kubernetes.io/name": "shop"}, Annotations: map[string]string{"team": "red"}}
	app := record.Header{Key: "app", Value: []byte("shop")}
	second := applied(f, "b")
	require.Equal(t, &record.Extra{Headers: []record.Header{app, pod}, Key: []byte("red")}, second.Extra)
	require.Same(t, second.Extra, applied(f, "c").Extra)
	require.Equal(t, []record.Header{pod}, first.Extra.Headers)
	pods.pod = nil
	require.Same(t, second.Extra, applied(f, "d").Extra, "what is forgotten of a pod stays with its open files")

	require.Nil(t, e.For(&record.Source{Path: "/var/log/web.log"}).pods)
	require.Equal(t, 1, pods.asked)
}

func TestJSONHoldsLabelsAndAnnotationsWhereTheyAreListed(t *testing.T) {
	pods := &podList{pod: &Pod{Labels: map[string]string{"b": "2", "a": "\"1"}, Annotations: map[string]string{"team": "red"}}}
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{[]string{"message", "kubernetes"}, `{"message":"x","kubernetes":{"namespace":"shop","pod":"web-1","container":"app","uid":"uid-1"}}`},
		{[]string{"kubernetes", "message", "kubernetes.labels"}, `{"kubernetes":{"namespace":"shop","pod":"web-1","container":"app","uid":"uid-1","labels":{"a":"\"1","b":"2"}},"message":"x"}`},
		{[]string{"message", "kubernetes.annotations", "kubernetes.labels"}, `{"message":"x","kubernetes":{"labels":{"a":"\"1","b":"2"},"annotations":{"team":"red"}}}`},
	} {
		e, err := New(Config{JSON: c.fields, Pods: pods})
		require.NoError(t, err)
		require.Equal(t, len(c.fields) > 2 || c.fields[1] != "kubernetes", e.AsksForPods())
		require.Equal(t, c.want, string(applied(e.For(&record.Source{Path: podLog}), "x").Value))
		require.Equal(t, `{"message":"x"}`, string(applied(e.For(&record.Source{Path: "/a.log"}), "x").Value))
	}
}
