package faults

import (
	"bytes"
	"time"
)

var crashScenarios = []scenario{
	{"kill-5-times", true, func(w *world) {
		l := w.log("app.log")
		written := writeSteadily(l, 100_000)
		w.start()
		for i := range 5 {
			written.reach(w, uint64(i+1)*15_000)
			w.kill()
			w.start()
		}
		<-written.done
		w.heal()
	}},
	{"kill-and-rotate", false, func(w *world) {
		l := w.log("app.log")
		w.start()
		for range 5 {
			l.Write(20_000)
			w.kill()
			w.rename(l)
			l.Write(1000)
			w.start()
		}
		w.heal()
	}},
	{"stop-and-start-under-load", true, func(w *world) {
		l := w.log("app.log")
		written := writeSteadily(l, 60_000)
		w.start()
		for i := range 4 {
			written.reach(w, uint64(i+1)*12_000)
			w.stop()
			w.start()
		}
		<-written.done
	}},
	{"trickle-killed-and-rotated", true, func(w *world) {
		l := w.log("app.log")
		l.Write(20)
		w.start()
		for i := range 4 {
			trickle(l, 80)
			if i%2 == 0 {
				w.rename(l)
			}
			trickle(l, 20)
			w.kill()
			trickle(l, 5)
			w.start()
		}
		trickle(l, 50)
		w.heal()
	}},
	{"trickle-while-the-broker-is-killed", false, func(w *world) {
		w.broker()
		l := w.log("app.log")
		l.Write(20)
		w.start()
		trickle(l, 80)
		w.kafka.Kill(w.T, 0)
		trickle(l, 200)
		w.kafka.Restart(w.T, 0)
		w.heal()
		trickle(l, 50)
	}},
	{"container-log-killed-and-rotated", true, func(w *world) { containerLog(w, w.kill) }},
	{"container-log-stopped-and-rotated", false, func(w *world) { containerLog(w, w.stop) }},
}

// containerLog writes the log of a container, in parts of lines and of both
// streams, rotates it, in the midst of lines too, and ends the agent again and again.
func containerLog(w *world, end func()) {
	l := w.log("0.log")
	var runtime containerd
	l.Wrap = runtime.wrap
	w.task = "format: cri"
	written := writeSteadily(l, 40_000)
	w.start()
	for i := range 3 {
		written.reach(w, uint64(i+1)*8000)
		end()
		w.start()
	}
	<-written.done
	for range 3 {
		w.rename(l)
		l.Write(5001)
		end()
		w.rename(l)
		l.Write(1001)
		w.start()
	}
	runtime.last = true
	l.Write(1)
	w.heal()
}

// containerd wraps lines as a runtime does that reads both streams: every
// second line goes to stderr, between the two parts of the one before.
type containerd struct {
	rest []byte // of the line on stdout
	last bool   // the lines that come are the last
}

func (c *containerd) wrap(lines []byte) []byte {
	stamp := time.Now().UTC().Format(time.RFC3339Nano) + " " // a topic forgets what is stamped long ago
	var b []byte
	put := func(head string, text []byte) { b = append(append(append(b, stamp+head...), text...), '\n') }
	for _, line := range bytes.Split(bytes.TrimSuffix(lines, []byte("\n")), []byte("\n")) {
		if c.rest == nil {
			put("stdout P ", line[:len(line)/2])
			c.rest = bytes.Clone(line[len(line)/2:])
			continue
		}
		put("stderr F ", line)
		put("stdout F ", c.rest)
		c.rest = nil
	}
	if c.last && c.rest != nil {
		put("stdout F ", c.rest)
		c.rest = nil
	}
	return b
}
