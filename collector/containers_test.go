package collector

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
)

// containers takes every file for the log of a container, whose parts wait for this long.
func containers(quiet time.Duration) option {
	return with(func(c *Config) {
		k := &frame.Containers{Format: frame.Container, Apart: time.Minute}
		c.Wrapped, c.GroupQuiet = func(string) *frame.Containers { return k }, quiet
	})
}

// cri is a line of a container's log.
func cri(stream, flag, text string) string {
	return "2026-03-01T08:00:01.5Z " + stream + " " + flag + " " + text + "\n"
}

func TestThePartsOfAContainersLineAreJoinedAcrossRestartsAndLateWritesToARotatedFile(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.cfg.RotateWait = time.Hour
		w.write("a.log", cri("stdout", "F", "first")+cri("stdout", "P", "one, ")+cri("stderr", "F", "between"))
		a := w.start(containers(time.Hour))
		a.want("a.log", "first")
		a.settled()
		require.Equal(t, int64(len(cri("stdout", "F", "first"))), a.c.Files()[0].Committed, "it stays before the part")
		a.stop()

		w.write("a.log", cri("stdout", "P", "two, ")[:20])
		a = w.start(containers(time.Hour))
		a.settled()
		w.rename("a.log", "a.log.1")
		w.write("a.log", cri("stdout", "F", "next file"))
		w.write("a.log.1", cri("stdout", "P", "two, ")[20:]+cri("stdout", "F", "three"))
		a.want("a.log", "one, two, three", "between", "next file")
		a.settled()
		require.Zero(t, testutil.ToFloat64(a.metrics.containers.WithLabelValues("web", "unfinished")))
	})
}

func TestAPartWhoseRestNeverComesIsSentAfterItsTimeAndCounted(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", cri("stdout", "P", "a prompt: ")+"no line of a container\n")
		a := w.start(containers(20 * time.Millisecond))
		a.want("a.log", "a prompt: ", "no line of a container")
		a.settled()
		require.Equal(t, 1.0, testutil.ToFloat64(a.metrics.containers.WithLabelValues("web", "unfinished")))
		require.Equal(t, 1.0, testutil.ToFloat64(a.metrics.containers.WithLabelValues("web", "foreign")))
	})
}

func TestContainerLogsAreTheSameThroughTruncationsRotationsAndRestarts(t *testing.T) {
	throughEverything(t, func() option { return containers(200 * time.Millisecond) }, func(n int) (text string, records []string) {
		out, err := fmt.Sprintf("out %d one, two", n), fmt.Sprintf("err %d", n)
		text = cri("stdout", "P", out[:len(out)-5]) + cri("stderr", "F", err) + cri("stdout", "F", out[len(out)-5:])
		return text, []string{out, err}
	})
}

func TestALineWhosePartsStandInTwoFilesIsJoinedAcrossTheRotation(t *testing.T) {
	inBothModes(t, func(t *testing.T, w *world) {
		w.write("a.log", cri("stdout", "F", "first")+cri("stdout", "P", "one, ")+cri("stderr", "F", "between"))
		a := w.start(containers(300 * time.Millisecond))
		a.want("a.log", "first")
		w.rename("a.log", "a.log.1")
		w.write("a.log", cri("stdout", "P", "two, ")+cri("stderr", "F", "also between")+cri("stdout", "F", "three")+cri("stdout", "F", "last"))
		a.want("a.log", "first", "one, two, three", "between", "also between", "last")
		a.settled()
		require.Zero(t, testutil.ToFloat64(a.metrics.containers.WithLabelValues("web", "unfinished")))
		held, _, _ := a.budget.now()
		require.Zero(t, held)
		a.stop()
		a = w.start(containers(10 * time.Millisecond))
		a.settled()
		require.Zero(t, a.count(), "nothing comes again")
		a.stop()

		// The agent is stopped before the next file is there, and again before its rest is delivered.
		w.write("a.log", cri("stdout", "P", "four, "))
		a = w.start(containers(time.Hour))
		a.settled()
		a.stop()
		w.rename("a.log", "a.log.2")
		w.write("a.log", cri("stdout", "F", "five")+cri("stdout", "P", "six, "))
		a = w.start(containers(100*time.Millisecond), acking(ackNever))
		a.want("a.log", "four, five", "six, ")
		a.stop()
		a = w.start(containers(100 * time.Millisecond))
		a.want("a.log", "four, five", "six, ")
		a.settled()
	})
}

func TestALineIsJoinedAcrossTheRotationOfAFileThatWasWrittenToWithoutARest(t *testing.T) {
	w := newWorld(t, false)
	w.write("a.log", cri("stdout", "P", "one, "))
	a := w.start(containers(time.Second))
	begun := time.Now()
	rest := w.keepWriting("a.log") // the open part keeps what is written behind it waiting, and no moment is quiet
	a.until("that has gone on for longer than a rotated file is waited for", func() bool { return time.Since(begun) > 1200*time.Millisecond })
	rest()
	w.rename("a.log", "a.log.1")
	w.write("a.log", cri("stdout", "F", "two")+cri("stdout", "F", "last"))
	path := w.path("a.log")
	a.until("the last line", func() bool { l := a.lines(path); return len(l) > 0 && l[len(l)-1] == "last" })
	require.Equal(t, "one, two", a.lines(path)[0])
	a.settled()
}
