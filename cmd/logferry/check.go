package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"logferry/agent"
	"logferry/agent/filesource"
	"logferry/agent/task"
	"logferry/sink/kafka"
	"logferry/sink/kafka/admin"
)

// finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// checker gathers findings. Code becomes exitBadConfig when a file or task is
// to blame.
type checker struct {
	cfg      agent.Config
	self     task.Identity
	timeout  time.Duration
	findings []finding
	code     int

	tasks  []task.Task
	topics map[string]map[string]bool // existing topics by cluster; a cluster that was not reached is missing
}

func (c *checker) ok(check, format string, args ...any) {
	c.findings = append(c.findings, finding{Check: check, OK: true, Detail: fmt.Sprintf(format, args...)})
}

func (c *checker) fail(code int, check, detail, remedy string) {
	c.findings = append(c.findings, finding{Check: check, Detail: oneLine(detail), Remedy: remedy})
	c.code = max(c.code, code)
}

func (a *app) checkCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check configuration, paths, Kafka and etcd before the agent runs",
		Long: `Check what the agent needs, one line each: the configuration, its directories, the files that tasks match, the
brokers and topics, and etcd. Nothing is changed and no task is run.
Exit code 0: all is well; 1: something is missing or does not answer; 78: a file or a task is not valid.`,
		Example: "  logferry check --config /etc/logferry/agent.yaml",
		Args:    needs(),
	}
	config, output := configVar(cmd), outputVar(cmd, "table", "json")
	timeout := cmd.Flags().Duration("timeout", defaultTimeout, "how long to wait for each answer")
	cmd.RunE = a.body(func(cmd *cobra.Command, _ []string) error {
		if *timeout <= 0 {
			return usagef("--timeout: must be more than 0")
		}
		cfg, err := config.load(a)
		if err != nil {
			return err
		}
		cfg.SetDefaults()
		if err := validate(cfg); err != nil {
			return err
		}
		self, err := cfg.Identity()
		if err != nil {
			return err
		}
		c := &checker{cfg: cfg, self: self, timeout: *timeout, topics: map[string]map[string]bool{}}
		c.run(cmd.Context(), config.path)
		if err := a.show(output, c.findings, c.table); err != nil {
			return err
		}
		if c.code != exitOK {
			return silent(c.code)
		}
		return nil
	})
	return cmd
}

func (c *checker) table(t *table) {
	for _, f := range c.findings {
		state, text := "ok", f.Detail
		if !f.OK {
			state = "FAIL"
			if f.Remedy != "" {
				text += "; " + f.Remedy
			}
		}
		t.row(state, f.Check, text)
	}
}

func (c *checker) run(ctx context.Context, path string) {
	if path == "" {
		path = "flags and environment"
	}
	c.ok("config", "%s is valid", path)
	c.ok("allow_paths", "tasks from etcd reach %s", strings.Join(c.cfg.AllowPaths, ", "))
	c.host()
	c.stateDir()
	c.taskFiles(ctx)
	c.etcd(ctx)
	for _, t := range c.tasks {
		c.paths(t)
	}
	c.kafka(ctx, "kafka", "", c.cfg.Kafka)
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Clusters)) {
		c.kafka(ctx, "clusters."+name, name, c.cfg.Clusters[name])
	}
	for _, t := range c.tasks {
		c.topic(t)
	}
}

// host looks at what other users of this host could do.
func (c *checker) host() {
	for _, secret := range c.cfg.OpenSecrets() {
		c.fail(exitFailed, "secrets", secret+" can be read by every user of this host", "take that right away with chmod o-rw")
	}
	setting, err := os.ReadFile(hardlinksSetting)
	if err == nil && strings.TrimSpace(string(setting)) == "0" {
		c.ok("host", "users of this host may give other users' files names among the logs; set the sysctl fs.protected_hardlinks to 1")
	}
}

// hardlinksSetting says whether a user may link to a file that he can neither
// own nor write to: a name that such a link has is the file's own.
const hardlinksSetting = "/proc/sys/fs/protected_hardlinks"

// stateDir looks whether the agent could write there, without leaving a mark.
func (c *checker) stateDir() {
	dir := c.cfg.StateDir
	near := dir
	for {
		info, err := os.Stat(near)
		if err == nil && !info.IsDir() {
			c.fail(exitFailed, "state_dir", near+" is not a directory", "choose another state_dir")
			return
		}
		if err == nil || !errors.Is(err, os.ErrNotExist) || near == filepath.Dir(near) {
			break
		}
		near = filepath.Dir(near)
	}
	if err := unix.Access(near, unix.W_OK|unix.X_OK); err != nil {
		c.fail(exitFailed, "state_dir", fmt.Sprintf("%s: no right to write in %s", dir, near),
			fmt.Sprintf("give it to the user of the agent (now uid %d), or choose another state_dir", os.Getuid()))
		return
	}
	if near != dir {
		c.ok("state_dir", "%s will be created", dir)
		return
	}
	c.ok("state_dir", "%s can be written", dir)
}

