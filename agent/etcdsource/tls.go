package etcdsource

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"

	"google.golang.org/grpc/credentials"

	"logferry/internal/tlsfiles"
)

// TLSConfig says how to speak TLS with etcd: the `tls:` section of agent.yaml.
// Its files are read anew at each connection, so that renewed certificates
// are used without a restart; files that are of no use leave the last good ones in use.
type TLSConfig = tlsfiles.Config

// fileCredentials makes each connection with the files as they are then. Safe
// for use from several goroutines.
type fileCredentials struct {
	cfg   TLSConfig
	files *tlsfiles.Files
	log   *slog.Logger
}

var _ credentials.TransportCredentials = (*fileCredentials)(nil)

// newFileCredentials returns nil without tls.
func newFileCredentials(cfg Config, log *slog.Logger) *fileCredentials {
	if cfg.TLS == nil {
		return nil
	}
	return &fileCredentials{cfg: *cfg.TLS, files: tlsfiles.New(*cfg.TLS), log: log}
}

// ClientHandshake implements credentials.TransportCredentials.
func (f *fileCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := f.files.Get(func(fault error) {
		f.log.Warn("a renewed TLS file for etcd cannot be used, the last good one stays in use; mend it", "error", fault)
	})
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
func (f *fileCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info implements credentials.TransportCredentials.
func (f *fileCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (f *fileCredentials) Clone() credentials.TransportCredentials { return f }

// OverrideServerName implements credentials.TransportCredentials; the name is
// that of the configuration.
func (f *fileCredentials) OverrideServerName(string) error { return nil }

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
