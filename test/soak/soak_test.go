// Package soak breaks the world around the agent at random for as long as one
// likes, and then counts what arrived, and what the agent has kept.
//
// A seed and a duration make the plan: `make soak DURATION=10m SEED=7` does the
// same things at the same times, as far as the machine keeps up.
package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/agenttest"
	"logferry/test/kafkatest"
	"logferry/test/kafkatest/kafkaread"
	"logferry/test/verify"
)

const (
	taskName = "soak"
	// doubledByACrash bounds the lines that may come again each time that
	// acknowledgements are lost: 24 MiB, as the fault scenarios have it.
	doubledByACrash = 24 << 20 / 189
	maxRSS          = 128 << 20
	// slack is what descriptors and goroutines may differ by between two quiet
	// agents: connections and timers that come and go.
	slack       = 12
	sampleEvery = 250 * time.Millisecond
)

// soak is the world of one run.
type soak struct {
	*testing.T
	dir     string
	kafka   *kafkatest.Cluster
	topic   string
	agent   *agenttest.Process // nil while it is stopped
	writers []*writer

	uncertain int     // times that acknowledgements may have been lost
	samples   []int64 // resident bytes of the agent that runs
	peak      int64
	did       map[kind]int
}

func TestRandomFaultsLoseNothingAndLeaveNothingBehind(t *testing.T) {
	d, s := *duration, *seed
	switch {
	case d == 0 && testing.Short():
		t.Skip("takes half a minute")
	case d == 0:
		d, s = shortDuration, max(s, shortSeed)
	case s == 0:
		s = rand.Uint64N(1 << 32)
	}
	fmt.Printf("soak: again with `make soak DURATION=%s SEED=%d`\n", d, s)
	p := newPlan(s, d)
	require.Equal(t, p, newPlan(s, d), "a seed makes one plan")
	w := newSoak(t, p.streams)
	atRest := w.rest()
	w.follow(p)
	w.settle(atRest)
}

func newSoak(t *testing.T, streams int) *soak {
	w := &soak{T: t, dir: t.TempDir(), kafka: kafkatest.Start(t), did: map[kind]int{}}
	w.topic = w.kafka.NewTopic(t, 3)
	w.writeFile("agent.yaml", fmt.Sprintf(`
state_dir: %[1]s/state
http: {listen: 127.0.0.1:0}
kafka: {brokers: [%[2]s]}
tasks: {files: [%[1]s/tasks.d/*.yaml]}
shutdown_timeout: 2s
`, w.dir, w.kafka.Brokers()[0]))
	w.editTask(0)
	for i := range streams {
		l := agenttest.NewLogWriter(t, filepath.Join(w.dir, "logs", fmt.Sprintf("app-%d.log", i)), uint16(i+1))
		l.Write(100)
		w.writers = append(w.writers, startWriter(l))
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, wr := range w.writers {
				select {
				case <-wr.quit:
				default:
					wr.stop()
				}
			}
		}
	})
	w.startAgent()
	return w
}

// writeFile puts a whole file in place at once.
func (w *soak) writeFile(name, text string) {
	w.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(w, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(w, os.Rename(path+".new", path))
}

// editTask writes a version of the task. All of them collect the same files.
func (w *soak) editTask(n int) {
	w.Helper()
	pick := func(values ...string) string {
		v := values[n%len(values)]
		n /= len(values)
		return v
	}
	w.writeFile("tasks.d/"+taskName+".yaml", fmt.Sprintf(
		"paths: [%s/logs/*.log]\ntopic: %s\nrotate_wait: %s\nclose_inactive: %s\npoll: %s\npoll_interval: %s\n",
		w.dir, w.topic, pick("500ms", "1s", "2s"), pick("1s", "5m"), pick("false", "true"), pick("100ms", "300ms")))
}

func (w *soak) startAgent() {
	w.Helper()
	w.agent = agenttest.Start(w.T, "--config", filepath.Join(w.dir, "agent.yaml"))
	w.samples = nil
}

// usage is what a process holds.
type usage struct{ descriptors, goroutines int }

// rest waits until the agent has delivered everything, let go what was rotated
// away, and holds as little as it will.
func (w *soak) rest() usage {
	w.Helper()
	w.agent.WaitCommitted(taskName)
	var u usage
	agenttest.Eventually(w.T, "the agent holds one file a stream", agenttest.Patience, func() bool {
		files := w.agent.Files(taskName)
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.agent.PID()))
		require.NoError(w, err)
		u = usage{len(entries), int(w.agent.Metric("go_goroutines"))}
		return len(files) == len(w.writers)
	})
	return u
}

// follow does what the plan says, and looks at the agent in between.
func (w *soak) follow(p plan) {
	w.Helper()
	began := time.Now()
	look := time.NewTicker(sampleEvery)
	defer look.Stop()
	for _, e := range p.events {
		for due := time.After(time.Until(began.Add(e.at))); due != nil; {
			select {
			case <-look.C:
				w.sample()
			case <-due:
				due = nil
			}
		}
		w.do(e)
	}
}

