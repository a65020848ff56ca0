package etcdtest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"logferry/test/etcdtest/localetcd"
)

// WithTLS makes clients speak TLS. The test's own clients trust the file's CA
// and show the server's certificate as theirs.
func WithTLS(files localetcd.TLS) Option {
	return func(_ testing.TB, c *localetcd.Config) { c.TLS = files }
}

// clientTLS is nil for plain text.
func clientTLS(t testing.TB, files localetcd.TLS) *tls.Config {
	t.Helper()
	if files.CertFile == "" {
		return nil
	}
	own, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatalf("load etcd's certificate: %v", err)
	}
	pool := x509.NewCertPool()
	for _, path := range []string{files.CertFile, files.ClientCAFile} {
		if path == "" {
			continue
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("load etcd's authority: %v", err)
		}
		pool.AppendCertsFromPEM(pem)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
}
