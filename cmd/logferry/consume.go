package main

import (
	"github.com/spf13/cobra"

	"logferry/sink/kafka/console"
)

func (a *app) consumeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a topic until it is stopped",
		Long: `Print the records of a topic. Without --group all partitions are read, or those of --partition, and nothing is
committed. With --group the partitions are shared with the group's other members, and what was printed is committed.`,
		Example: `  logferry consume web_log --brokers 127.0.0.1:9092 --from oldest --until-end
  logferry consume web_log --brokers 127.0.0.1:9092 --group readers -o json
  logferry consume web_log --brokers 127.0.0.1:9092 --partition 0 --from 1200 --max 10`,
		Args: needs("TOPIC"),
	}
	k, output := kafkaVars(cmd), outputVar(cmd, console.Formats...)
	completeArg(cmd, false, a.topicNames(k))
	opts := console.ConsumeOptions{}
	from := cmd.Flags().String("from", "newest", "oldest, newest or an offset; with --group: where a group without a commit begins")
	commit := cmd.Flags().Bool("commit", true, "with --group: commit what was printed")
	cmd.Flags().Int32SliceVarP(&opts.Partitions, "partition", "p", nil, "read these partitions only")
	cmd.Flags().StringVarP(&opts.Group, "group", "g", "", "consumer group to read as a member of")
	cmd.Flags().Int64VarP(&opts.Max, "max", "n", 0, "stop after this many records; 0: never")
	cmd.Flags().BoolVar(&opts.UntilEnd, "until-end", false, "stop at the end that the partitions have now; not with --group")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		opts.Topic, opts.NoCommit = args[0], !*commit
		if opts.Max < 0 {
			return usagef("--max: must not be negative")
		}
		var err error
		if opts.From, err = console.ParseFrom(*from); err != nil {
			return usagef("--from: %w", err)
		}
		if err := opts.Validate(); err != nil {
			return usagef("%w", err)
		}
		print, err := console.Printer(output.format, a.out)
		if err != nil {
			return err
		}
		cfg, err := k.resolve(a, cmd, nil)
		if err != nil {
			return err
		}
		return console.Consume(cmd.Context(), cfg, opts, print, a.newLog("warn", "text"))
	})
	return cmd
}
