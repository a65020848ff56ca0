package localkafka

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the release of Apache Kafka that pom.xml names.
const Version = "4.1.0"

// LibsEnv names the environment variable that says where Kafka's jars are
// kept. The directory is used as it is when it holds them, and made when it
// does not exist.
const LibsEnv = "LOGFERRY_KAFKA_LIBS"

// ErrUnavailable is in the error chain when this machine lacks what a broker
// needs (Java, or Maven to fetch the jars once). Everything else that goes
// wrong is a failure, not a lack.
var ErrUnavailable = errors.New("real Kafka is not available here")

// Required says whether the environment forbids to do without real brokers:
// with CI=true or LOGFERRY_REQUIRE_REAL=1.
func Required() bool { return envSet("CI") || envSet("LOGFERRY_REQUIRE_REAL") }

func envSet(name string) bool {
	v := os.Getenv(name)
	return v != "" && v != "0" && v != "false"
}

//go:embed pom.xml
var pom []byte

const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

// findJava returns the java executable: JAVA_HOME's, else the PATH's.
func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if java, err := exec.LookPath(filepath.Join(home, "bin", "java")); err == nil {
			return java, nil
		}
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("%w: no java in PATH or JAVA_HOME; install a JRE 17 or later", ErrUnavailable)
	}
	return java, nil
}

// Libs returns a directory that holds the jars of Apache Kafka. They are
// fetched with Maven at the first call on a machine (54 MB) and kept in the
// user's cache directory, or where LibsEnv says. Several processes may call it
// at once.
func Libs(ctx context.Context) (string, error) {
	dir, err := libsDir()
	if err != nil {
		return "", err
	}
	if ok, err := holdsKafka(dir); ok || err != nil {
		return dir, err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("%w: no mvn in PATH to fetch Kafka's jars into %s; install Maven, or set %s to a directory that holds them",
			ErrUnavailable, dir, LibsEnv)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make directory for kafka jars: %w", err)
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("wait for another process that fetches kafka jars: %w", err)
	}
	defer unlock()
	if ok, err := holdsKafka(dir); ok || err != nil {
		return dir, err
	}
	if err := fetch(ctx, mvn, dir); err != nil {
		return "", fmt.Errorf("fetch kafka jars: %w", err)
	}
	return dir, nil
}

func libsDir() (string, error) {
	if dir := os.Getenv(LibsEnv); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for kafka jars (set %s): %w", LibsEnv, err)
	}
	sum := sha256.Sum256(pom)
	return filepath.Join(cache, "logferry", fmt.Sprintf("kafka-%s-%x", Version, sum[:6])), nil
}

// holdsKafka is an error for a directory that holds something else: it is not
// ours to replace.
func holdsKafka(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read directory of kafka jars: %w", err)
	}
	jar := "kafka_2.13-" + Version + ".jar"
	for _, e := range entries {
		if e.Name() == jar {
			return true, nil
		}
	}
	if len(entries) == 0 {
		return false, nil
	}
	return false, fmt.Errorf("directory %s holds no %s: remove it, or point %s elsewhere", dir, jar, LibsEnv)
}

// fetch copies the jars beside dir and renames them into place, so that dir
// is complete whenever it exists.
func fetch(ctx context.Context, mvn, dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "kafka-fetch-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	pomFile := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(pomFile, pom, 0o644); err != nil {
		return err
	}
	libs := filepath.Join(tmp, "libs")
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", pomFile, copyDependencies, "-DoutputDirectory="+libs)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, lastBytes(out, 2048))
	}
	if ok, err := holdsKafka(libs); !ok {
		return errors.Join(fmt.Errorf("%s: kafka's jars are not among what came", cmd), err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(libs, dir)
}

// lockFile takes an exclusive lock that the kernel drops with the process.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-tick.C:
		}
	}
}

func lastBytes(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
