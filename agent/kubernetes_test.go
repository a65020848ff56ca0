package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATaskThatAsksForLabelsShipsWithoutKubernetes(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	w := newWorld(t, nil)
	w.appendLog("web.log", "one\ntwo\n")
	w.putTask("plain", webTask)
	w.waitFor("the lines", func() bool { return w.out.String() == "one\ntwo\n" })
	require.NotContains(t, w.log.String(), "the labels of pods", "nobody asks for them")
	w.putTask("labels", webTask+"headers: {app: '{{.kubernetes.labels.app}}'}\n")
	w.waitFor("the lines again", func() bool { return strings.Count(w.out.String(), "two\n") == 2 })
	w.waitFor("the trouble", func() bool { return strings.Contains(w.log.String(), "the labels of pods cannot be followed") })
	require.Contains(t, w.log.String(), "run the agent in a pod whose service account token is mounted")
	_, body := w.get("/metrics")
	require.Contains(t, body, "\nlogferry_kubernetes_connected 0")
}
