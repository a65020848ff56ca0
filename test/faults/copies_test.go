package faults

import (
	"fmt"
	"os"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
)

var copyScenarios = []scenario{
	{"copytruncate-unread", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		for i := range 4 {
			l.Write(50_000) // more than is read before the truncation
			copyTruncate(w, l, i)
		}
		l.Write(100)
	}},
	{"copytruncate-while-stopped", false, func(w *world) {
		l := w.log("app.log")
		l.Write(1000)
		w.start()
		w.arrived()
		w.stop()
		for i := range 4 {
			l.Write(1000)
			copyTruncate(w, l, i)
		}
		l.Write(10)
		w.start()
		w.heal()
	}},
	{"copytruncate-while-killed", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		for i := range 4 {
			l.Write(50_000)
			w.kill()
			copyTruncate(w, l, i)
			l.Write(1000)
			w.start()
		}
		w.heal()
	}},
	{"copytruncate-then-killed", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		for i := range 4 {
			l.Write(50_000)
			copyTruncate(w, l, i)
			w.kill()
			l.Write(1000)
			w.start()
		}
		w.heal()
	}},
	{"copytruncate-glob-matches-copies", false, func(w *world) {
		l := w.log("app.log")
		w.start("app.log*")
		for i := range 4 {
			l.Write(50_000)
			copyTruncate(w, l, i)
		}
		w.arrived()
		w.stop()
		l.Write(500)
		copyTruncate(w, l, 4)
		l.Write(500)
		w.start("app.log*")
	}},
}

// copyTruncate rotates a log as logrotate's copytruncate does. The program
// writes nothing between the copy and the truncation: such lines are nowhere.
func copyTruncate(w *world, l *agenttest.LogWriter, n int) {
	w.Helper()
	w.tick()
	data, err := os.ReadFile(l.Path)
	require.NoError(w, err)
	require.NoError(w, os.WriteFile(fmt.Sprintf("%s.%d", l.Path, n), data, 0o644))
	require.NoError(w, l.File.Truncate(0))
}
