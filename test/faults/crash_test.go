package faults

import "bytes"

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
	{"container-log-killed-and-rotated", true, func(w *world) { containerLog(w, w.kill) }},
	{"container-log-stopped-and-rotated", false, func(w *world) { containerLog(w, w.stop) }},
}

// containerLog writes the log of a container, in parts of lines and of both
// streams, rotates it, and ends the agent again and again.
func containerLog(w *world, end func()) {
	l := w.log("0.log")
	l.Wrap = asContainers
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
		l.Write(5000)
		end()
		w.rename(l)
		l.Write(1000)
		w.start()
	}
	w.heal()
}

// asContainers wraps lines as containerd does that reads both streams: every
// second line goes to stderr, between the two parts of the one before.
func asContainers(lines []byte) []byte {
	const out, err = "2026-03-01T08:00:01.123456789Z stdout ", "2026-03-01T08:00:01.123456789Z stderr "
	var b []byte
	var rest []byte
	for i, line := range bytes.SplitAfter(bytes.TrimSuffix(lines, []byte("\n")), []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if i%2 == 0 {
			b = append(append(append(b, out+"P "...), line[:len(line)/2]...), '\n')
			rest = line[len(line)/2:]
			continue
		}
		b = append(append(append(b, err+"F "...), line...), '\n')
		b = append(append(append(b, out+"F "...), rest...), '\n')
		rest = nil
	}
	if rest != nil {
		b = append(append(append(b, out+"F "...), rest...), '\n')
	}
	return b
}
