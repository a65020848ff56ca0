package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"logferry/test/kafkatest/localkafka"
)

// machine describes where the numbers were measured.
func machine(now time.Time) string {
	return fmt.Sprintf("%s · %s · Linux %s · %s · Apache Kafka %s (one process a broker, on the same machine) · %s",
		cpuModel(readFile("/proc/cpuinfo")), plural(runtime.NumCPU(), "core"), kernel(), runtime.Version(), localkafka.Version, now.UTC().Format("2006-01-02"))
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// busy is the load average of the last minute: what else the machine does.
func busy() string {
	load, _, _ := strings.Cut(readFile("/proc/loadavg"), " ")
	return load
}

func readFile(path string) string {
	b, _ := os.ReadFile(path) // what is missing is not described
	return string(b)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
