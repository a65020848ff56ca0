package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/sink/kafka/admin"
)

// completeTimeout is how long somebody who pressed Tab waits for names.
const completeTimeout = 2 * time.Second

// names asks somebody for names to complete. What cannot be asked completes to nothing.
type names func(ctx context.Context, cmd *cobra.Command) ([]string, error)

// completeArg completes the first argument, or with every each one, to names
// that are not on the line yet.
func completeArg(cmd *cobra.Command, every bool, ask names) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !every {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return askNames(cmd, ask, args, typed)
	}
}

// completeFlag completes the value of a flag.
func completeFlag(cmd *cobra.Command, flag string, ask names) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return askNames(cmd, ask, nil, typed)
	})
}

func askNames(cmd *cobra.Command, ask names, but []string, typed string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	found, err := ask(ctx, cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found = slices.DeleteFunc(found, func(name string) bool { return slices.Contains(but, name) || !strings.HasPrefix(name, typed) })
	slices.Sort(found)
	return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
}

// taskNames are those of the tasks in etcd.
func (a *app) taskNames(e *etcdFlags) names {
	return a.storeNames(e, func(ctx context.Context, s remote) (out []string, err error) {
		entries, _, err := s.List(ctx)
		for _, entry := range entries {
			out = append(out, entry.Name)
		}
		return out, err
	})
}

// groupNames are those of the groups that have tasks or agents.
func (a *app) groupNames(e *etcdFlags) names {
	whole := func(ctx context.Context, s remote) (out []string, err error) {
		fleet, err := s.Fleet(ctx)
		for _, entry := range fleet.Tasks {
			out = append(out, entry.Group)
		}
		for _, m := range fleet.Members {
			out = append(out, m.Agent.Groups...)
		}
		return slices.DeleteFunc(out, func(group string) bool { return group == "" }), err
	}
	return func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		all := *e
		all.group = "" // what is typed so far is no group yet
		return a.storeNames(&all, whole)(ctx, cmd)
	}
}

// fleetNames are those of tasks in etcd and of the agents that run.
func (a *app) fleetNames(e *etcdFlags) names {
	return a.storeNames(e, func(ctx context.Context, s remote) (out []string, err error) {
		fleet, err := s.Fleet(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range fleet.Overview() {
			out = append(out, o.Qualified())
		}
		for _, m := range fleet.Members {
			out = append(out, m.Name)
		}
		return out, nil
	})
}

func (a *app) storeNames(e *etcdFlags, list func(ctx context.Context, s remote) ([]string, error)) names {
	return func(ctx context.Context, cmd *cobra.Command) (out []string, err error) {
		quick := *e
		quick.timeout = min(e.timeout, completeTimeout)
		err = a.withStore(cmd, &quick, func(_ context.Context, s remote) error {
			out, err = list(ctx, s)
			return err
		})
		return out, err
	}
}

// topicNames are those of the cluster's topics, but Kafka's own.
func (a *app) topicNames(k *kafkaFlags) names {
	return func(ctx context.Context, cmd *cobra.Command) ([]string, error) {
		quick := *k
		quick.timeout = min(k.timeout, completeTimeout)
		cfg, err := quick.resolve(a, cmd, nil)
		if err != nil {
			return nil, err
		}
		t, err := admin.New(ctx, cfg)
		if err != nil {
			return nil, err
		}
		topics, err := t.List(ctx)
		var out []string
		for _, topic := range topics {
			if !topic.Internal {
				out = append(out, topic.Name)
			}
		}
		return out, errors.Join(err, t.Close())
	}
}

// runningTasks are those of the agent at an address.
func runningTasks(target *agentFlags) names {
	return func(ctx context.Context, _ *cobra.Command) (out []string, err error) {
		var list agent.TaskList
		err = askAgent(ctx, target, "/api/v1/tasks", &list)
		for _, t := range list.Tasks {
			out = append(out, t.Name)
		}
		return out, err
	}
}

// checkpointPaths are the paths that an agent has checkpoints of.
func (a *app) checkpointPaths(f *checkpointFlags) names {
	return func(ctx context.Context, _ *cobra.Command) (out []string, err error) {
		cfg, err := f.load(a)
		if err != nil {
			return nil, err
		}
		rows, err := a.checkpointRows(ctx, cfg, a.agentOf(cfg))
		for _, r := range rows {
			if f.task == "" || f.task == r.Task {
				out = append(out, r.Path)
			}
		}
		return out, err
	}
}
