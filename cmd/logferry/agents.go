package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent/etcdsource"
)

// listedAgent is one agent as agents shows it.
type listedAgent struct {
	Name     string            `json:"name"` // of its keys in etcd; the id unless another agent holds that
	ID       string            `json:"id"`
	Host     string            `json:"host"`
	Version  string            `json:"version"`
	Labels   map[string]string `json:"labels"`
	Groups   []string          `json:"groups,omitempty"`
	Since    time.Time         `json:"since,omitzero"`
	Revision int64             `json:"revision"` // of the newest set of tasks that it is known to have applied
	HTTP     string            `json:"http"`
	Error    string            `json:"error,omitempty"`
}

func (a *app) agentsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "List the agents that run",
		Long: `List the agents that are registered in etcd. An agent leaves the list when it stops, and soon after it dies.
REVISION is that of the newest set of tasks which it has told to have applied; what concerns other agents is told within half a minute.`,
		Example: "  logferry agents --etcd 127.0.0.1:2379",
		Args:    needs(),
	}
	e, output := etcdVars(cmd), outputVar(cmd, "table", "json")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error {
		return a.withStore(cmd, e, func(ctx context.Context, s remote) error {
			fleet, err := s.Fleet(ctx)
			if err != nil {
				return err
			}
			list := make([]listedAgent, len(fleet.Members))
			for i, m := range fleet.Members {
				list[i] = listAgent(m)
			}
			return a.show(output, list, func(t *table) { agentsTable(t, list) })
		})
	})
	return cmd
}

func listAgent(m etcdsource.Member) listedAgent {
	labels := m.Agent.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return listedAgent{
		Name: m.Name, ID: m.Agent.ID, Host: m.Agent.Host, Version: m.Agent.Version, Labels: labels, Groups: m.Agent.Groups,
		Since: m.Agent.Started, Revision: m.Applied(), HTTP: m.Agent.HTTP, Error: memberTrouble(m),
	}
}

// memberTrouble says what is wrong with an agent's place in etcd; "" if nothing is.
func memberTrouble(m etcdsource.Member) string {
	if c := m.Agent.Clash; c != nil {
		return fmt.Sprintf("another agent has the id %s, on host %s (%s); give each agent an id of its own", m.Agent.ID, c.Host, textOrDash(c.HTTP))
	}
	return m.Error
}

func agentsTable(t *table, list []listedAgent) {
	t.row("ID", "HOST", "VERSION", "LABELS", "SINCE", "REVISION", "HTTP")
	for _, l := range list {
		t.row(l.Name, textOrDash(l.Host), textOrDash(l.Version), labelWords(l.Labels), moment(l.Since), l.Revision, textOrDash(l.HTTP))
	}
	_ = t.w.Flush() // lines for people follow, which are no columns
	for _, l := range list {
		if l.Error != "" {
			fmt.Fprintf(t.w, "%s: %s\n", l.Name, l.Error)
		}
	}
}

func labelWords(labels map[string]string) string {
	words := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, k+"="+labels[k])
	}
	return textOrDash(strings.Join(words, ","))
}

func textOrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// moment writes a time to the second, in UTC.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
