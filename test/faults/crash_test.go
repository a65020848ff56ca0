package faults

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
}
