package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
	"logferry/collector"
	"logferry/collector/frame"
)

func TestATaskCanNameWhatTheCollectorKnows(t *testing.T) {
	require.Equal(t, frame.CharsetNames(), task.Encodings())
	require.Equal(t, frame.Presets(), task.Presets())
}

func TestATaskDecodesJoinsFiltersAndMasks(t *testing.T) {
	w := newWorld(t, nil)
	// GBK: a record of two lines, one that is left out, one in which something is masked
	w.appendLog("a.log", "1 \xb4\xed\xce\xf3\n  \xd4\xda A\n2 DEBUG\n3 \xc3\xdc\xc2\xeb=123\n\n")
	w.putTask("erp", `
paths: ["DIR/logs/*.log"]
topic: t
encoding: gbk
multiline: {start: '^\d', timeout: 10ms}
filter:
  exclude: [DEBUG]
  mask: [{pattern: '(密码)=\d+', replace: '$1=*'}]
`)
	w.waitFor("all of it", func() bool { return strings.Contains(w.out.String(), "=*") })
	require.True(t, strings.HasPrefix(w.out.String(), "1 错误\n  在 A\n3 密码=*\n"), w.out.String())
	_, metrics := w.get("/metrics")
	require.Contains(t, metrics, `logferry_filtered_records_total{reason="exclude",task="erp"} 1`)
	require.Contains(t, metrics, `logferry_masked_records_total{task="erp"} 1`)
	require.Contains(t, metrics, `logferry_undecodable_records_total{task="erp"} 0`)

	w.putTask("bad", "paths: [\"DIR/x\"]\ntopic: t\nfilter: {exclude: ['(']}\n")
	w.waitFor("the refusal", func() bool { return strings.Contains(w.log.String(), "missing closing )") })
}

func TestATaskTakesContainerLinesApart(t *testing.T) {
	w := newWorld(t, nil)
	w.appendLog("a.log", "2026-03-01T08:00:01Z stdout P one, \n2026-03-01T08:00:01Z stdout F two\n"+
		`{"log":"INFO \"a\"\n","stream":"stderr","time":"2026-03-01T08:00:01Z"}`+"\nneither\n")
	w.putTask("raw", "paths: [\"DIR/logs/*.log\"]\ntopic: t\n")
	w.waitFor("the raw lines", func() bool { return strings.Contains(w.out.String(), "neither") })
	require.Contains(t, w.out.String(), "stdout P one")
	w.putTask("cri", "paths: [\"DIR/logs/*.log\"]\ntopic: t\nformat: cri\nmultiline: {preset: java, timeout: 10ms}\n")
	w.waitFor("the lines of CRI", func() bool { return strings.Count(w.out.String(), "neither") == 2 })
	require.Contains(t, w.out.String(), "\none, two\n{\"log\"")
	_, metrics := w.get("/metrics")
	require.Contains(t, metrics, `logferry_container_faults_total{kind="foreign",task="cri"} 2`)
	require.Contains(t, metrics, `logferry_container_faults_total{kind="foreign",task="raw"} 0`)
}

func TestThePathTellsWhatIsTheLogOfAContainer(t *testing.T) {
	for _, c := range []struct {
		text, path string
		want       bool
		format     frame.Format
	}{
		{"", "/var/log/a.log", false, 0},
		{"", "/var/log/pods/a_b_c/d/0.log", true, frame.Container},
		{"", "/var/log/containers/a.log", true, frame.Container},
		{"", "/var/lib/docker/containers/a/a-json.log", true, frame.Container},
		{"", "/var/log/podsy/a.log", false, 0},
		{"format: raw\n", "/var/log/pods/a_b_c/d/0.log", false, 0},
		{"format: cri\n", "/a.log", true, frame.CRI},
		{"format: docker\n", "/a.log", true, frame.Docker},
		{"encoding: gbk\n", "/var/log/pods/a_b_c/d/0.log", true, frame.CRI},
		{"encoding: utf-16\n", "/var/log/pods/a_b_c/d/0.log", false, 0},
	} {
		decoded, err := task.DecodeOne([]byte("paths: [/a]\ntopic: t\n"+c.text), "f", "x")
		require.NoError(t, err)
		var cfg collector.Config
		require.NoError(t, setFraming(&cfg, decoded))
		var got *frame.Containers
		if cfg.Wrapped != nil {
			got = cfg.Wrapped(c.path)
		}
		require.Equal(t, c.want, got != nil, c)
		if got != nil {
			require.Equal(t, c.format, got.Format)
			require.Equal(t, task.PartialWait, got.Apart)
		}
	}
}
