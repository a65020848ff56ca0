package etcdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logferry/test/etcdtest/localetcd"
)

// Authority signs certificates for a test. Its files are in PEM.
type Authority struct {
	CAFile string

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority whose files lie in t.TempDir().
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir()}
	var der []byte
	der, a.key = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.CAFile = cert, a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

// Issue makes a certificate for hosts: names and addresses. Issued again
// under the same name, it replaces the files.
func (a *Authority) Issue(t testing.TB, name string, hosts ...string) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, key := a.sign(t, template)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, name+".pem", "CERTIFICATE", der), a.write(t, name+".key", "PRIVATE KEY", pkcs8)
}

func (a *Authority) sign(t testing.TB, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func (a *Authority) write(t testing.TB, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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
