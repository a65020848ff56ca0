package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/collector"
)

const (
	askTimeout = 10 * time.Second
	maxAnswer  = 16 << 20
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
	address := cmd.Flags().String("agent", agent.DefaultListen, "HTTP address of the agent")
	output := outputVar(cmd, "table", "json")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return fmt.Errorf("find %s: %w", args[0], err)
		}
		var e agent.PathExplanation
		if err := askAgent(cmd.Context(), *address, "/api/v1/explain?"+url.Values{"path": {path}}.Encode(), &e); err != nil {
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

// agentURL is that of a path of an agent's HTTP API.
func agentURL(address, path string) string {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	return strings.TrimSuffix(address, "/") + path
}

// askAgent reads a JSON answer of an agent's HTTP API.
func askAgent(ctx context.Context, address, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, agentURL(address, path), nil)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the agent: %w; give the address of its http.listen with --agent", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent at %s answers %s: %s", address, res.Status, oneLine(string(answer)))
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read the agent's answer: %w; is logferry at %s?", err, address)
	}
	return nil
}