// taskFiles asks the agent's own source of task files for its first snapshot.
func (c *checker) taskFiles(ctx context.Context) {
	if len(c.cfg.Tasks.Files) == 0 {
		return
	}
	source, err := filesource.New(filesource.Config{Globs: c.cfg.Tasks.Files}, slog.New(slog.DiscardHandler))
	if err != nil {
		c.fail(exitBadConfig, "tasks.files", err.Error(), "")
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var snap task.Snapshot
	_ = source.Run(ctx, func(s task.Snapshot) { snap = s; cancel() })
	for _, r := range snap.Refused {
		c.fail(exitBadConfig, "tasks.files", r.Origin+": "+r.Error, "")
	}
	if len(snap.Tasks) == 0 && len(snap.Refused) == 0 {
		c.ok("tasks.files", "no task yet in %s", strings.Join(c.cfg.Tasks.Files, ", "))
		return
	}
	others := 0
	for _, t := range snap.Tasks {
		if t.Select.Matches(c.self) {
			c.tasks = append(c.tasks, t)
		} else {
			others++
		}
	}
	c.ok("tasks.files", "%s in %s%s", count(len(snap.Tasks), "valid task"), strings.Join(c.cfg.Tasks.Files, ", "), forOthers(others))
}

// forOthers tells of tasks that this agent will not run.
func forOthers(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d for other agents", n)
}

// paths counts the files of a task and tries whether they can be read.
func (c *checker) paths(t task.Task) {
	files := map[string]bool{}
	for _, glob := range t.Paths {
		matches, err := doublestar.FilepathGlob(glob, doublestar.WithFilesOnly())
		if err != nil {
			c.fail(exitFailed, "paths", fmt.Sprintf("task %s: %s: %v", t.Name, glob, err), "check the rights of its directories")
			return
		}
		for _, m := range matches {
			files[m] = !excluded(t.Exclude, m)
		}
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !files[name] {
			continue
		}
		if err := unix.Access(name, unix.R_OK); err != nil {
			c.fail(exitFailed, "paths", fmt.Sprintf("task %s: no right to read %s", t.Name, name),
				fmt.Sprintf("give it to the user of the agent (now uid %d)", os.Getuid()))
			return
		}
		n++
	}
	if n == 0 {
		c.ok("paths", "task %s: no file yet matches %s", t.Name, strings.Join(t.Paths, ", "))
		return
	}
	c.ok("paths", "task %s: %s", t.Name, count(n, "file"))
}

// excluded follows the rule of task.Task.Exclude.
func excluded(globs []string, name string) bool {
	for _, g := range globs {
		subject := name
		if !strings.Contains(g, "/") {
			subject = filepath.Base(name)
		}
		if ok, _ := doublestar.Match(g, subject); ok {
			return true
		}
	}
	return false
}

// kafka asks one cluster for its brokers and topics.
func (c *checker) kafka(ctx context.Context, check, name string, cfg kafka.Config) {
	if len(cfg.Brokers) == 0 {
		return
	}
	cfg.RequestTimeout = c.timeout
	addrs := strings.Join(cfg.Brokers, ", ")
	topics, err := admin.New(ctx, cfg)
	if errors.Is(err, admin.ErrAccess) { // it says what to do
		c.fail(exitFailed, check, err.Error(), "")
		return
	}
	if err != nil {
		c.fail(exitFailed, check, err.Error(), "start the brokers, or correct "+check+".brokers")
		return
	}
	defer func() { _ = topics.Close() }()
	list, err := topics.List(ctx)
	if err != nil {
		c.fail(exitFailed, check, fmt.Sprintf("%s: %v", addrs, err), "look into the brokers' log")
		return
	}
	c.topics[name] = map[string]bool{}
	for _, t := range list {
		c.topics[name][t.Name] = true
	}
	brokers, err := topics.Brokers(ctx)
	if err != nil {
		c.fail(exitFailed, check, fmt.Sprintf("%s: %v", addrs, err), "look into the brokers' log")
		return
	}
	c.ok(check, "%s: %s, %s", addrs, count(len(brokers), "broker"), count(len(list), "topic"))
}

// topic looks whether a task's topic exists or will be created.
func (c *checker) topic(t task.Task) {
	cluster, known := c.cfg.Cluster(t.Cluster)
	if !known {
		c.fail(exitBadConfig, "topic", fmt.Sprintf("task %s: cluster %q is not configured", t.Name, t.Cluster), "add it under clusters, or correct the task")
		return
	}
	existing, reached := c.topics[t.Cluster]
	switch {
	case !reached:
		return
	case existing[t.FixedTopic()]:
		c.ok("topic", "task %s: %s exists", t.Name, t.FixedTopic())
	case t.CreateTopic != nil || cluster.CreateTopics != nil:
		c.ok("topic", "task %s: %s will be created", t.Name, t.FixedTopic())
	default:
		c.fail(exitFailed, "topic", fmt.Sprintf("task %s: topic %s does not exist", t.Name, t.FixedTopic()),
			fmt.Sprintf("run 'logferry topic create %s', or set create_topic in the task", t.FixedTopic()))
	}
	c.namedTopics(t, existing, t.CreateTopic != nil || cluster.CreateTopics != nil)
}

// namedTopics looks for the topics that a template can make.
func (c *checker) namedTopics(t task.Task, existing map[string]bool, create bool) {
	if !t.HasTopicTemplate() {
		return
	}
	n := 0
	for name := range existing {
		if slices.ContainsFunc(t.TopicsAllowed, func(glob string) bool { ok, _ := path.Match(glob, name); return ok }) {
			n++
		}
	}
	allowed := strings.Join(t.TopicsAllowed, ", ")
	switch {
	case n > 0 || create:
		c.ok("topic", "task %s: %s: %s, %s", t.Name, allowed, count(n, "topic"),
			map[bool]string{true: "others will be created", false: "records for others go to " + t.TopicFallback}[create])
	default:
		c.fail(exitFailed, "topic", fmt.Sprintf("task %s: no topic matches %s, so all records go to %s", t.Name, allowed, t.TopicFallback),
			"create the topics, or set create_topic in the task")
	}
}
