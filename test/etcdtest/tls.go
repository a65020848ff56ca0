package etcdtest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"logferry/test/certs"
	"logferry/test/etcdtest/localetcd"
)

// Authority signs certificates for a test.
type Authority = certs.Authority

// NewAuthority makes an authority whose files lie in t.TempDir().
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	return certs.NewAuthority(t)
}

// WithTLS makes clients speak TLS with a server certificate of a for hosts,
// by default 127.0.0.1. With mutual, clients must show a certificate of a.
func WithTLS(a *Authority, mutual bool, hosts ...string) Option {
	return func(t testing.TB, c *localetcd.Config) {
		t.Helper()
		if len(hosts) == 0 {
			hosts = []string{"127.0.0.1"}
		}
		c.TLS.CertFile, c.TLS.KeyFile = a.Issue(t, "etcd", hosts...)
		if mutual {
			c.TLS.ClientCAFile = a.CAFile
		}
	}
}

// clientTLS is what the test's own clients speak; nil: plain text. They show
// the server's certificate.
func clientTLS(t testing.TB, files localetcd.TLS) *tls.Config {
	t.Helper()
	if files.CertFile == "" {
		return nil
	}
	own, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatalf("load etcd's certificate: %v", err)
	}
	server, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatalf("load etcd's certificate: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(server)
	name := server.Subject.CommonName
	switch {
	case len(server.DNSNames) > 0:
		name = server.DNSNames[0]
	case len(server.IPAddresses) > 0:
		name = server.IPAddresses[0].String()
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}, ServerName: name, MinVersion: tls.VersionTLS12}
}
