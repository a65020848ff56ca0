package faults

import (
	"fmt"
	"os"

	"github.com/stretchr/testify/require"
)

var rotationScenarios = []scenario{
	{"rename", true, func(w *world) {
		l := w.log("app.log")
		w.start()
		for range 10 {
			l.Write(2000)
			w.rename(l)
		}
		l.Write(100)
	}},
	{"rename-late-writes", true, func(w *world) {
		l := w.log("app.log")
		w.start()
		l.Write(1000)
		for i := range 5 { // the program goes on in the renamed file for a while
			require.NoError(w, os.Rename(l.Path, fmt.Sprintf("%s.%d", l.Path, i)))
			l.Write(500)
			w.arrived()
			_ = l.File.Close()
			l.Reopen()
			l.Write(500)
		}
	}},
	{"rename-many-between-two-looks", true, func(w *world) {
		l := w.log("app.log")
		l.Write(200_000) // the reader is busy with the first generation
		w.start()
		for range 20 {
			w.rename(l)
			l.Write(50)
		}
	}},
	{"rename-while-stopped", true, func(w *world) {
		l := w.log("app.log")
		l.Write(1000)
		w.start()
		w.arrived()
		w.stop()
		for range 4 {
			l.Write(1000)
			w.rename(l)
		}
		l.Write(10)
		w.start()
		w.heal()
	}},
	{"rename-while-killed", false, func(w *world) {
		l := w.log("app.log")
		l.Write(50_000)
		w.start()
		w.kill()
		for range 4 {
			l.Write(1000)
			w.rename(l)
		}
		l.Write(10)
		w.start()
		w.heal()
	}},
	{"rename-without-create", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		l.Write(1000)
		for i := range 3 {
			require.NoError(w, os.Rename(l.Path, fmt.Sprintf("%s.%d", l.Path, i)))
			w.arrived()
			_ = l.File.Close()
			l.Reopen()
			l.Write(1000)
		}
	}},
	{"truncate-after-reading", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		for range 5 {
			l.Write(1000)
			w.arrived()
			require.NoError(w, l.File.Truncate(0))
		}
		l.Write(1000)
	}},
	{"delete-after-reading", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		for range 5 {
			l.Write(1000)
			w.arrived()
			require.NoError(w, os.Remove(l.Path))
			l.Write(1000) // into the deleted file: the agent holds it open
			w.arrived()
			_ = l.File.Close()
			l.Reopen()
		}
		l.Write(1000)
	}},
	{"thousand-files-rotate-at-once", false, func(w *world) {
		w.start()
		for i := range 1000 {
			w.log(fmt.Sprintf("app-%04d.log", i)).Write(20)
		}
		for range 3 {
			for _, l := range w.logs {
				w.rename(l)
				l.Write(20)
			}
		}
	}},
	{"rotated-before-its-directory-was-seen", true, func(w *world) {
		require.NoError(w, os.MkdirAll(w.path(), 0o755))
		w.start("**/app.log")
		for i := range 5 {
			l := w.log(fmt.Sprintf("new-%d", i), "deep", "app.log")
			for range 3 {
				l.Write(200)
				w.rename(l)
			}
			l.Write(100)
		}
	}},
	{"glob-matches-rotated-names", false, func(w *world) {
		l := w.log("app.log")
		w.start("app.log*")
		for range 8 {
			l.Write(500)
			w.rename(l)
		}
		w.arrived()
		w.stop()
		l.Write(500)
		w.rename(l)
		w.start("app.log*")
	}},
}
