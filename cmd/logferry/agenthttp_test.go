package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/etcdtest"
)

func TestCommandsShowATokenOrACertificateToAnAgentThatSpeaksTLS(t *testing.T) {
	dir, ca := t.TempDir(), etcdtest.NewAuthority(t)
	cert, key := ca.Issue(t, "agent", "agent.test")
	clientCert, clientKey := ca.Issue(t, "client")
	token, wrong := filepath.Join(dir, "token"), filepath.Join(dir, "wrong")
	require.NoError(t, os.WriteFile(token, []byte(strings.Repeat("t", 32)), 0o600))
	require.NoError(t, os.WriteFile(wrong, []byte(strings.Repeat("w", 32)), 0o600))
	config, log := filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "a.log")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
state_dir: state
http:
  listen: 127.0.0.1:0
  token_file: token
  tls: {cert_file: %s, key_file: %s, client_ca_file: %s}
kafka: {brokers: ["127.0.0.1:1"]}
`, cert, key, ca.CAFile), 0o600))
	appendTo(t, log, "one\n")
	p := start(t, "run", "--config", config, "--path", log, "--topic", "web")
	addr := p.awaitLog(t, `http=(127\.0\.0\.1:\d+)`)
	p.awaitLog(t, "task started")

	trust := []string{"--ca-file", ca.CAFile, "--server-name", "agent.test"}
	for name, c := range map[string]struct {
		flags []string
		code  int
		says  string
	}{
		"with the token":        {append([]string{"--token-file", token}, trust...), exitOK, "collected, to topic web"},
		"with a certificate":    {append([]string{"--cert-file", clientCert, "--key-file", clientKey}, trust...), exitOK, "collected, to topic web"},
		"with a wrong token":    {append([]string{"--token-file", wrong}, trust...), exitFailed, "answers 401 Unauthorized: show the agent's token"},
		"with nothing":          {trust, exitFailed, "answers 401 Unauthorized: show the agent's token"},
		"half a certificate":    {append([]string{"--cert-file", clientCert}, trust...), exitUsage, "--cert-file and --key-file go together"},
		"trusting nobody":       {[]string{"--token-file", token, "--server-name", "agent.test"}, exitFailed, "who signed its certificate with --ca-file"},
		"another name":          {[]string{"--token-file", token, "--ca-file", ca.CAFile}, exitFailed, "cannot validate certificate for 127.0.0.1"},
		"a token in plain text": {[]string{"--agent", "10.0.0.1:9600", "--token-file", token}, exitFailed, "the token would cross the network in plain text"},
	} {
		out, code := runOnce(t, append([]string{"explain", log, "--agent", addr}, c.flags...)...)
		require.Equal(t, c.code, code, "%s: %s", name, out)
		require.Contains(t, out, c.says, name)
	}

	all := append([]string{"--agent", addr, "--token-file", token}, trust...)
	out, _ := runOnce(t, append([]string{"top", "--once", "-i", "100ms"}, all...)...)
	require.Contains(t, out, "flags")
	out, code := runOnce(t, append([]string{"tap", "none"}, all...)...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, `this agent has no task "none"; it has flags`)
	out, code = runOnce(t, append([]string{"checkpoint", "list", "--config", config}, all...)...)
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, log)
	out, code = runOnce(t, "checkpoint", "list", "--config", config, "--agent", "https://"+addr, "--token-file", token)
	require.Equal(t, exitFailed, code, "its own certificate is only trusted where the configuration says that it listens: %s", out)
	out, _ = runOnce(t, append([]string{"__complete", "tap"}, append(all, "")...)...)
	require.Contains(t, out, "flags\n:4\n")
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
}

func TestTheAgentOfAConfigurationIsTrustedByItsOwnCertificate(t *testing.T) {
	dir, ca := t.TempDir(), etcdtest.NewAuthority(t)
	cert, key := ca.Issue(t, "agent", "agent.test")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(strings.Repeat("t", 32)), 0o600))
	config, log := filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "a.log")
	write := func(listen string) {
		require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
state_dir: state
http:
  listen: %s
  token_file: token
  tls: {cert_file: %s, key_file: %s}
kafka: {brokers: ["127.0.0.1:1"]}
`, listen, cert, key), 0o600))
	}
	write("0.0.0.0:0")
	appendTo(t, log, "one\n")
	p := start(t, "run", "--config", config, "--path", log, "--topic", "web")
	port := p.awaitLog(t, `http=\S*:(\d+)`)
	p.awaitLog(t, "task started")
	write("0.0.0.0:" + port)
	out, code := runOnce(t, "checkpoint", "list", "--config", config)
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, log)

	other, _ := etcdtest.NewAuthority(t).Issue(t, "agent", "agent.test")
	pem, err := os.ReadFile(other)
	require.NoError(t, err)
	stranger := filepath.Join(dir, "stranger.pem")
	require.NoError(t, os.WriteFile(stranger, pem, 0o600))
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(text), cert, stranger)), 0o600))
	out, code = runOnce(t, "checkpoint", "list", "--config", config)
	require.Equal(t, exitFailed, code, out)
	require.Equal(t, exitOK, p.end(t, syscall.SIGTERM))
}
