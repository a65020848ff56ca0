package faults

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
)

var brokerScenarios = []scenario{
	{"brokers-come-back-elsewhere", false, func(w *world) {
		w.broker(kafkatest.WithNodes(3), kafkatest.WithProperty("min.insync.replicas", "2"))
		written := w.flow(300_000)
		for n := range 3 { // in the end no address that the agent was told is left
			written.reach(w, uint64(n+1)*10_000)
			w.kafka.Stop(w.T, n)
			w.kafka.RestartElsewhere(w.T, n)
			w.caughtUp(written)
		}
		w.heal()
		<-written.done
	}},
	{"replicas-and-leaders-move", false, func(w *world) {
		w.broker(kafkatest.WithNodes(3))
		w.topic = kafkatest.TopicName(w.T)
		w.kafka.CreateTopic(w.T, w.topic, 3, 2, nil)
		logs := []*agenttest.LogWriter{w.log("a.log"), w.log("b.log"), w.log("c.log")}
		w.start()
		var written []*steady
		for _, l := range logs {
			written = append(written, writeSteadily(l, 60_000))
		}
		for i := range 5 {
			written[0].reach(w, uint64(i+1)*8_000)
			w.kafka.MoveReplicas(w.T, w.topic)
		}
		w.heal()
		for _, s := range written {
			<-s.done
		}
	}},
	{"too-few-replicas-in-sync", false, func(w *world) {
		w.broker(kafkatest.WithNodes(3))
		w.topic = kafkatest.TopicName(w.T)
		w.kafka.CreateTopic(w.T, w.topic, 3, 3, map[string]string{"min.insync.replicas": "3"})
		written := w.flow(80_000)
		written.reach(w, 10_000)
		w.kafka.Stop(w.T, 2)
		w.trouble("too few replicas in sync")
		w.kafka.Restart(w.T, 2)
		w.heal()
		<-written.done
	}},
	{"topic-deleted-and-recreated", false, func(w *world) { w.recreateTopic(3, 3) }},
	{"topic-recreated-with-fewer-partitions", false, func(w *world) { w.recreateTopic(12, 1) }},
	{"topic-recreated-with-more-partitions", false, func(w *world) { w.recreateTopic(1, 12) }},
	{"topic-created-later", true, func(w *world) {
		w.shared()
		w.topic = kafkatest.TopicName(w.T)
		l := w.log("app.log")
		l.Write(20_000)
		w.start()
		w.trouble("does not exist")
		l.Write(20_000)
		w.kafka.CreateTopic(w.T, w.topic, 3, 0, nil)
		w.heal()
	}},
	{"topic-created-on-demand", true, func(w *world) {
		w.shared()
		w.topic = kafkatest.TopicName(w.T)
		w.args = []string{"--create-topic", "3"}
		w.log("a.log").Write(10_000)
		w.log("b.log").Write(10_000)
		w.start()
		w.arrived()
		w.log("c.log").Write(1000)
	}},
	{"access-refused-then-granted", false, func(w *world) {
		w.broker(kafkatest.WithAuthorizer())
		w.topic = w.kafka.NewTopic(w.T, 3)
		w.kafka.AllowReading(w.T, w.topic)
		l := w.log("app.log")
		l.Write(10_000)
		w.start()
		w.trouble("is not allowed; grant Write and Describe on it")
		l.Write(10_000)
		w.kafka.AllowWriting(w.T, w.topic)
		w.heal()
	}},
	{"access-taken-away-and-given-back", false, func(w *world) {
		w.broker(kafkatest.WithAuthorizer())
		w.topic = w.kafka.NewTopic(w.T, 3)
		w.kafka.AllowReading(w.T, w.topic)
		w.kafka.AllowWriting(w.T, w.topic)
		written := w.flow(80_000)
		for i := range 2 {
			written.reach(w, uint64(i+1)*20_000)
			w.kafka.ForbidWriting(w.T, w.topic)
			w.trouble("is not allowed")
			w.kafka.AllowWriting(w.T, w.topic)
			w.caughtUp(written)
		}
		w.heal()
		<-written.done
	}},
	{"one-record-too-large-for-the-topic", true, func(w *world) {
		l, poison := w.poisoned()
		w.start()
		l.Write(5000)
		w.arrived()
		var letter struct{ Cause, Path, Value string }
		b, err := os.ReadFile(filepath.Join(w.stateDir(), "deadletter", "flags.jsonl"))
		require.NoError(w, err)
		require.NoError(w, json.Unmarshal(b, &letter), "one letter")
		require.Equal(w, "too_large", letter.Cause)
		require.Equal(w, l.Path, letter.Path)
		require.Equal(w, poison, letter.Value)
	}},
	{"one-record-too-large-goes-to-a-topic", false, func(w *world) {
		l, poison := w.poisoned()
		dead := w.kafka.NewTopic(w.T, 1)
		w.configure("kafka:\n  dead_letter: {topic: %s}\n", dead)
		w.start()
		l.Write(5000)
		w.arrived()
		letters := w.kafka.ReadAll(w.T, dead)
		require.Len(w, letters, 1)
		require.Equal(w, poison, string(letters[0].Value))
		headers := map[string]string{}
		for _, h := range letters[0].Headers {
			headers[h.Key] = string(h.Value)
		}
		require.Equal(w, "too_large", headers["logferry.cause"])
		require.Equal(w, l.Path, headers["logferry.path"])
		require.Equal(w, w.topic, headers["logferry.topic"])
	}},
	{"quota-throttles", false, func(w *world) {
		w.broker()
		written := w.flow(60_000)
		written.reach(w, 10_000)
		w.kafka.LimitProducers(w.T, 100_000) // a fifth of what comes
		<-written.done
		require.Less(w, w.agent.Metric("logferry_acked_records_total"), 60_000.0)
		w.kafka.LimitProducers(w.T, 0)
		w.heal()
	}},
	{"broker-accepts-and-never-answers", false, func(w *world) {
		p := w.brokerBehindProxy()
		w.configure("kafka:\n  request_timeout: 1s\n")
		written := w.flow(100_000)
		written.reach(w, 20_000)
		p.swallow.Store(true)
		w.trouble("timeout")
		before := p.accepted.Load()
		agenttest.Eventually(w.T, "the agent tries again", agenttest.Patience, func() bool { return p.accepted.Load() > before })
		p.swallow.Store(false)
		p.reset()
		w.heal()
		<-written.done
	}},
	{"never-answers-at-start", false, func(w *world) {
		p := w.brokerBehindProxy()
		w.configure("kafka:\n  request_timeout: 1s\n")
		p.swallow.Store(true)
		l := w.log("app.log")
		l.Write(20_000)
		w.start()
		agenttest.Eventually(w.T, "the trouble is told", agenttest.Patience, func() bool { return w.agent.Tasks()["flags"].Error != "" })
		p.swallow.Store(false)
		p.reset()
		w.heal()
	}},
	{"connections-reset-in-mid-request", false, func(w *world) {
		p := w.brokerBehindProxy()
		written := w.flow(100_000)
		written.reach(w, 10_000)
		p.cutAfter.Store(300_000)
		agenttest.Eventually(w.T, "connections are reset", agenttest.Patience, func() bool { return p.resets.Load() >= 10 })
		p.cutAfter.Store(0)
		w.heal()
		<-written.done
	}},
	{"answers-lost-again-and-again", false, func(w *world) {
		p := w.brokerBehindProxy()
		written := w.flow(100_000)
		for i := range 5 {
			written.reach(w, uint64(i+1)*10_000)
			before := p.lost.Load()
			p.mute.Store(true) // the broker has what the agent thinks it has not
			agenttest.Eventually(w.T, "an answer is lost", agenttest.Patience, func() bool { return p.lost.Load() > before })
			p.mute.Store(false)
			p.reset()
			w.caughtUp(written)
		}
		w.heal()
		<-written.done
	}},
	{"slow-network", false, func(w *world) {
		p := w.brokerBehindProxy()
		written := w.flow(60_000)
		written.reach(w, 10_000)
		p.rate.Store(100_000)
		<-written.done
		require.Less(w, w.agent.Metric("logferry_acked_records_total"), 60_000.0)
		p.rate.Store(0)
		w.heal()
	}},
	{"a-blocked-topic-slows-no-other", false, func(w *world) {
		w.broker(kafkatest.WithAuthorizer())
		w.topic = w.kafka.NewTopic(w.T, 3)
		w.kafka.AllowReading(w.T, w.topic)
		w.blocked(w.kafka, "", "is not allowed")
		w.kafka.AllowWriting(w.T, w.topic)
		w.heal()
	}},
	{"a-blocked-cluster-slows-no-other", false, func(w *world) {
		w.broker()
		w.topic = w.kafka.NewTopic(w.T, 3)
		other := kafkatest.Start(w.T)
		w.kafka.Kill(w.T, 0)
		w.blocked(other, "other", "no broker")
		w.kafka.Restart(w.T, 0)
		w.heal()
	}},
	{"outage-under-full-load", false, outageUnderFullLoad},
	{"acks-1-broker-killed", false, func(w *world) {
		w.args = []string{"--acks", "1"}
		w.twice = flight // sent again without a sequence number
		w.killBroker()
	}},
	{"acks-0-agent-stopped-and-started", false, func(w *world) {
		w.args = []string{"--acks", "0"}
		l := w.log("app.log")
		w.start()
		for range 3 {
			l.Write(15_000)
			w.arrived() // the broker may otherwise still read from the old agent when the new one sends
			w.stop()
			l.Write(5_000)
			w.start()
		}
	}},
	{"broker-killed-without-compression", false, func(w *world) { w.killBroker("--compression", "none") }},
	{"broker-killed-with-gzip", false, func(w *world) { w.killBroker("--compression", "gzip") }},
	{"broker-killed-with-snappy", false, func(w *world) { w.killBroker("--compression", "snappy") }},
	{"broker-killed-with-zstd", false, func(w *world) { w.killBroker("--compression", "zstd") }},
}
