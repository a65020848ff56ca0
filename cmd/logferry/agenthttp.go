package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logferry/agent"
)

const (
	askTimeout = 10 * time.Second
	maxAnswer  = 16 << 20
)

// agentFlags say which agent to ask over HTTP, and how to be let in.
type agentFlags struct {
	app        *app
	address    string // host:port or URL
	tokenFile  string
	caFile     string
	certFile   string
	keyFile    string
	serverName string
	pinned     string // file with the one certificate that the agent shows; "": any that is trusted

	client *http.Client // nil until it is needed
}

// agentVars adds the flags. The address is empty unless it was given.
func (a *app) agentVars(cmd *cobra.Command, address, help string) *agentFlags {
	f := &agentFlags{app: a}
	flags := cmd.Flags()
	flags.StringVar(&f.address, "agent", address, "HTTP address of the agent"+help)
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the agent's http.token (LOGFERRY_AGENT_TOKEN_FILE)")
	flags.StringVar(&f.caFile, "ca-file", "", "whom to trust, in PEM, if the agent speaks TLS; default the system's authorities (LOGFERRY_AGENT_CA_FILE)")
	flags.StringVar(&f.certFile, "cert-file", "", "certificate to show to the agent, in PEM (LOGFERRY_AGENT_CERT_FILE)")
	flags.StringVar(&f.keyFile, "key-file", "", "its key (LOGFERRY_AGENT_KEY_FILE)")
	flags.StringVar(&f.serverName, "server-name", "", "name in the agent's certificate; default the host of --agent")
	for _, name := range []string{"token-file", "ca-file", "cert-file", "key-file"} {
		_ = cmd.MarkFlagFilename(name)
	}
	return f
}

// agentOf asks the agent that a configuration is of, on this host.
func (a *app) agentOf(cfg agent.Config) *agentFlags {
	host, port, _ := net.SplitHostPort(cfg.HTTP.Listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	f := &agentFlags{app: a, address: net.JoinHostPort(host, port), tokenFile: cfg.HTTP.TokenFile}
	if cfg.HTTP.TLS != nil {
		f.address, f.pinned = "https://"+f.address, cfg.HTTP.TLS.CertFile
	}
	return f
}

// fill takes what is not given from the environment.
func (f *agentFlags) fill() {
	for name, field := range map[string]*string{
		"TOKEN_FILE": &f.tokenFile, "CA_FILE": &f.caFile, "CERT_FILE": &f.certFile, "KEY_FILE": &f.keyFile,
	} {
		*field = cmp.Or(*field, f.app.getenv("LOGFERRY_AGENT_"+name))
	}
}

// url is that of a path of the agent's API.
func (f *agentFlags) url(path string) string {
	address := f.address
	if !strings.Contains(address, "://") {
		scheme := "http://"
		if f.caFile != "" || f.certFile != "" || f.serverName != "" {
			scheme = "https://"
		}
		address = scheme + address
	}
	return strings.TrimSuffix(address, "/") + path
}

// do sends a request. The answer is the caller's to close.
func (f *agentFlags) do(ctx context.Context, path string) (*http.Response, error) {
	f.fill()
	if f.client == nil {
		secure, err := f.tls()
		if err != nil {
			return nil, err
		}
		f.client = &http.Client{Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: askTimeout}).DialContext, ResponseHeaderTimeout: askTimeout, DisableKeepAlives: true, TLSClientConfig: secure,
		}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url(path), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	if f.tokenFile != "" {
		if ip := net.ParseIP(req.URL.Hostname()); req.URL.Scheme != "https" && req.URL.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, errors.New("the token would cross the network in plain text; write https:// before the address of --agent")
		}
		token, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the agent's token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w; give the address of its http.listen with --agent%s", err, remedyOfTLS(err))
	}
	return res, nil
}

// remedyOfTLS adds what to do when the agent answers in another way than it was asked.
func remedyOfTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return ", and who signed its certificate with --ca-file"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return ", with http:// before it"
	case strings.Contains(err.Error(), "malformed HTTP response"):
		return ", with https:// before it"
	}
	return ""
}

func (f *agentFlags) tls() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.serverName}
	if f.caFile != "" {
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("read --ca-file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--ca-file: %s holds no certificate; it must be in PEM", f.caFile)
		}
	}
	if (f.certFile == "") != (f.keyFile == "") {
		return nil, usagef("--cert-file and --key-file go together; give both or none")
	}
	if f.certFile != "" {
		pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
		if err != nil {
			return nil, fmt.Errorf("read --cert-file and --key-file: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	if f.pinned != "" && f.caFile == "" {
		return pin(out, f.pinned), nil
	}
	return out, nil
}

// pin trusts the first certificate of a file and no other, under any name.
func pin(cfg *tls.Config, path string) *tls.Config {
	cfg.InsecureSkipVerify = true // the certificate itself is held against the file's
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the agent's certificate: %w", err)
		}
		want := x509.NewCertPool()
		if !want.AppendCertsFromPEM(data) {
			return fmt.Errorf("%s holds no certificate", path)
		}
		_, err = s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: want})
		return err
	}
	return cfg
}

// askAgent reads a JSON answer of an agent's HTTP API.
func askAgent(ctx context.Context, f *agentFlags, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	res, err := f.do(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent at %s answers %s: %s", f.address, res.Status, oneLine(string(answer)))
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read the agent's answer: %w; is logferry at %s?", err, f.address)
	}
	return nil
}
