package localkafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// helperArg makes the test binary start a cluster, print its directory and the
// broker's process id, and wait to be killed.
const helperArg = "start-kafka-and-wait"

func runHelper() {
	c, err := Start(context.Background(), Config{Dir: os.Getenv("HELPER_DIR")})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	pid, _ := c.PID(0)
	fmt.Println(pid)
	select {}
}

// needKafka skips where kafkatest would: that package is built on this one.
func needKafka(t *testing.T) {
	t.Helper()
	_, err := findJava()
	if err == nil {
		_, err = Libs(t.Context())
	}
	if errors.Is(err, ErrUnavailable) && !Required() {
		fmt.Fprintf(os.Stderr, "SKIPPED (no Java): %s: %v\n", t.Name(), err)
		t.Skip(err)
	}
	require.NoError(t, err)
}

func TestNoJavaOutlivesTheProcessThatStartedIt(t *testing.T) {
	needKafka(t)
	cmd := exec.Command(os.Args[0], helperArg)
	cmd.Env = append(os.Environ(), "HELPER_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	require.NoError(t, syscall.Kill(pid, 0), "the broker runs")

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	require.Eventually(t, func() bool { return !alive(pid) }, time.Minute, 20*time.Millisecond)
}

// alive is false for a zombie too: who reaps an orphan is not ours to say.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestAPortThatIsTakenIsToldFromOtherFailures(t *testing.T) {
	needKafka(t)
	c, err := prepare(t.Context(), Config{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	n := c.nodes[0]
	require.NoError(t, n.reservePorts(0))
	l, err := net.Listen("tcp4", n.addr())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, c.format(t.Context(), n))
	require.NoError(t, c.launch(n))

	require.ErrorIs(t, n.waitReady(t.Context(), 1), errPortTaken)
}

func TestABadPropertyEndsTheStartWithKafkasOwnWords(t *testing.T) {
	needKafka(t)
	dir := t.TempDir()
	_, err := Start(t.Context(), Config{Dir: dir, Properties: map[string]string{"num.network.threads": "minus one"}})
	require.ErrorContains(t, err, "num.network.threads")
}

func TestCloseEndsTheProcessAndRemovesATemporaryDirectory(t *testing.T) {
	needKafka(t)
	t.Setenv("TMPDIR", t.TempDir())
	c, err := Start(t.Context(), Config{})
	require.NoError(t, err)
	pid, err := c.PID(0)
	require.NoError(t, err)
	log, err := c.LogFile(0)
	require.NoError(t, err)
	require.FileExists(t, log)
	require.NoError(t, c.Pause(0))

	require.NoError(t, c.Close())
	require.NoError(t, c.Close())

	require.False(t, alive(pid))
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	state, err := c.State(0)
	require.NoError(t, err)
	require.Equal(t, Down, state)
}

func TestNodesThatDoNotExistOrRunAreRefused(t *testing.T) {
	c := &Cluster{nodes: []*node{{}}}
	require.ErrorContains(t, c.Kill(1), "no kafka node 1")
	require.ErrorContains(t, c.Kill(-1), "no kafka node -1")
	require.ErrorContains(t, c.Pause(0), "it is not running")
}
