package faults

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// scenario is one way in which the world breaks.
type scenario struct {
	name  string // kebab-case; `make faults SCENARIO=name`
	quick bool   // part of make test
	run   func(w *world)
}

// scenarios is every group of them, in the order of the table.
var scenarios = slices.Concat(
	rotationScenarios,
	copyScenarios,
	crashScenarios,
	kafkaScenarios,
	etcdScenarios,
	hostScenarios,
	brokerScenarios,
	logrotateScenarios,
)

// chosen is which scenarios this run is about: all of them with the writer that
// was asked for, or the selection of make test, in which those about Kafka run
// with the other writer too.
func chosen() []scenario {
	if *all {
		return scenarios
	}
	var out []scenario
	for _, s := range scenarios {
		if s.quick {
			out = append(out, s)
		}
	}
	for _, s := range slices.Concat(kafkaScenarios, brokerScenarios) {
		if s.quick {
			out = append(out, scenario{s.name + "-async", true, func(w *world) {
				w.Setenv("LOGFERRY_KAFKA_PRODUCER", "async")
				s.run(w)
			}})
		}
	}
	return out
}

// row is what one scenario showed.
type row struct {
	name                               string
	written                            uint64
	arrived                            int64
	lost, garbled, doubled, outOfOrder int64
	allowed                            int64 // doubles that a kill explains
	recovery                           time.Duration
	failed                             bool
}

// TestFaults runs the scenarios one after the other and prints a row for each.
func TestFaults(t *testing.T) {
	var rows []row
	t.Cleanup(func() { printRows(rows) })
	seen := map[string]bool{}
	for _, s := range chosen() {
		if seen[s.name] {
			t.Fatalf("two scenarios are named %s", s.name)
		}
		seen[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t)
			defer func() {
				w.row.name, w.row.failed = s.name, t.Failed()
				rows = append(rows, w.row)
			}()
			s.run(w)
			w.conclude()
		})
	}
}

func printRows(rows []row) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "scenario\twritten\tarrived\tlost\tgarbled\tdoubled\tout of order\trecovery\t")
	for _, r := range rows {
		verdict := ""
		if r.failed {
			verdict = "FAILED"
		}
		doubled := fmt.Sprint(r.doubled)
		if r.allowed > 0 {
			doubled += fmt.Sprintf(" (≤ %d after the kill)", r.allowed)
		}
		recovery := "-"
		if r.recovery > 0 {
			recovery = r.recovery.Round(time.Millisecond).String()
		}
		_, _ = fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%s\t%d\t%s\t%s\n",
			r.name, r.written, r.arrived, r.lost, r.garbled, doubled, r.outOfOrder, recovery, verdict)
	}
	_ = tw.Flush()
	_, _ = fmt.Fprint(os.Stdout, b.String())
}
