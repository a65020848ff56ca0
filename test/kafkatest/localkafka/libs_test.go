package localkafka

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const kafkaJar = "kafka_2.13-" + Version + ".jar"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == helperArg {
		runHelper()
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// fakeMaven puts a script named mvn in front of PATH. Each run adds a line to
// the returned file and leaves the given jar in the output directory.
func fakeMaven(t *testing.T, jar, exit string) (runs string) {
	t.Helper()
	dir := t.TempDir()
	runs = filepath.Join(dir, "runs")
	script := fmt.Sprintf(`#!/bin/sh
echo run >> %s
for a in "$@"; do case $a in -DoutputDirectory=*) out=${a#-DoutputDirectory=};; esac; done
mkdir -p "$out" && touch "$out/%s"
echo no such artifact
exit %s
`, runs, jar, exit)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mvn"), []byte(script), 0o755))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return runs
}

func TestThePomNamesTheVersionThatIsAskedFor(t *testing.T) {
	require.Equal(t, 2, strings.Count(string(pom), "<version>"+Version+"</version>"))
}

func TestJarsAreFetchedOnceByManyCallers(t *testing.T) {
	runs := fakeMaven(t, kafkaJar, "0")
	dir := filepath.Join(t.TempDir(), "below", "libs")
	t.Setenv(LibsEnv, dir)

	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = Libs(t.Context()) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}

	require.FileExists(t, filepath.Join(dir, kafkaJar))
	b, err := os.ReadFile(runs)
	require.NoError(t, err)
	require.Equal(t, "run\n", string(b))
}

func TestAFailedFetchLeavesNothingBehind(t *testing.T) {
	for _, tc := range []struct{ name, jar, exit, want string }{
		{"maven fails", kafkaJar, "1", "no such artifact"},
		{"other jars", "other.jar", "0", "holds no " + kafkaJar},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fakeMaven(t, tc.jar, tc.exit)
			parent := t.TempDir()
			t.Setenv(LibsEnv, filepath.Join(parent, "libs"))

			_, err := Libs(t.Context())
			require.ErrorContains(t, err, tc.want)
			require.NotErrorIs(t, err, ErrUnavailable)

			left, err := filepath.Glob(filepath.Join(parent, "*"))
			require.NoError(t, err)
			require.Equal(t, []string{filepath.Join(parent, "libs.lock")}, left)
		})
	}
}

func TestJarsThatAreThereNeedNoMaven(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(LibsEnv, dir)
	t.Setenv("PATH", "")

	_, err := Libs(t.Context())
	require.ErrorIs(t, err, ErrUnavailable, "an empty directory is to be filled")

	require.NoError(t, os.WriteFile(filepath.Join(dir, kafkaJar), nil, 0o644))
	got, err := Libs(t.Context())
	require.NoError(t, err)
	require.Equal(t, dir, got)
}

func TestADirectoryWithOtherContentIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "precious"), nil, 0o644))
	t.Setenv(LibsEnv, dir)

	_, err := Libs(t.Context())
	require.ErrorContains(t, err, "holds no "+kafkaJar)
	require.FileExists(t, filepath.Join(dir, "precious"))
}

func TestWithoutJavaStartSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv("JAVA_HOME", "")
	_, err := Start(t.Context(), Config{})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "install a JRE 17")
}
