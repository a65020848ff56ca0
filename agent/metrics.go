package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"logferry/agent/etcdsource"
	"logferry/collector"
)

// stateMetrics answers a scrape from the tasks' status at that moment. Series
// of a removed task are gone with it.
type stateMetrics struct {
	supervisor *Supervisor
	etcd       func() (connected bool, configured bool)
	fleet      func() (reg etcdsource.Registration, configured bool)
	rollouts   func() (waves []etcdsource.RolloutWave, leads, configured bool)

	lagBytes, oldestUnacked, files, buffered, taskInfo, tasks, reloadOK, etcdConnected, registered, idClash, rolloutWave, rolloutLeader, onceFinished, onceRecords, onceBytes *prometheus.Desc
}

// noFiles is what a task has that was never started.
var noFiles = func() map[collector.FileState]int {
	m := map[collector.FileState]int{}
	for _, st := range collector.FileStates {
		m[st] = 0
	}
	return m
}()

func newStateMetrics(s *Supervisor, etcd func() (bool, bool), fleet func() (etcdsource.Registration, bool), rollouts func() ([]etcdsource.RolloutWave, bool, bool)) *stateMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("logferry_"+name, help, labels, nil)
	}
	return &stateMetrics{
		supervisor: s, etcd: etcd, fleet: fleet, rollouts: rollouts,
		lagBytes:      desc("lag_bytes", "Bytes in the collected files that are not yet delivered.", "task"),
		oldestUnacked: desc("oldest_unacked_seconds", "For how long the oldest bytes that are not yet delivered have been so.", "task"),
		files:         desc("files", "Collected files by state.", "task", "state"),
		buffered:      desc("buffered_bytes", "Bytes that are read and not yet acknowledged.", "task"),
		taskInfo:      desc("task_info", "What each task collects for; always 1.", "task", "topic", "source"),
		tasks:         desc("tasks", "Tasks by state.", "state"),
		reloadOK:      desc("config_last_reload_successful", "1 when the newest version of every task was taken, 0 when one was refused."),
		etcdConnected: desc("etcd_connected", "1 while the tasks in etcd are being followed."),
		registered:    desc("etcd_registered", "1 while the agent is registered in etcd."),
		idClash:       desc("etcd_id_clash", "1 while another agent is registered under the same id."),
		rolloutWave:   desc("rollout_wave", "The newest open wave of a change that has not reached every agent, or the one in which it went back.", "task", "phase"),
		rolloutLeader: desc("rollout_leader", "1 while this agent moves rollouts on."),
		onceFinished:  desc("once_finished", "1 when a task that reads once has delivered all that it can read, 0 before.", "task"),
		onceRecords:   desc("once_records", "Records that a task that reads once has delivered, over all starts of the agent.", "task"),
		onceBytes:     desc("once_bytes", "Bytes of text that a task that reads once has delivered, over all starts of the agent.", "task"),
	}
}

// Describe implements prometheus.Collector.
func (m *stateMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.lagBytes, m.oldestUnacked, m.files, m.buffered, m.taskInfo, m.tasks, m.reloadOK, m.etcdConnected, m.registered, m.idClash, m.rolloutWave, m.rolloutLeader, m.onceFinished, m.onceRecords, m.onceBytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *stateMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	states := map[TaskState]int{TaskPending: 0, TaskRunning: 0, TaskDraining: 0, TaskFailing: 0, TaskStopped: 0, TaskRefused: 0, TaskFinished: 0}
	for _, t := range m.supervisor.Tasks() {
		states[t.State]++
		if t.Task == nil {
			continue
		}
		gauge(m.taskInfo, 1, t.Name, t.Task.Topic, t.Source)
		if t.State == TaskStopped { // nobody looks at its files
			continue
		}
		gauge(m.lagBytes, float64(t.LagBytes), t.Name)
		gauge(m.oldestUnacked, t.LagSeconds, t.Name)
		gauge(m.buffered, float64(t.BufferedBytes), t.Name)
		if t.states == nil {
			t.states = noFiles
		}
		for st, n := range t.states {
			gauge(m.files, float64(n), t.Name, string(st))
		}
		if o := t.Once; o != nil {
			gauge(m.onceFinished, boolValue(!o.Finished.IsZero()), t.Name)
			gauge(m.onceRecords, float64(o.Records), t.Name)
			gauge(m.onceBytes, float64(o.Bytes), t.Name)
		}
	}
	for st, n := range states {
		gauge(m.tasks, float64(n), string(st))
	}
	gauge(m.reloadOK, boolValue(m.supervisor.ReloadOK()))
	if connected, configured := m.etcd(); configured {
		gauge(m.etcdConnected, boolValue(connected))
	}
	if reg, configured := m.fleet(); configured {
		gauge(m.registered, boolValue(reg.Registered))
		gauge(m.idClash, boolValue(reg.Clash != nil))
	}
	if waves, leads, configured := m.rollouts(); configured {
		for _, w := range waves {
			gauge(m.rolloutWave, float64(w.Wave), w.Task, string(w.Phase))
		}
		gauge(m.rolloutLeader, boolValue(leads))
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
