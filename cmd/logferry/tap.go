package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
)

func (a *app) tapCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tap TASK",
		Short: "Show records of a task live, as they leave for Kafka",
		Long: `Show records of a task as an agent sends them, after its filters and masks, until Ctrl-C. At most --rate records a second are shown,
evenly spread over what is sent; of others only the number. Delivery never waits for it. Records that were sent before are not
shown; 'logferry consume' reads those from Kafka.

An agent shows its records to its own host only, whatever http.listen says: run this there, or forward a local port to it. Without
a token or certificate (http.token_file, http.tls.client_ca_file) they are shown to root and the agent's own user only.

Exit code 0: --max records were shown, or Ctrl-C; 1: the agent was not reached, does not have the task, or has ended.`,
		Example: `  logferry tap web
  sudo logferry tap web --rate 100 --max 1000 -o json
  kubectl port-forward pod/logferry-x7k2p 9600 & logferry tap web`,
		Args: needs("TASK"),
	}
	target := a.agentVars(cmd, agent.DefaultListen, "")
	completeArg(cmd, false, runningTasks(target))
	output := outputVar(cmd, "text", "value", "json")
	rate := cmd.Flags().Float64P("rate", "r", 10, "records a second, 1000 at most")
	most := cmd.Flags().Int64P("max", "n", 0, "stop after this many records; 0: never")
	cmd.RunE = a.body(func(cmd *cobra.Command, args []string) error {
		if !(*rate > 0 && *rate <= 1000) {
			return usagef("--rate: must be more than 0, and 1000 at most")
		}
		if *most < 0 {
			return usagef("--max: must not be negative")
		}
		query := url.Values{"task": {args[0]}, "rate": {strconv.FormatFloat(*rate, 'g', -1, 64)}}
		err := a.tap(cmd.Context(), target, "/api/v1/tap?"+query.Encode(), output.format, *most)
		if cmd.Context().Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		return err
	})
	return cmd
}

// tap shows what an agent streams, most records at most.
func (a *app) tap(ctx context.Context, target *agentFlags, path, format string, most int64) error {
	res, err := target.do(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return fmt.Errorf("the agent answers %s: %s", res.Status, oneLine(string(text)))
	}
	events := json.NewDecoder(bufio.NewReader(res.Body))
	for shown := int64(0); most == 0 || shown < most; {
		var e agent.TapEvent
		if err := events.Decode(&e); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("the agent has ended")
		} else if err != nil {
			return fmt.Errorf("read what the agent shows: %w", err)
		}
		if e.Error != "" {
			return fmt.Errorf("no more is shown: %s", e.Error)
		}
		if err := a.showTapped(e, format); err != nil {
			return err
		}
		if e.Path != "" {
			shown++
		}
	}
	return nil
}

// showTapped writes one record, or how many were left out.
func (a *app) showTapped(e agent.TapEvent, format string) error {
	var value []byte
	if value = e.ValueBase64; e.Value != nil {
		value = []byte(*e.Value)
	}
	var err error
	switch {
	case format == "json":
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(e)
	case format == "value" && e.Path == "":
	case format == "value":
		_, err = a.out.Write(append(value, '\n'))
	default:
		err = a.tappedText(e, value)
	}
	return err
}

func (a *app) tappedText(e agent.TapEvent, value []byte) error {
	var text strings.Builder
	if e.Skipped > 0 {
		fmt.Fprintf(&text, "… %s not shown\n", count(int(e.Skipped), "record"))
	}
	if e.Path != "" {
		fmt.Fprintf(&text, "%s %s@%d %s", e.Time.UTC().Format(time.RFC3339Nano), e.Path, e.Offset, readable(value))
		if e.Bytes > len(value) {
			fmt.Fprintf(&text, "… (%s)", count(e.Bytes, "byte"))
		}
		text.WriteByte('\n')
	}
	_, err := io.WriteString(a.out, text.String())
	return err
}
