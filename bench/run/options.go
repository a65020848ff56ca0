package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// sections are the parts of the benchmark, in the order in which they run:
// latencies stand in the main table too, and the cluster is exchanged only at
// the end.
var sections = []string{"latency", "main", "lines", "files", "partitions", "topics", "codec", "features", "quiet", "brokers"}

// options are the flags.
type options struct {
	sections   []string
	contenders []string // of latency and main
	scaling    []string // of all other sections
	rows       []string // of the scaling sections, beside their first rows: those whose labels hold one of these; nil: all
	agent      string   // start script of another agent; empty: none
	logferry   string   // binary to measure; empty: build it
	dir        string   // where data is made
	update     string   // document whose results are replaced; empty: none

	lines      int64 // of the main section
	scaleLines int64 // of the scaling sections: their bytes are those of so many lines
	rounds     int
	scale      int // rounds of the scaling sections
	latency    time.Duration
	window     time.Duration
	quiet      []int // numbers of quiet files
	wake       int
}

// parseOptions reads the command line. Its error is flag.ErrHelp or one line
// for the user, which is already printed to out.
func parseOptions(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench/run", flag.ContinueOnError)
	fs.SetOutput(out)
	section := fs.String("section", strings.Join(sections, ","), "what to measure")
	contenders := fs.String("contenders", "tutorial,async,batch", "who runs in main and latency: tutorial, and any value of kafka.producer")
	scaling := fs.String("scale-contenders", "async,batch", "who runs in all other sections")
	rows := fs.String("rows", "", "of the scaling sections, the first row and those whose labels hold one of these, separated by commas (default: all)")
	fs.StringVar(&o.agent, "agent", "", "also time another agent, by a start script that gets LOGDIR, TOPIC, BROKERS and STATE_DIR and stays in the foreground")
	fs.StringVar(&o.logferry, "logferry", "", "logferry binary to measure (default: built from this tree)")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "directory for data; needs some gigabytes")
	fs.StringVar(&o.update, "update", "", "Markdown document whose results are replaced, section by section")
	fs.Int64Var(&o.lines, "lines", 3_000_000, "lines of 189 bytes in the section main")
	fs.Int64Var(&o.scaleLines, "scale-lines", 1_000_000, "lines of 189 bytes in the other sections, or as many bytes of other lines")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds of the sections latency and main; medians are shown")
	fs.IntVar(&o.scale, "scale-rounds", 3, "rounds of the other sections")
	fs.DurationVar(&o.latency, "latency", 15*time.Second, "how long 40 lines a second are appended in each round")
	fs.DurationVar(&o.window, "window", time.Minute, "how long quiet files are watched")
	quick := fs.Bool("quick", false, "small sizes and one round: for a look, not for numbers")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.quiet, o.wake = []int{10_000, 50_000}, 200
	if *quick {
		o.shrink(fs)
	}
	o.sections, o.contenders, o.scaling = split(*section), split(*contenders), split(*scaling)
	o.rows = split(*rows)
	if err := o.check(fs.Args()); err != nil {
		fmt.Fprintln(out, "bench/run:", err)
		return o, err
	}
	return o, nil
}

// shrink makes everything small that no flag has set.
func (o *options) shrink(fs *flag.FlagSet) {
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	for name, small := range map[string]string{
		"lines": "300000", "scale-lines": "100000", "rounds": "1", "scale-rounds": "1", "latency": "3s", "window": "5s",
	} {
		if !set[name] {
			_ = fs.Set(name, small) // the values are right
		}
	}
	o.quiet, o.wake = []int{1000}, 50
}

func (o *options) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	for _, s := range o.sections {
		if !slices.Contains(sections, s) {
			return fmt.Errorf("-section: %q is none of %s", s, strings.Join(sections, ", "))
		}
	}
	if o.lines < 1000 || o.scaleLines < 1000 || o.rounds < 1 || o.scale < 1 {
		return errors.New("-lines and -scale-lines must be at least 1000, rounds at least 1")
	}
	if o.latency < time.Second || o.window < time.Second {
		return errors.New("-latency and -window must be at least 1s")
	}
	return nil
}

func (o *options) wants(section string) bool { return slices.Contains(o.sections, section) }

// wantsRow tells whether a row of a scaling section that is not its first one runs.
func (o *options) wantsRow(label string) bool {
	return o.rows == nil || slices.ContainsFunc(o.rows, func(part string) bool { return strings.Contains(label, part) })
}

func split(list string) []string {
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
