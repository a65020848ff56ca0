package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
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
