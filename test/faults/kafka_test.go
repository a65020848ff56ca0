package faults

import (
	"time"

	"logferry/test/kafkatest"
)

var kafkaScenarios = []scenario{
	{"broker-stopped", false, func(w *world) {
		w.broker()
		w.outage(func() { w.kafka.Stop(w.T, 0) }, func() { w.kafka.Restart(w.T, 0) })
	}},
	{"broker-killed", true, func(w *world) { w.killBroker() }},
	{"broker-paused", false, func(w *world) {
		w.broker()
		w.outage(func() { w.kafka.Pause(w.T, 0) }, func() { w.kafka.Continue(w.T, 0) })
	}},
	{"down-at-start", false, func(w *world) {
		w.broker()
		w.topic = w.kafka.NewTopic(w.T, 3)
		l := w.log("app.log")
		l.Write(10_000)
		w.kafka.Stop(w.T, 0)
		w.start()
		l.Write(10_000)
		w.kafka.Restart(w.T, 0)
		w.heal()
	}},
	{"rolling-restart-of-three", false, func(w *world) {
		w.broker(kafkatest.WithNodes(3), kafkatest.WithProperty("min.insync.replicas", "2"))
		written := w.flow(150_000)
		written.reach(w, 5_000)
		for n := range 3 {
			w.kafka.Stop(w.T, n)
			w.kafka.Restart(w.T, n)
		}
		w.heal()
		<-written.done
	}},
	{"two-of-three-down", false, func(w *world) {
		w.broker(kafkatest.WithNodes(3), kafkatest.WithProperty("min.insync.replicas", "2"))
		written := w.flow(60_000)
		written.reach(w, 10_000)
		w.kafka.Kill(w.T, 1)
		w.kafka.Kill(w.T, 2)
		written.reach(w, 40_000)
		w.kafka.Restart(w.T, 1, 2)
		w.heal()
		<-written.done
	}},
	{"broker-killed-again-and-again", false, func(w *world) {
		w.broker()
		written := w.flow(100_000)
		for i := range 3 {
			written.reach(w, uint64(i+1)*20_000)
			w.kafka.Kill(w.T, 0)
			w.kafka.Restart(w.T, 0)
		}
		w.heal()
		<-written.done
	}},
	{"agent-stopped-while-kafka-is-down", false, func(w *world) {
		w.broker()
		w.Setenv("LOGFERRY_SHUTDOWN_TIMEOUT", "1s")
		l := w.log("app.log")
		w.start()
		l.Write(20_000)
		w.arrived()
		w.kafka.Stop(w.T, 0)
		l.Write(20_000)
		w.stop() // gives up after its time, with nothing lost
		l.Write(10_000)
		w.rename(l)
		w.start()
		w.kafka.Restart(w.T, 0)
		w.heal()
	}},
	{"killed-while-kafka-is-paused", false, func(w *world) {
		w.broker()
		l := w.log("app.log")
		w.start()
		l.Write(20_000)
		w.arrived()
		w.kafka.Pause(w.T, 0)
		l.Write(20_000)
		<-time.After(200 * time.Millisecond) // let requests reach the sockets
		w.kill()
		w.kafka.Continue(w.T, 0)
		w.start()
		w.heal()
	}},
}
