package idle

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inside says that the test's program is to be the one that calls Slack.
const inside = "IDLE_TEST_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(tellSlack())
	}
	os.Exit(m.Run())
}

// tellSlack prints the process id before and after, and the slack of a thread
// that the runtime makes now.
func tellSlack() int {
	fmt.Println("pid", os.Getpid())
	if err := Slack(); err != nil {
		fmt.Println("error", err)
		return 1
	}
	told := make(chan string)
	go func() {
		runtime.LockOSThread() // ends the thread as well: it is a new one
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		told <- fmt.Sprintln("slack", n, err)
	}()
	fmt.Print(<-told)
	return 0
}

func tell(t *testing.T, env ...string) []string {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), program, "run")
	cmd.Env = append(append(os.Environ(), inside+"=1"), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestSlackIsThatOfThreadsToComeAndTheProcessStaysTheSame(t *testing.T) {
	lines := tell(t)
	require.Len(t, lines, 3, "the program begins once more, and only once: %q", lines)
	require.Equal(t, lines[0], lines[1])
	require.Equal(t, fmt.Sprint("slack ", slack.Nanoseconds(), " <nil>"), lines[2])
}

func TestSlackThatWasChosenOtherwiseStays(t *testing.T) {
	lines := tell(t, slackSet+"=none")
	require.Len(t, lines, 2, "%q", lines)
	require.Equal(t, fmt.Sprint("slack ", defaultSlack.Nanoseconds(), " <nil>"), lines[1])
}
