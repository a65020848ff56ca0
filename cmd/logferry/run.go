package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"logferry/agent"
	"logferry/agent/idle"
	"logferry/agent/task"
	"logferry/sink/kafka"
)

// flagTask is the name of the task that --path and --topic make. It is part
// of the checkpoints' keys and never changes.
const flagTask = "flags"

type runFlags struct {
	config *configFlag

	// The task.
	paths, exclude []string
	topic          string
	start          string
	partitioner    string

	// The agent.
	brokers     []string
	acks        string
	compression string
	createTopic string
	stateDir    string
	id          string
	http        string
	etcd        []string
	prefix      string
	logLevel    string
	logFormat   string
	dryRun      bool
	once        bool
}

func (a *app) runCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the agent",
		Long: `Run the agent: collect the files of its tasks and ship their lines to Kafka, until SIGTERM or SIGINT.
Tasks come from the files and the etcd that the configuration names, and from --path and --topic. Flags beat the
environment (LOGFERRY_*), the environment beats the file. SIGHUP reads the task files again.`,
		Example: `  logferry run --config /etc/logferry/agent.yaml
  logferry run --path '/var/log/nginx/*.log' --topic web_log --brokers 127.0.0.1:9092 --state-dir /var/lib/logferry
  logferry run --once --path '/srv/old/*.gz' --topic web_log --brokers 127.0.0.1:9092 --state-dir /var/lib/logferry-backfill
  logferry run --path './*.log' --topic web_log --dry-run`,
		Args: needs(),
	}
	f := &runFlags{config: configVar(cmd)}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.paths, "path", nil, "glob of files to collect; may be repeated")
	flags.StringArrayVar(&f.exclude, "exclude", nil, "glob of files to leave out; may be repeated")
	flags.StringVar(&f.topic, "topic", "", "topic that --path goes to")
	flags.StringVar(&f.start, "start", "", "where files without a checkpoint begin: beginning or end")
	flags.StringVar(&f.partitioner, "partitioner", "", "how --path's lines are spread: file (default), sticky, round_robin, random, …")
	flags.StringSliceVarP(&f.brokers, "brokers", "b", nil, "Kafka brokers, host:port")
	flags.StringVar(&f.acks, "acks", "", "what counts as delivered: 0, 1 or all")
	flags.StringVar(&f.compression, "compression", "", "none, gzip, snappy, lz4 or zstd")
	flags.StringVar(&f.createTopic, "create-topic", "", "create missing topics, PARTITIONS[:REPLICATION]; 0: the brokers' default")
	flags.StringVar(&f.stateDir, "state-dir", "", "directory of checkpoints (default "+agent.DefaultStateDir+")")
	flags.StringVar(&f.id, "id", "", "name of this agent (default the host name)")
	flags.StringVar(&f.http, "http", "", "address of metrics and API (default "+agent.DefaultListen+"; port 0 picks one)")
	flags.StringSliceVar(&f.etcd, "etcd", nil, "etcd endpoints that hold tasks")
	flags.StringVar(&f.prefix, "prefix", "", "key prefix in etcd (default "+agent.DefaultEtcdPrefix+")")
	flags.StringVar(&f.logLevel, "log-level", "", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "", "text or json")
	flags.BoolVar(&f.once, "once", false, "end when all tasks have read what is there: --path's does so, others need once: true; exit code 1 if something could not be read")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print lines to standard output instead of sending them; no checkpoint is kept")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd, f) })
	return cmd
}

func (a *app) runAgent(cmd *cobra.Command, f *runFlags) error {
	cfg, tasks, err := f.resolve(a, cmd)
	if err != nil {
		return err
	}
	processors := idle.NewProcessors()
	defer processors.Close()
	opts := agent.Options{Tasks: tasks, Once: f.once, Version: buildVersion(), Reading: processors.Read}
	if f.dryRun {
		dir, err := os.MkdirTemp("", "logferry-dry-run-")
		if err != nil {
			return fmt.Errorf("make a state directory for the dry run: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cfg.StateDir, opts.DryRun = dir, a.out
	}
	log := a.newLog(cfg.Log.Level, cfg.Log.Format)
	ag, err := agent.New(cfg, opts, log)
	if err != nil {
		return err
	}
	defer onHangup(ag.Reload, log)()
	log.Info("logferry", "version", buildVersion())
	if err := idle.Unload(); err != nil {
		log.Debug("memory of the program's start is kept", "error", err)
	}
	return ag.Run(cmd.Context())
}

// onHangup calls reload at each SIGHUP until the returned function is called.
func onHangup(reload func(), log *slog.Logger) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-signals:
				log.Info("reloading", "cause", "SIGHUP")
				reload()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
	}
}

// resolve puts the flags over the file and the environment.
func (f *runFlags) resolve(a *app, cmd *cobra.Command) (agent.Config, []task.Task, error) {
	cfg, err := f.config.load(a)
	if err != nil {
		return agent.Config{}, nil, err
	}
	f.overlay(&cfg, cmd)
	if f.once && cfg.HTTP.Listen == "" {
		cfg.HTTP.Listen = "127.0.0.1:0" // beside the agent that runs on this host
	}
	if err := f.overlayTopics(&cfg); err != nil {
		return agent.Config{}, nil, err
	}
	tasks, err := f.tasks(&cfg)
	if err != nil {
		return agent.Config{}, nil, err
	}
	if f.dryRun && len(cfg.Kafka.Brokers) == 0 {
		cfg.Kafka.Brokers = []string{"127.0.0.1:9092"} // wanted by Validate, not used
	}
	if f.config.path == "" && len(cfg.Kafka.Brokers) == 0 {
		return agent.Config{}, nil, usagef("no brokers: give --brokers HOST:PORT, or a configuration file with --config")
	}
	cfg.SetDefaults()
	if err := validate(cfg); err != nil {
		return agent.Config{}, nil, err
	}
	return cfg, tasks, nil
}

