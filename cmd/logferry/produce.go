package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"logferry/sink/kafka"
	"logferry/sink/kafka/console"
)

func (a *app) produceCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Send each line of standard input and print its partition and offset",
		Example: `  echo hello | logferry produce web_log --brokers 127.0.0.1:9092
  logferry produce web_log --brokers 127.0.0.1:9092 --key-separator : < keyed.txt`,
		Args: needs("TOPIC"),
	}
	k, output := kafkaVars(cmd), outputVar(cmd, "text", "json", "none")
	completeArg(cmd, false, a.topicNames(k))
	opts := console.ProduceOptions{}
	acks := cmd.Flags().String("acks", "", "what counts as delivered: 0, 1 or all")
	compression := cmd.Flags().String("compression", "", "none, gzip, snappy, lz4 or zstd")
	partition := cmd.Flags().Int32("partition", 0, "send to this partition")
	headers := cmd.Flags().StringArray("header", nil, "a header of each record, KEY=VALUE; may be repeated")
	cmd.Flags().StringVar(&opts.Partitioner, "partitioner", "", strings.Join(console.Partitioners, ", ")+" (default hash: by key, random without one)")
	cmd.Flags().StringVar(&opts.Key, "key", "", "key of each record")
	cmd.Flags().StringVar(&opts.KeySeparator, "key-separator", "", `what stands between key and value in a line; \t is a tab`)
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		opts.Topic = args[0]
		opts.KeySeparator = strings.ReplaceAll(opts.KeySeparator, `\t`, "\t")
		if cmd.Flags().Changed("partition") {
			opts.Partition = partition
		}
		if opts.Key != "" && opts.KeySeparator != "" {
			return usagef("--key and --key-separator exclude each other")
		}
		for _, h := range *headers {
			key, value, ok := strings.Cut(h, "=")
			if !ok {
				return usagef("--header: %q is not KEY=VALUE", h)
			}
			opts.Headers = append(opts.Headers, console.Header{Key: key, Value: value})
		}
		if err := opts.Validate(); err != nil {
			return usagef("%w", err)
		}
		cfg, err := k.resolve(a, cmd, func(c *kafka.Config, origin func(key, flag string)) {
			if *acks != "" {
				c.Acks = *acks
				if *acks != "all" {
					c.Idempotent = nil
				}
				origin("acks", "--acks")
			}
			if *compression != "" {
				c.Compression, c.CompressionLevel = *compression, nil
				origin("compression", "--compression")
			}
		})
		if err != nil {
			return err
		}
		return console.Produce(cmd.Context(), cfg, opts, a.in, a.reporter(output))
	})
	return cmd
}

// reporter prints the answer to each line. Failures go to standard error, so
// that they are seen when standard output goes elsewhere.
func (a *app) reporter(output *outputFlag) func(console.Sent) error {
	return func(s console.Sent) error {
		if output.format == "json" {
			return printSentJSON(a.out, s)
		}
		if s.Err != nil {
			_, err := fmt.Fprintf(a.err, "logferry: line %d: %v\n", s.Line, s.Err)
			return err
		}
		if output.format == "none" {
			return nil
		}
		_, err := fmt.Fprintf(a.out, "partition %d offset %s\n", s.Partition, orDash(s.Offset))
		return err
	}
}

func printSentJSON(w io.Writer, s console.Sent) error {
	doc := struct {
		Line      int64  `json:"line"`
		Partition *int32 `json:"partition,omitempty"`
		Offset    *int64 `json:"offset,omitempty"`
		Error     string `json:"error,omitempty"`
	}{Line: s.Line}
	if s.Err != nil {
		doc.Error = s.Err.Error()
	} else {
		doc.Partition = &s.Partition
		if s.Offset >= 0 {
			doc.Offset = &s.Offset
		}
	}
	return json.NewEncoder(w).Encode(doc)
}