func (w *soak) do(e event) {
	w.Helper()
	if *duration > 0 && testing.Verbose() && e.kind != setRate && e.kind != burst && e.kind != rename {
		w.Log(e)
	}
	w.did[e.kind]++
	wr := w.writers[e.stream]
	switch e.kind {
	case setRate:
		wr.rate.Store(int64(e.n))
	case burst:
		wr.burst(e.n)
	case rename:
		wr.rename()
	case terminate:
		w.agent.Terminate()
		w.ended()
	case kill:
		w.agent.Kill()
		w.uncertain++
		w.ended()
	case start:
		w.startAgent()
	case edit:
		w.editTask(e.n)
		if w.agent != nil {
			w.agent.Signal(syscall.SIGHUP)
		}
	case pauseBroker:
		w.kafka.Pause(w.T, 0)
	case killBroker:
		w.kafka.Kill(w.T, 0)
	case resume:
		w.kafka.Continue(w.T, 0)
	case restart:
		w.kafka.Restart(w.T, 0)
	}
}

// ended notes how often the agent that has ended could not wait for its
// acknowledgements: at an edit or at its end, with the broker away or slow.
func (w *soak) ended() {
	w.uncertain += strings.Count(w.agent.Log(), "not everything was acknowledged in time")
	w.agent = nil
}

// sample notes what the agent holds in memory.
func (w *soak) sample() {
	w.Helper()
	if w.agent == nil {
		return
	}
	rss := residentBytes(w.T, w.agent.PID())
	w.samples = append(w.samples, rss)
	w.peak = max(w.peak, rss)
}

func residentBytes(t testing.TB, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	require.NoError(t, err)
	var size, resident int64
	_, err = fmt.Sscan(string(b), &size, &resident)
	require.NoError(t, err)
	return resident * int64(os.Getpagesize())
}

// settle ends the faults, waits for the last line, and judges.
func (w *soak) settle(atRest usage) {
	w.Helper()
	c := verify.New()
	var written uint64
	for i, wr := range w.writers {
		wr.stop()
		c.Expect(uint16(i+1), 0, wr.log.Next)
		written += wr.log.Next
	}
	r, err := kafkaread.Open(w.kafka.Brokers(), w.topic)
	require.NoError(w, err)
	defer func() { require.NoError(w, r.Close()) }()
	drain := func() {
		require.NoError(w, r.Drain(w.Context(), func(rec kafkaread.Record) error {
			c.Add(rec.Partition, rec.Offset, rec.Value)
			return nil
		}))
	}
	ended := time.Now()
	for deadline := ended.Add(2 * agenttest.Patience); ; <-time.After(20 * time.Millisecond) {
		if drain(); c.Report().Complete() {
			break
		}
		require.True(w, time.Now().Before(deadline), "not every line arrived: %s", c.Report())
	}
	caughtUp := time.Since(ended)
	held := w.rest()
	w.agent.Terminate()
	w.ended()
	drain()
	rep := c.Report()
	allowed := int64(w.uncertain) * doubledByACrash
	fmt.Printf("soak: %s\n", w.deeds())
	fmt.Printf("soak: written %d, arrived %d, lost %d, garbled %d, doubled %d (≤ %d after %d lost acknowledgements), out of order %d, caught up in %s\n",
		written, rep.Delivered, rep.Lost, rep.Garbled, rep.Doubled, allowed, w.uncertain, rep.OutOfOrder, caughtUp.Round(time.Millisecond))
	fmt.Printf("soak: peak RSS %d MiB; at rest %d descriptors (%d at first), %d goroutines (%d at first)\n",
		w.peak>>20, held.descriptors, atRest.descriptors, held.goroutines, atRest.goroutines)
	require.NoError(w, rep.Err(allowed))
	w.flat()
	require.LessOrEqual(w, held.descriptors, atRest.descriptors+slack, "descriptors are leaked")
	require.LessOrEqual(w, held.goroutines, atRest.goroutines+slack, "goroutines are leaked")
}

// flat demands that the memory of the last agent does not grow.
func (w *soak) flat() {
	w.Helper()
	require.Less(w, w.peak, int64(maxRSS))
	half := len(w.samples) / 2
	if half < 40 {
		return // too short to tell growth from warming up
	}
	top := func(samples []int64) (most int64) {
		for _, s := range samples {
			most = max(most, s)
		}
		return most
	}
	require.Less(w, top(w.samples[half:]), top(w.samples[:half])+32<<20, "memory grows")
}

func (w *soak) deeds() string {
	var out []string
	for _, k := range []kind{setRate, burst, rename, edit, terminate, kill, start, pauseBroker, killBroker} {
		out = append(out, fmt.Sprintf("%s %d", k, w.did[k]))
	}
	return fmt.Sprintf("%d streams, %s", len(w.writers), strings.Join(out, ", "))
}
