// Command report prints the outcome of `go test -json`: each package's
// closing line, the output of what failed, what was skipped and why, and how
// many tests ran against real Kafka and real etcd.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type key struct{ pkg, test string }

// Marks that test/kafkatest and test/etcdtest print for each test that gets a
// real server.
const (
	markKafka = "using real Apache Kafka"
	markEtcd  = "using real etcd"
)

type report struct {
	output                  map[key][]string
	passed, failed, skipped int
	kafka, etcd             map[key]bool
	skips                   []string
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: report FILE (the output of go test -json)")
		os.Exit(2)
	}
	f, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	defer func() { _ = f.Close() }()
	r := report{output: map[key][]string{}, kafka: map[key]bool{}, etcd: map[key]bool{}}
	r.read(f, os.Stdout)
	r.close(os.Stdout)
	if r.failed > 0 {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader, w io.Writer) {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			_, _ = fmt.Fprintln(w, sc.Text()) // a build error, as go prints it
			continue
		}
		r.take(e, w)
	}
}

func (r *report) take(e event, w io.Writer) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		r.note(k, e.Output)
		r.output[k] = append(r.output[k], e.Output)
		if e.Action == "build-output" {
			_, _ = fmt.Fprint(w, e.Output)
		}
	case "pass", "fail", "skip":
		r.finish(k, e.Action, w)
	}
}

func (r *report) note(k key, out string) {
	root := key{k.pkg, strings.SplitN(k.test, "/", 2)[0]}
	if strings.Contains(out, markKafka) {
		r.kafka[root] = true
	}
	if strings.Contains(out, markEtcd) {
		r.etcd[root] = true
	}
}

func (r *report) finish(k key, action string, w io.Writer) {
	lines := r.output[k]
	delete(r.output, k)
	if k.test == "" { // the package itself: its closing line stands last
		if action == "fail" {
			_, _ = fmt.Fprint(w, strings.Join(lines, ""))
		} else if n := len(lines); n > 0 {
			_, _ = fmt.Fprint(w, lines[n-1])
		}
		if action == "fail" {
			r.failed++
		}
		return
	}
	switch action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
		r.skips = append(r.skips, fmt.Sprintf("%s %s: %s", k.pkg, k.test, reason(lines)))
	case "fail":
		r.failed++
		_, _ = fmt.Fprint(w, strings.Join(lines, ""))
	}
}

func reason(lines []string) string {
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "===") && !strings.HasPrefix(l, "---") {
			return l
		}
	}
	return "no reason given"
}

func (r *report) close(w io.Writer) {
	for _, s := range r.skips {
		_, _ = fmt.Fprintln(w, "SKIPPED", s)
	}
	_, _ = fmt.Fprintf(w, "tests with real Apache Kafka: %d, with real etcd: %d\n", len(r.kafka), len(r.etcd))
	_, _ = fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
