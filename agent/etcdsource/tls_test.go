package etcdsource

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/test/etcdtest"
)

func tlsConfig(t *testing.T, e *etcdtest.Cluster, c TLSConfig) Config {
	t.Helper()
	cfg := testConfig(t, e.Endpoints()...)
	cfg.TLS, cfg.RequestTimeout = &c, 2*time.Second
	return cfg
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

func TestTasksComeOverTLSWithCertificatesOnBothSides(t *testing.T) {
	a := etcdtest.NewAuthority(t)
	e := etcdtest.Start(t, etcdtest.WithTLS(a, true))
	e.Put(t, "/logferry/tasks/web", text("one"))
	cert, key := a.Issue(t, "agent")
	for name, version := range map[string]string{"default": "", "1.3": "1.3"} {
		t.Run(name, func(t *testing.T) {
			cfg := tlsConfig(t, e, TLSConfig{CAFile: a.CAFile, CertFile: cert, KeyFile: key, MinVersion: version})
			run(t, cfg).until(map[string]string{"web": "one"})
		})
	}
	t.Run("without a scheme", func(t *testing.T) {
		cfg := tlsConfig(t, e, TLSConfig{CAFile: a.CAFile, CertFile: cert, KeyFile: key})
		cfg.Endpoints = []string{strings.TrimPrefix(e.Endpoints()[0], "https://")}
		run(t, cfg).until(map[string]string{"web": "one"})
	})
}

func TestTLSThatFailsSaysWhatToChange(t *testing.T) {
	a, other := etcdtest.NewAuthority(t), etcdtest.NewAuthority(t)
	e := etcdtest.Start(t, etcdtest.WithTLS(a, true, "etcd.example"))
	plain := etcdtest.Start(t)
	cert, key := a.Issue(t, "agent")
	foreign, foreignKey := other.Issue(t, "agent")
	right := TLSConfig{CAFile: a.CAFile, CertFile: cert, KeyFile: key, ServerName: "etcd.example"}
	for name, c := range map[string]struct {
		change   func(c *TLSConfig)
		endpoint string
		want     string
	}{
		"another authority":     {func(c *TLSConfig) { c.CAFile = other.CAFile }, "", "set tls.ca_file to the authority"},
		"no authority":          {func(c *TLSConfig) { c.CAFile = "" }, "", "set tls.ca_file to the authority"},
		"another name":          {func(c *TLSConfig) { c.ServerName = "" }, "", "set tls.server_name to a name in etcd's certificate"},
		"no certificate":        {func(c *TLSConfig) { c.CertFile, c.KeyFile = "", "" }, "", "set tls.cert_file and tls.key_file"},
		"a foreign certificate": {func(c *TLSConfig) { c.CertFile, c.KeyFile = foreign, foreignKey }, "", "set tls.cert_file and tls.key_file"},
		"a missing file":        {func(c *TLSConfig) { c.CAFile = "/nowhere/ca.pem" }, "", "tls.ca_file: open /nowhere/ca.pem"},
		"plain text":            {func(*TLSConfig) {}, strings.Replace(plain.Endpoints()[0], "http:", "https:", 1), "etcd speaks plain text there"},
	} {
		t.Run(name, func(t *testing.T) {
			tlsCfg := right
			c.change(&tlsCfg)
			cfg := tlsConfig(t, e, tlsCfg)
			if c.endpoint != "" {
				cfg.Endpoints = []string{c.endpoint}
			}
			store, err := OpenStore(cfg, quiet())
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			_, _, err = store.List(t.Context())
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	t.Run("none of it", func(t *testing.T) {
		cfg := testConfig(t, strings.Replace(e.Endpoints()[0], "https:", "http:", 1))
		store, err := OpenStore(cfg, quiet())
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		_, _, err = store.List(t.Context())
		require.ErrorContains(t, err, "if it speaks TLS, set tls.ca_file")
	})
}

func TestRenewedCertificatesAreUsedWithoutARestart(t *testing.T) {
	a, next := etcdtest.NewAuthority(t), etcdtest.NewAuthority(t)
	e := etcdtest.Start(t, etcdtest.WithTLS(a, true))
	e.Put(t, "/logferry/tasks/web", text("one"))
	dir := t.TempDir()
	files := TLSConfig{CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	copyFile(t, files.CAFile, next.CAFile)
	cert, key := next.Issue(t, "agent")
	copyFile(t, files.CertFile, cert)
	copyFile(t, files.KeyFile, key)

	r := run(t, tlsConfig(t, e, files))
	r.failing("set tls.ca_file")
	copyFile(t, files.CAFile, a.CAFile)
	r.failing("set tls.cert_file")
	cert, key = a.Issue(t, "agent")
	copyFile(t, files.CertFile, cert)
	copyFile(t, files.KeyFile, key)
	r.until(map[string]string{"web": "one"})
	r.connected(true)

	require.NoError(t, os.WriteFile(files.CertFile, []byte("nonsense"), 0o600))
	e.Stop(t, 0)
	e.Restart(t, 0)
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"}) // the last good ones stay in use
	fresh := run(t, tlsConfig(t, e, files))
	fresh.failing("tls.cert_file, tls.key_file: tls: failed to find any PEM data")
	copyFile(t, files.CertFile, cert)
	fresh.until(map[string]string{"web": "two"})
}

func TestTLSConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  TLSConfig
		want string
	}{
		{TLSConfig{CertFile: "c"}, `key_file: is missing while cert_file is set; set both or none`},
		{TLSConfig{KeyFile: "k"}, `cert_file: is missing while key_file is set; set both or none`},
		{TLSConfig{MinVersion: "1.1"}, `min_version: "1.1" is no version; write "1.2" or "1.3"`},
	} {
		require.EqualError(t, c.cfg.Validate(), c.want)
		_, err := New(Config{Endpoints: []string{"a:1"}, TLS: &c.cfg}, quiet())
		require.EqualError(t, err, "etcd tls."+c.want)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err := TLSConfig{CAFile: empty}.Load()
	require.EqualError(t, err, "tls.ca_file: "+empty+" holds no certificate; it must be in PEM")
	loaded, err := TLSConfig{MinVersion: "1.3"}.Load()
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), loaded.MinVersion)
}
