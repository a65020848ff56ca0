package etcdsource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
)

// TLSConfig says how to speak TLS with etcd: the `tls:` section of agent.yaml.
// Its files are read anew at each connection, so that renewed certificates
// are used without a restart.
type TLSConfig struct {
	CAFile     string `yaml:"ca_file,omitempty"`     // PEM; whom to trust; empty: the system's authorities
	CertFile   string `yaml:"cert_file,omitempty"`   // PEM; what to show to etcd; empty: nothing
	KeyFile    string `yaml:"key_file,omitempty"`    // PEM; belongs to CertFile
	ServerName string `yaml:"server_name,omitempty"` // name that etcd's certificate must hold; empty: the endpoint's host
	MinVersion string `yaml:"min_version,omitempty"` // "1.2" (default) or "1.3"
}

// TLSVersions lists what min_version can be.
var TLSVersions = []string{"1.2", "1.3"}

// Validate reports what cannot work, without a look at the files. The error is
// one line, "KEY: what is wrong; what to write instead".
func (c TLSConfig) Validate() error {
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		return errors.New("key_file: is missing while cert_file is set; set both or none")
	case c.KeyFile != "" && c.CertFile == "":
		return errors.New("cert_file: is missing while key_file is set; set both or none")
	case c.MinVersion != "" && !slices.Contains(TLSVersions, c.MinVersion):
		return fmt.Errorf("min_version: %q is no version; write %q or %q", c.MinVersion, TLSVersions[0], TLSVersions[1])
	}
	return nil
}

// Load reads the files. Its error begins with the key of the file to mend.
func (c TLSConfig) Load() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.MinVersion == "1.3" {
		out.MinVersion = tls.VersionTLS13
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w; check its name and mode", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate; it must be in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file, tls.key_file: %w; check that %s is in PEM, can be read, and has its key in %s", err, c.CertFile, c.KeyFile)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// fileCredentials makes each connection with the files as they are then.
type fileCredentials struct{ cfg TLSConfig }

var _ credentials.TransportCredentials = fileCredentials{}

// ClientHandshake implements credentials.TransportCredentials.
func (f fileCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := f.cfg.Load()
	if err != nil {
		return nil, nil, err
	}
	if f.cfg.ServerName != "" { // grpc holds the certificate against the authority alone
		authority = f.cfg.ServerName
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake implements credentials.TransportCredentials; an agent is no
// server.
func (f fileCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info implements credentials.TransportCredentials.
func (f fileCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (f fileCredentials) Clone() credentials.TransportCredentials { return f }

// OverrideServerName implements credentials.TransportCredentials; the name is
// that of the configuration.
func (f fileCredentials) OverrideServerName(string) error { return nil }

// tlsRemedies are what to do about the words of an error that TLS has made,
// the particular before the general.
var tlsRemedies = []struct{ words, remedy string }{
	{"tls.ca_file: ", "mend that file"},
	{"tls.cert_file, tls.key_file: ", "mend these files"},
	{"signed by unknown authority", "set tls.ca_file to the authority that signed etcd's certificate"},
	{"has expired or is not yet valid", "renew etcd's certificate, and check the clocks"},
	{"certificate is valid for", "set tls.server_name to a name in etcd's certificate, or use it in the endpoint"},
	{"cannot validate certificate for", "set tls.server_name to a name in etcd's certificate, or use it in the endpoint"},
	{"certificate is not valid for any names", "give etcd a certificate that holds its name"},
	{"does not look like a TLS handshake", "etcd speaks plain text there: write http:// in the endpoint and take tls out"},
	{"authentication handshake failed: EOF", "etcd speaks plain text there: write http:// in the endpoint and take tls out"},
	{"remote error: tls: protocol version", "etcd does not speak tls.min_version; lower it, or raise etcd's"},
	{"protocol version not supported", "etcd does not speak tls.min_version; lower it, or raise etcd's"},
	{"remote error: tls:", "set tls.cert_file and tls.key_file to a valid certificate whose authority etcd trusts"},
}

// tlsRemedy says what to do about an error that TLS has made; "" for others.
func tlsRemedy(cfg Config, err error) string {
	text := err.Error()
	for _, r := range tlsRemedies {
		if strings.Contains(text, r.words) {
			return r.remedy
		}
	}
	// The server's own words about a certificate can come too late to be read.
	for _, cut := range []string{"broken pipe", "connection reset by peer", "error reading server preface"} {
		if cfg.TLS != nil && strings.Contains(text, cut) {
			return "etcd closed it; if it asks for a certificate, set tls.cert_file and tls.key_file to one whose authority it trusts"
		}
	}
	if cfg.TLS == nil && strings.Contains(text, "error reading server preface") {
		return "if it speaks TLS, set tls.ca_file, or write https:// in the endpoint"
	}
	return ""
}
