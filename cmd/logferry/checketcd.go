package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"logferry/agent/etcdsource"
	"logferry/agent/task"
)

// etcd lists the tasks that are there.
func (c *checker) etcd(ctx context.Context) {
	e := c.cfg.Tasks.Etcd
	if e == nil {
		return
	}
	at := strings.Join(e.Endpoints, ", ")
	cfg, err := e.Client()
	if err != nil {
		c.fail(exitBadConfig, "etcd", err.Error(), "correct tasks.etcd.password_file")
		return
	}
	cfg.DialTimeout, cfg.RequestTimeout = c.timeout, c.timeout
	store, err := etcdsource.OpenStore(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		c.fail(exitBadConfig, "etcd", err.Error(), "")
		return
	}
	defer func() { _ = store.Close() }()
	entries, _, err := store.List(ctx)
	if err != nil {
		c.fail(exitFailed, "etcd", err.Error(), "")
		return
	}
	c.ok("etcd", "%s: %s below %s/tasks/", at, count(len(entries), "task"), e.Prefix)
	allow, err := task.NewAllowList(c.cfg.AllowPaths)
	if err != nil {
		c.fail(exitBadConfig, "allow_paths", err.Error(), "")
		return
	}
	for _, entry := range entries {
		origin := fmt.Sprintf("%s/tasks/%s", e.Prefix, entry.Name)
		t, err := task.DecodeRemote(entry.Raw, origin, entry.Name, allow)
		if err != nil {
			c.fail(exitBadConfig, "etcd", strings.Join(problemLines(err), "; "), "")
			continue
		}
		c.tasks = append(c.tasks, t)
	}
}
