package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	var entries []etcdsource.Entry
	for _, group := range append([]string{""}, e.Groups...) {
		some, _, err := store.Group(group).List(ctx)
		if err != nil {
			c.fail(exitFailed, "etcd", err.Error(), "")
			return
		}
		entries = append(entries, some...)
	}
	allow, err := task.NewAllowList(c.cfg.AllowPaths)
	if err != nil {
		c.fail(exitBadConfig, "allow_paths", err.Error(), "")
		return
	}
	found, others := len(c.findings), 0
	c.ok("etcd", "")
	for _, entry := range entries {
		origin := fmt.Sprintf("%s/tasks/%s", e.Prefix, entry.Name)
		t, selected, err := task.DecodeFor(entry.Raw, origin, entry.Name, allow, c.self)
		switch {
		case err != nil:
			c.fail(exitBadConfig, "etcd", strings.Join(problemLines(err), "; "), "")
		case !selected:
			others++
		default:
			c.tasks = append(c.tasks, t)
		}
	}
	c.rights(ctx, store)
	c.findings[found].Detail = fmt.Sprintf("%s: %s below %s/tasks/%s", at, count(len(entries), "task"), e.Prefix, forOthers(others))
}

// rights looks at what the login may do besides.
func (c *checker) rights(ctx context.Context, store *etcdsource.Store) {
	rights, err := store.Rights(ctx, c.self.ID)
	missing := rights.Missing()
	for _, group := range c.cfg.Tasks.Etcd.Groups {
		more, groupErr := store.Group(group).Rights(ctx, c.self.ID)
		missing, err = append(missing, more.Missing()...), errors.Join(err, groupErr)
	}
	if err != nil {
		c.fail(exitFailed, "etcd rights", oneLine(err.Error()), "")
		return
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	for _, text := range missing {
		c.fail(exitFailed, "etcd rights", text, "")
	}
	switch {
	case len(missing) > 0:
	case rights.Leads():
		c.ok("etcd rights", "this agent may register, take part in rollouts and move them on")
	default:
		c.ok("etcd rights", "this agent may register and take part in rollouts; others have to move them on, which needs readwrite on %s and read on %s and %s",
			rights.Rollouts.Prefix, rights.Agents.Prefix, rights.Status.Prefix)
	}
}
