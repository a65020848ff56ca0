package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFlag is the -o of commands that print something.
type outputFlag struct {
	format  string
	formats []string
}

// outputVar adds -o to cmd. The first format is the default.
func outputVar(cmd *cobra.Command, formats ...string) *outputFlag {
	o := &outputFlag{format: formats[0], formats: formats}
	cmd.Flags().VarP(o, "output", "o", "output: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return o
}

func (o *outputFlag) String() string { return o.format }
func (o *outputFlag) Type() string   { return "format" }

// Set refuses a format that the command does not have.
func (o *outputFlag) Set(s string) error {
	for _, f := range o.formats {
		if s == f {
			o.format = s
			return nil
		}
	}
	return fmt.Errorf("take one of %s", strings.Join(o.formats, ", "))
}

// show prints value as JSON, or the table for people.
func (a *app) show(o *outputFlag, value any, text func(t *table)) error {
	if o.format == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	}
	t := &table{w: tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)}
	text(t)
	return t.w.Flush()
}

// table writes aligned columns.
type table struct{ w *tabwriter.Writer }

func (t *table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, c)
	}
	fmt.Fprintln(t.w)
}

// say prints a line for people; with -o json it is left out.
func (a *app) say(o *outputFlag, format string, args ...any) {
	if o.format != "json" {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// count writes a number with its noun: "1 task", "2 tasks".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
