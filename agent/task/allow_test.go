package task

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllowListContainsResolvedPathsOnly(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		path     string
		want     bool
	}{
		{[]string{"/var/log/**"}, "/var/log/nginx/access.log", true},
		{[]string{"/var/log/**"}, "/var/log/a.log", true},
		{[]string{"/var/log/**"}, "/var/logs/a.log", false},
		{[]string{"/var/log/**"}, "/etc/shadow", false},
		{[]string{"/var/log/**"}, "/var/log/../../etc/shadow", false},
		{[]string{"/var/log/**"}, "var/log/a.log", false},
		{[]string{"/var/log/**"}, "", false},
		{[]string{"/var/log"}, "/var/log/nginx/access.log", true},
		{[]string{"/var/log/"}, "/var/log/nginx/access.log", true},
		{[]string{"/var/log"}, "/var/logs", false},
		{[]string{"/"}, "/etc/hostname", true},
		{[]string{"/var/log/*.log"}, "/var/log/a.log", true},
		{[]string{"/var/log/*.log"}, "/var/log/nginx/a.log", false},
		{[]string{"/srv/*/logs/**", "/var/log/**"}, "/srv/shop/logs/x", true},
		{nil, "/var/log/a.log", false},
	} {
		allow, err := NewAllowList(c.patterns)
		require.NoError(t, err)
		require.Equal(t, c.want, allow.Contains(c.path), "%v %s", c.patterns, c.path)
	}
}

func TestAllowListCoversGlobsThatBeginInsideOfIt(t *testing.T) {
	for _, c := range []struct {
		pattern string
		glob    string
		want    bool
	}{
		{"/var/log/**", "/var/log/nginx/*.log", true},
		{"/var/log/**", "/var/log/*.log", true},
		{"/var/log/**", "/var/log/**/*.log", true},
		{"/var/log/**", "/var/log/app.log", true},
		{"/var/log/**", "/var/log/{a,b}/*.log", true},
		{"/var/log/**", "/var/*/x.log", false},
		{"/var/log/**", "/var/{log,lib}/x.log", false},
		{"/var/log/**", "/**", false},
		{"/var/log/**", "/**/*.log", false},
		{"/var/log/**", "/var/log/../../etc/*", false},
		{"/var/log/**", "/var/log/{..,x}/passwd", false},
		{"/var/log/**", `/var/log/\.\./*`, false},
		{"/var/log/**", "var/log/*.log", false},
		{"/var/log/**", "/var/log/[", false},
		{"/var/log/**", "/var/logs/*.log", false},
		{"/var/log/**", `/var/log/\[a]/*.log`, true},
		{"/var/log", "/var/log/*.log", true},
		{"/", "/srv/*.log", true},
		{"/*.log", "/a*.log", true},
		{"/*.log", "/srv/a*.log", false},
		{"/var/log/*.log", "/var/log/app*.log", true},
		{"/var/log/*.log", "/var/log/*/x.log", false},
		{"/var/log/*.log", "/var/log/**", false},
		{"/var/log/*", "/var/log/nginx/*.log", false},
		{"/var/log/**/*.log", "/var/log/nginx/*/*.log", true},
		{"/srv/*/logs/**", "/srv/shop/logs/*.log", true},
		{"/srv/*/logs/**", "/srv/*/logs/*.log", false},
	} {
		allow, err := NewAllowList([]string{c.pattern})
		require.NoError(t, err)
		require.Equal(t, c.want, allow.Covers(c.glob), "%s covers %s", c.pattern, c.glob)
	}
}

func TestAllowListRefusesPatternsThatCannotWork(t *testing.T) {
	for pattern, want := range map[string]string{
		"var/log/**":     `allow_paths[0]: "var/log/**" is not an absolute path; begin it with /`,
		"/var/log/../**": `allow_paths[0]: "/var/log/../**" holds ..; write the path without it`,
		"/var/log/[a":    `allow_paths[0]: "/var/log/[a" is not a valid glob; close its brackets and braces, or escape them with \`,
		"":               `allow_paths[0]: is empty; write a path or remove it`,
	} {
		_, err := NewAllowList([]string{pattern})
		require.EqualError(t, err, want)
	}
}

func TestRemoteTasksStayInsideAllowPathsAndWriteNoLocalFile(t *testing.T) {
	allow, err := NewAllowList([]string{"/var/log/**", "/srv/logs"})
	require.NoError(t, err)
	good := Task{Paths: []string{"/var/log/*.log", "/srv/logs/x"}, DeadLetter: &DeadLetter{Topic: "dead"}}
	require.NoError(t, good.ValidateRemote(allow))

	bad := Task{Paths: []string{"/var/log/*.log", "/etc/*"}, DeadLetter: &DeadLetter{File: "/etc/cron.d/x"}}
	require.EqualError(t, bad.ValidateRemote(allow),
		`paths[1]: "/etc/*" reaches outside of allow_paths (/var/log/**, /srv/logs/**); change it, or allow_paths in agent.yaml`+"\n"+
			`dead_letter.file: a task from etcd cannot choose a local file to write to; use dead_letter.topic, or set the file in agent.yaml`)
	require.ErrorContains(t, good.ValidateRemote(AllowList{}), "allow_paths (nothing)")
}
