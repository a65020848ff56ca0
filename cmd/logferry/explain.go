package main

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/collector"
)

func (a *app) explainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain PATH",
		Short: "Ask an agent what it does with a file, and why",
		Long: `Ask the agent on this host, or the one at --agent, what becomes of a file: which task collects it and how far it is, or for
each task exactly why it does not.

Exit code 0: a task collects it; 1: none does, or the agent was not reached.`,
		Example: `  logferry explain /var/log/nginx/access.log
  logferry explain --agent 10.0.0.7:9600 /var/log/nginx/access.log`,
		Args: needs("PATH"),
	}
	target := a.agentVars(cmd, agent.DefaultListen, "")
	output := outputVar(cmd, "table", "json")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return fmt.Errorf("find %s: %w", args[0], err)
		}
		var e agent.PathExplanation
		if err := askAgent(cmd.Context(), target, "/api/v1/explain?"+url.Values{"path": {path}}.Encode(), &e); err != nil {
			return err
		}
		if err := a.show(output, e, func(t *table) { explainText(t.w, e) }); err != nil {
			return err
		}
		for _, t := range e.Tasks {
			if t.Collected {
				return nil
			}
		}
		return silent(exitFailed)
	})
	return cmd
}

func explainText(w io.Writer, e agent.PathExplanation) {
	fmt.Fprintf(w, "%s on agent %s\n", e.Path, e.Agent)
	if len(e.Tasks) == 0 {
		fmt.Fprintln(w, "the agent has no tasks")
	}
	for _, t := range e.Tasks {
		verdict := "not collected"
		if t.Collected {
			verdict = "collected, to topic " + t.Topic
		}
		fmt.Fprintf(w, "\ntask %s: %s\n  %s\n", t.Task, verdict, t.Why)
		for _, f := range t.Files {
			explainFile(w, f)
		}
	}
}

func explainFile(w io.Writer, f collector.FileStatus) {
	fmt.Fprintf(w, "  file %s is %s: read to %d of %d bytes, delivered to %d", textOrDash(f.File), f.State, f.Read, f.Size, f.Committed)
	if f.LagBytes > 0 {
		fmt.Fprintf(w, ", %d bytes and %.0f s behind", f.LagBytes, f.LagSeconds)
	}
	fmt.Fprintln(w)
}
