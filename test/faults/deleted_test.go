package faults

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
)

// deletedBeyondTheirBound deletes eight files one after the other while Kafka
// stands still. The last two fit the bound; the others are let go, and of those
// every line before the offset that the log names must arrive.
func deletedBeyondTheirBound(w *world) {
	const files, fit, bound = 8, 2, 4 << 20
	w.broker()
	w.topic = w.kafka.NewTopic(w.T, 3)
	w.configure("deleted_files: {max_bytes: %d}\n", bound)
	for i := range files {
		w.log(fmt.Sprintf("app-%d.log", i)).Write(10)
	}
	w.startTask("rotate_wait: 1s\n", "*.log")
	w.arrived()
	w.kafka.Pause(w.T, 0)
	var texts [][]byte
	for _, l := range w.logs {
		l.Write(10_000) // 15 MB in all, more than the agent holds
		text, err := os.ReadFile(l.Path)
		require.NoError(w, err)
		texts = append(texts, text)
	}
	var victims []string
	held := 0
	for i, l := range w.logs {
		w.tick()
		require.NoError(w, os.Remove(l.Path))
		if i < files-fit {
			victims = append(victims, l.Path)
		} else {
			held += len(texts[i])
		}
	}
	require.LessOrEqual(w, held, bound)
	require.Greater(w, held+len(texts[0]), bound)
	agenttest.Eventually(w.T, "the oldest files are released", agenttest.Patience, func() bool {
		return w.deletedOpen() == fit && w.agent.Metric("logferry_deleted_files_bytes") == float64(held)
	})
	paths, _ := w.said(`deleted files hold more.*"path":"([^"]+)"()`)
	require.Equal(w, victims, paths, "in the order of their removal")
	lost := 0
	paths, froms := w.said(`a deleted file is let go before.*"path":"([^"]+)".*"from_offset":(\d+)`)
	for n, path := range paths {
		for i, l := range w.logs {
			if l.Path == path {
				lost += len(texts[i]) - froms[n]
				l.Next = uint64(bytes.Count(texts[i][:froms[n]], []byte("\n")))
			}
		}
	}
	require.Positive(w, lost)
	require.InDelta(w, lost, w.agent.Metric("logferry_abandoned_bytes_total"), 0)
	w.kafka.Continue(w.T, 0)
	w.heal()
	w.arrived()
	agenttest.Eventually(w.T, "all are released", 2*agenttest.Patience, func() bool {
		return w.deletedOpen() == 0 && w.agent.Metric("logferry_deleted_files_bytes") == 0
	})
	require.InDelta(w, lost, w.agent.Metric("logferry_abandoned_bytes_total"), 0)
}

// said finds what the agent logged: two groups of a pattern, a text and a number.
func (w *world) said(pattern string) (texts []string, numbers []int) {
	w.Helper()
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(w.agent.Log(), -1) {
		n, _ := strconv.Atoi(m[2])
		texts, numbers = append(texts, m[1]), append(numbers, n)
	}
	return texts, numbers
}