// validate is all that can be said about a configuration without its
// surroundings.
func validate(cfg agent.Config) error {
	if err := cfg.Validate(); err != nil {
		return badConfig(err)
	}
	_, err := task.NewAllowList(cfg.AllowPaths)
	return badConfig(err)
}

func (f *runFlags) overlay(cfg *agent.Config, cmd *cobra.Command) {
	for _, o := range []struct {
		flag, key string
		value     *string
		target    *string
	}{
		{"acks", "kafka.acks", &f.acks, &cfg.Kafka.Acks},
		{"compression", "kafka.compression", &f.compression, &cfg.Kafka.Compression},
		{"state-dir", "state_dir", &f.stateDir, &cfg.StateDir},
		{"id", "id", &f.id, &cfg.ID},
		{"http", "http.listen", &f.http, &cfg.HTTP.Listen},
		{"log-level", "log.level", &f.logLevel, &cfg.Log.Level},
		{"log-format", "log.format", &f.logFormat, &cfg.Log.Format},
	} {
		if cmd.Flags().Changed(o.flag) {
			*o.target = *o.value
			cfg.SetOrigin(o.key, "--"+o.flag)
		}
	}
	if cmd.Flags().Changed("brokers") {
		cfg.Kafka.Brokers = f.brokers
		cfg.SetOrigin("kafka.brokers", "--brokers")
	}
	if cmd.Flags().Changed("acks") && f.acks != "all" {
		cfg.Kafka.Idempotent = nil // the default follows the acks
	}
	if cmd.Flags().Changed("compression") {
		cfg.Kafka.CompressionLevel = nil // a level belongs to the codec of the file
	}
	applyEtcdFlags(cfg, cmd, f.etcd, f.prefix)
}

func (f *runFlags) overlayTopics(cfg *agent.Config) error {
	if f.createTopic == "" {
		return nil
	}
	create, err := parseCreateTopic(f.createTopic)
	if err != nil {
		return err
	}
	cfg.Kafka.CreateTopics = create
	cfg.SetOrigin("kafka.create_topics", "--create-topic")
	return nil
}

// parseCreateTopic reads PARTITIONS[:REPLICATION].
func parseCreateTopic(s string) (*kafka.CreateTopics, error) {
	partitions, replication, both := strings.Cut(s, ":")
	p, err := strconv.ParseUint(partitions, 10, 31)
	if err != nil {
		return nil, usagef("--create-topic: %q is not PARTITIONS[:REPLICATION], such as 3 or 3:2", s)
	}
	create := &kafka.CreateTopics{Partitions: int32(p)}
	if both {
		r, err := strconv.ParseUint(replication, 10, 15)
		if err != nil {
			return nil, usagef("--create-topic: %q is not PARTITIONS[:REPLICATION], such as 3 or 3:2", s)
		}
		create.ReplicationFactor = int16(r)
	}
	return create, nil
}

// tasks returns the task of the flags, if there is one, and sees to it that
// there is something to collect at all.
func (f *runFlags) tasks(cfg *agent.Config) ([]task.Task, error) {
	if len(f.paths) == 0 {
		for flag, set := range map[string]bool{
			"--topic": f.topic != "", "--exclude": len(f.exclude) > 0, "--start": f.start != "", "--partitioner": f.partitioner != "",
		} {
			if set {
				return nil, usagef("%s goes with --path, which says what to collect", flag)
			}
		}
		if len(cfg.Tasks.Files) > 0 || cfg.Tasks.Etcd != nil {
			return nil, nil
		}
		if f.config.path != "" {
			return nil, badConfig(fmt.Errorf("%s: nothing to collect; add tasks.files or tasks.etcd, or give --path and --topic", f.config.path))
		}
		return nil, usagef("nothing to collect: give --path and --topic, --etcd, or a configuration file with --config")
	}
	if f.topic == "" {
		return nil, usagef("--topic is missing: it says where --path goes to")
	}
	t := task.Task{
		Name: flagTask, Topic: f.topic, Exclude: f.exclude, Once: f.once,
		Start: task.Start(f.start), Partitioner: task.Partitioner(f.partitioner),
	}
	for _, p := range f.paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, usagef("--path: %w", err)
		}
		t.Paths = append(t.Paths, abs)
	}
	t.SetDefaults()
	if err := t.Validate(); err != nil {
		return nil, flagFault(err)
	}
	return []task.Task{t}, nil
}

// flagFault names the flag of the first problem with the flags' task.
func flagFault(err error) error {
	var problems task.Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		return usagef("the task of the flags is not valid: %w", err)
	}
	key, _, _ := strings.Cut(problems[0].Key, "[")
	if key == "paths" {
		key = "path"
	}
	return usagef("--%s: %s", key, problems[0].Text)
}
