package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/sink/kafka"
)

// defaultTimeout is for a person who waits; the agent itself waits longer.
const defaultTimeout = 10 * time.Second

// configFlag is --config, which LOGFERRY_CONFIG can stand for.
type configFlag struct{ path string }

func configVar(cmd *cobra.Command) *configFlag {
	f := &configFlag{}
	cmd.Flags().StringVarP(&f.path, "config", "c", "", "agent.yaml to take settings from (LOGFERRY_CONFIG)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	return f
}

// load reads the file, if one is named, and the environment over it. Flags
// are put over the result by the caller.
func (f *configFlag) load(a *app) (agent.Config, error) {
	if f.path == "" {
		f.path = a.getenv("LOGFERRY_CONFIG")
	}
	cfg, err := agent.LoadConfig(f.path, a.getenv)
	if err != nil {
		return agent.Config{}, badConfig(fileWords(err))
	}
	return cfg, nil
}

// fileWords turns the system's "open x: no such file or directory" around, so
// that the file comes first as in every other message.
func fileWords(err error) error {
	var pathErr *os.PathError
	if !errors.As(err, &pathErr) {
		return err
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: there is no such file; check its name", pathErr.Path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: may not be read by this user; check its owner and mode", pathErr.Path)
	}
	return fmt.Errorf("%s: %w", pathErr.Path, pathErr.Err)
}

// kafkaFlags say which cluster to talk to.
type kafkaFlags struct {
	config  *configFlag
	brokers []string
	cluster string
	timeout time.Duration
}

func kafkaVars(cmd *cobra.Command) *kafkaFlags {
	k := &kafkaFlags{config: configVar(cmd)}
	cmd.Flags().StringSliceVarP(&k.brokers, "brokers", "b", nil, "Kafka brokers, host:port (LOGFERRY_KAFKA_BROKERS)")
	cmd.Flags().StringVar(&k.cluster, "cluster", "", "named cluster of the configuration file")
	cmd.Flags().DurationVar(&k.timeout, "timeout", defaultTimeout, "how long to wait for an answer")
	return k
}

// resolve returns the cluster's settings. The adjust function may put
// further flags over them; it reports each with its key.
func (k *kafkaFlags) resolve(a *app, cmd *cobra.Command, adjust func(c *kafka.Config, origin func(key, flag string))) (kafka.Config, error) {
	if k.timeout <= 0 {
		return kafka.Config{}, usagef("--timeout: must be more than 0")
	}
	cfg, err := k.config.load(a)
	if err != nil {
		return kafka.Config{}, err
	}
	if k.cluster != "" {
		named, ok := cfg.Clusters[k.cluster]
		if !ok {
			return kafka.Config{}, usagef("--cluster: %q is not among the clusters of the configuration", k.cluster)
		}
		cfg.Kafka = named
	}
	if cmd.Flags().Changed("brokers") {
		cfg.Kafka.Brokers = k.brokers
		cfg.SetOrigin("kafka.brokers", "--brokers")
	}
	if len(cfg.Kafka.Brokers) == 0 {
		return kafka.Config{}, usagef("no brokers: give --brokers HOST:PORT, or a configuration file with --config")
	}
	if adjust != nil {
		adjust(&cfg.Kafka, func(key, flag string) { cfg.SetOrigin("kafka."+key, flag) })
	}
	cfg.Kafka.RequestTimeout = k.timeout
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return kafka.Config{}, badConfig(err)
	}
	return cfg.Kafka, nil
}

// etcdFlags say which etcd to talk to.
type etcdFlags struct {
	config    *configFlag
	endpoints []string
	prefix    string
	group     string // that tasks are of; empty: those for all agents
	timeout   time.Duration
}

// taskVars are etcdVars for commands about the tasks of one group, or of none.
func (a *app) taskVars(cmd *cobra.Command) *etcdFlags {
	e := etcdVars(cmd)
	cmd.Flags().StringVar(&e.group, "group", "", "group whose agents the task is for (default all agents)")
	completeFlag(cmd, "group", a.groupNames(e))
	return e
}

func etcdVars(cmd *cobra.Command) *etcdFlags {
	e := &etcdFlags{config: configVar(cmd)}
	cmd.Flags().StringSliceVar(&e.endpoints, "etcd", nil, "etcd endpoints, host:port or URL (LOGFERRY_ETCD_ENDPOINTS)")
	cmd.Flags().StringVar(&e.prefix, "prefix", "", "key prefix in etcd (LOGFERRY_ETCD_PREFIX; default "+agent.DefaultEtcdPrefix+")")
	cmd.Flags().DurationVar(&e.timeout, "timeout", defaultTimeout, "how long to wait for an answer")
	return e
}

// resolve returns how to reach etcd, and the whole configuration around it.
func (e *etcdFlags) resolve(a *app, cmd *cobra.Command) (agent.Config, error) {
	if e.timeout <= 0 {
		return agent.Config{}, usagef("--timeout: must be more than 0")
	}
	cfg, err := e.config.load(a)
	if err != nil {
		return agent.Config{}, err
	}
	applyEtcdFlags(&cfg, cmd, e.endpoints, e.prefix)
	if cfg.Tasks.Etcd == nil || len(cfg.Tasks.Etcd.Endpoints) == 0 {
		return agent.Config{}, usagef("no etcd: give --etcd HOST:PORT, or a configuration file with --config")
	}
	cfg.SetDefaults()
	whole := cfg
	if len(whole.Kafka.Brokers) == 0 {
		// Tasks in etcd are looked after without a Kafka at hand.
		whole.Kafka.Brokers = []string{"127.0.0.1:9092"}
	}
	if err := whole.Validate(); err != nil {
		return agent.Config{}, badConfig(err)
	}
	return cfg, nil
}

func applyEtcdFlags(cfg *agent.Config, cmd *cobra.Command, endpoints []string, prefix string) {
	section := func() *agent.EtcdConfig {
		if cfg.Tasks.Etcd == nil {
			cfg.Tasks.Etcd = &agent.EtcdConfig{}
		}
		return cfg.Tasks.Etcd
	}
	if cmd.Flags().Changed("etcd") {
		section().Endpoints = endpoints
		cfg.SetOrigin("tasks.etcd.endpoints", "--etcd")
	}
	if cmd.Flags().Changed("prefix") {
		section().Prefix = prefix
		cfg.SetOrigin("tasks.etcd.prefix", "--prefix")
	}
}

// newLog makes the log of the agent, on standard error.
func (a *app) newLog(level, format string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // checked by Validate; the zero level is info
	opts := &slog.HandlerOptions{Level: l}
	if strings.EqualFold(format, "json") {
		return slog.New(slog.NewJSONHandler(a.err, opts))
	}
	return slog.New(slog.NewTextHandler(a.err, opts))
}
