package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logferry/sink/kafka/admin"
)

func (a *app) topicCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "topic", Short: "Create, look at and delete topics", Args: cobra.ArbitraryArgs, RunE: a.group}
	cmd.AddCommand(a.topicCreateCmd(), a.topicListCmd(), a.topicDescribeCmd(), a.topicRmCmd())
	return cmd
}

// withTopics connects, works and closes.
func (a *app) withTopics(cmd *cobra.Command, k *kafkaFlags, work func(ctx context.Context, t *admin.Topics) error) error {
	cfg, err := k.resolve(a, cmd, nil)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	topics, err := admin.New(ctx, cfg)
	if err != nil {
		return err
	}
	err = work(ctx, topics)
	if closeErr := topics.Close(); err == nil && closeErr != nil {
		return fmt.Errorf("close the connection: %w", closeErr)
	}
	return err
}

func (a *app) topicCreateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a topic and wait until it can be used",
		Example: "  logferry topic create web_log --partitions 6 --replication-factor 3 --set retention.ms=86400000",
		Args:    needs("NAME"),
	}
	k, output := kafkaVars(cmd), outputVar(cmd, "text", "json")
	partitions := cmd.Flags().Int32P("partitions", "p", 0, "number of partitions; 0: the brokers' default")
	rf := cmd.Flags().Int16P("replication-factor", "r", 0, "copies of each partition; 0: the brokers' default")
	settings := cmd.Flags().StringArray("set", nil, "a topic setting, KEY=VALUE; may be repeated")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		configs, err := keyValues("--set", *settings)
		if err != nil {
			return err
		}
		if *partitions < 0 || *rf < 0 {
			return usagef("--partitions and --replication-factor must not be negative")
		}
		return a.withTopics(cmd, k, func(ctx context.Context, t *admin.Topics) error {
			if err := t.Create(ctx, args[0], *partitions, *rf, configs); err != nil {
				return err
			}
			d, err := t.Describe(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(output, d.Topic, func(tab *table) {
				tab.row(fmt.Sprintf("created topic %s: %s, replication factor %d", d.Name, count(d.Partitions, "partition"), d.ReplicationFactor))
			})
		})
	})
	return cmd
}

func keyValues(flag string, pairs []string) (map[string]string, error) {
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, usagef("%s: %q is not KEY=VALUE", flag, p)
		}
		out[key] = value
	}
	return out, nil
}

func (a *app) topicListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List topics", Args: needs()}
	k, output := kafkaVars(cmd), outputVar(cmd, "table", "json")
	all := cmd.Flags().Bool("all", false, "with Kafka's internal topics")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error {
		return a.withTopics(cmd, k, func(ctx context.Context, t *admin.Topics) error {
			topics, err := t.List(ctx)
			if err != nil {
				return err
			}
			topics = slices.DeleteFunc(topics, func(t admin.Topic) bool { return t.Internal && !*all })
			return a.show(output, topics, func(tab *table) {
				tab.row("TOPIC", "PARTITIONS", "REPLICATION")
				for _, t := range topics {
					tab.row(t.Name, t.Partitions, t.ReplicationFactor)
				}
			})
		})
	})
	return cmd
}

func (a *app) topicDescribeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show partitions, leaders, replicas, offsets and settings",
		Args:  needs("NAME..."),
	}
	k, output := kafkaVars(cmd), outputVar(cmd, "table", "json")
	completeArg(cmd, true, a.topicNames(k))
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		return a.withTopics(cmd, k, func(ctx context.Context, t *admin.Topics) error {
			descriptions := make([]admin.Description, 0, len(args))
			for _, name := range args {
				d, err := t.Describe(ctx, name)
				if err != nil {
					return err
				}
				descriptions = append(descriptions, d)
			}
			return a.show(output, descriptions, func(tab *table) {
				for i, d := range descriptions {
					if i > 0 {
						tab.row()
					}
					describeTopic(tab, d)
				}
			})
		})
	})
	return cmd
}

func describeTopic(tab *table, d admin.Description) {
	tab.row(fmt.Sprintf("%s: %s, replication factor %d", d.Name, count(d.Partitions, "partition"), d.ReplicationFactor))
	for _, key := range slices.Sorted(maps.Keys(d.Configs)) {
		tab.row(fmt.Sprintf("  %s=%s", key, d.Configs[key]))
	}
	tab.row("PARTITION", "LEADER", "REPLICAS", "ISR", "OLDEST", "NEWEST", "RECORDS")
	for _, p := range d.Layout {
		cells := []any{p.ID, orDash(int64(p.Leader)), ids(p.Replicas), ids(p.ISR), orDash(p.Oldest), orDash(p.Newest)}
		if p.Newest >= 0 {
			cells = append(cells, p.Newest-p.Oldest)
		} else {
			cells = append(cells, p.Error)
		}
		tab.row(cells...)
	}
}

func orDash(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func ids(list []int32) string {
	words := make([]string, len(list))
	for i, id := range list {
		words[i] = fmt.Sprint(id)
	}
	return strings.Join(words, ",")
}

func (a *app) topicRmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete"},
		Short:   "Delete topics with all that is in them",
		Args:    needs("NAME..."),
	}
	k, output := kafkaVars(cmd), outputVar(cmd, "text", "json")
	completeArg(cmd, true, a.topicNames(k))
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		return a.withTopics(cmd, k, func(ctx context.Context, t *admin.Topics) error {
			for _, name := range args {
				if err := t.Delete(ctx, name); err != nil {
					return err
				}
				a.say(output, "deleted topic %s", name)
			}
			if output.format == "json" {
				return a.show(output, map[string][]string{"deleted": args}, nil)
			}
			return nil
		})
	})
	return cmd
}
