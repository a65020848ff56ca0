package proc

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const patience = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs a script until it ends or the test does.
func shell(t *testing.T, script string, line func(string)) *Proc {
	t.Helper()
	p, err := Start(Command{Args: []string{"sh", "-c", script}, Env: []string{"GREETING=hello"}, Dir: t.TempDir()}, line)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Stop(0) })
	return p
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		require.FailNow(t, "it does not end")
	}
}

func TestStatIsReadWhateverTheProgramIsCalled(t *testing.T) {
	const rest = " S 7 42 7 0 -1 4194304 100 200 0 0 150 50 20 5 20 0 1 0 100 1000 10 18446744073709551615"
	for _, name := range []string{"sh", "a b", ") S 1 1", "(x) "} {
		got, err := parseStat([]byte("123 (" + name + ")" + rest))
		require.NoError(t, err)
		require.Equal(t, stat{pid: 123, parent: 7, group: 42, own: 2 * time.Second, waited: 250 * time.Millisecond}, got, name)
	}
	for _, bad := range []string{"", "123", "123 (sh) S 1", "123 (sh) S x 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		_, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestMemoryIsReadInBytes(t *testing.T) {
	rss, peak := parseMemory([]byte("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n"))
	require.EqualValues(t, 1<<20, rss)
	require.EqualValues(t, 2<<20, peak)
}

func TestTimesOfThreadsAreInNanoseconds(t *testing.T) {
	require.Equal(t, 1500*time.Microsecond, parseSchedstat([]byte("1500000 77 3\n")))
	require.Zero(t, parseSchedstat([]byte("")))
	require.Zero(t, threads(1<<30))
	if _, err := os.Stat("/proc/self/schedstat"); err == nil {
		require.Positive(t, threads(os.Getpid()))
	}
}

func TestATreeIsTheProgramItsDescendantsAndItsGroup(t *testing.T) {
	all := []stat{
		{pid: 1, group: 1}, {pid: 30, parent: 20, group: 99}, {pid: 20, parent: 10, group: 10},
		{pid: 10, parent: 1, group: 10}, {pid: 40, parent: 1, group: 10}, {pid: 50, parent: 1, group: 50},
	}
	var pids []int
	for _, s := range members(10, all) {
		pids = append(pids, s.pid)
	}
	require.ElementsMatch(t, []int{10, 20, 30, 40}, pids)
}

func TestTheCostOfChildrenCounts(t *testing.T) {
	ready := make(chan struct{})
	p := shell(t, `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done & wait $!; echo ready; sleep 60 & wait`, func(string) { close(ready) })
	wait(t, ready)
	u, err := p.Usage()
	require.NoError(t, err)
	require.Greater(t, u.CPU, 20*time.Millisecond, "the loop ran in a child that has ended")
	require.Positive(t, u.RSS)
	require.GreaterOrEqual(t, u.PeakRSS, u.RSS)
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	line := make(chan string, 10)
	p := shell(t, `sleep 60 & echo $!; trap '' TERM; echo $GREETING; while :; do wait; sleep 1; done`, func(s string) { line <- s })
	child := <-line
	require.Equal(t, "hello", <-line)
	require.Error(t, p.Stop(50*time.Millisecond), "it ignores SIGTERM")
	wait(t, p.Done())
	require.Contains(t, p.Output(), "hello")
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(filepath.Join("/proc", child, "stat"))
		return err != nil || strings.Contains(string(b), ") Z ")
	}, patience, time.Millisecond)
	_, err := p.Usage()
	require.Error(t, err)
}

func TestAProgramThatEndsTellsHowAndWhatItCost(t *testing.T) {
	p := shell(t, "echo last words; exit 78", nil)
	wait(t, p.Done())
	require.Equal(t, 78, p.ExitCode())
	require.Equal(t, "last words", p.Output())
	require.Positive(t, p.Spent())

	p = shell(t, "kill -TERM $$", nil)
	wait(t, p.Done())
	require.Equal(t, -1, p.ExitCode())

	_, err := Start(Command{Args: []string{filepath.Join(t.TempDir(), "missing")}}, nil)
	require.ErrorIs(t, err, syscall.ENOENT)
}
