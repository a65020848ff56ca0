package tlsfiles

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/test/certs"
)

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{CertFile: "c"}, `key_file: is missing while cert_file is set; set both or none`},
		{Config{KeyFile: "k"}, `cert_file: is missing while key_file is set; set both or none`},
		{Config{MinVersion: "1.1"}, `min_version: "1.1" is no version; write "1.2" or "1.3"`},
	} {
		require.EqualError(t, c.cfg.Validate(), c.want)
	}
	require.NoError(t, Config{}.Validate())
}

func TestFilesBecomeSettings(t *testing.T) {
	a := certs.NewAuthority(t)
	cert, key := a.Issue(t, "agent")
	got, err := Config{CAFile: a.CAFile, CertFile: cert, KeyFile: key, ServerName: "broker", MinVersion: "1.3"}.Load()
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), got.MinVersion)
	require.Equal(t, "broker", got.ServerName)
	require.Len(t, got.Certificates, 1)
	require.NotNil(t, got.RootCAs)

	got, err = Config{}.Load()
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), got.MinVersion)
	require.Nil(t, got.RootCAs, "the system's authorities")
}

func TestRenewedFilesAreUsedAndBadOnesChangeNothing(t *testing.T) {
	a := certs.NewAuthority(t)
	dir := t.TempDir()
	cfg := Config{CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	f := New(cfg)
	var told []string
	tell := func(err error) { told = append(told, err.Error()) }

	_, err := f.Get(tell)
	require.EqualError(t, err, "tls.ca_file: open "+cfg.CAFile+": no such file or directory; check its name and mode")

	cert, key := a.Issue(t, "agent")
	copyFile(t, cfg.CAFile, a.CAFile)
	copyFile(t, cfg.CertFile, cert)
	copyFile(t, cfg.KeyFile, key)
	first, err := f.Get(tell)
	require.NoError(t, err)
	again, err := f.Get(tell)
	require.NoError(t, err)
	require.Same(t, first, again)
	require.Empty(t, told)

	cert, key = a.Issue(t, "agent")
	copyFile(t, cfg.CertFile, cert) // and its key is yet to come
	for range 3 {
		got, err := f.Get(tell)
		require.NoError(t, err)
		require.Same(t, first, got)
	}
	require.Len(t, told, 1)
	require.Contains(t, told[0], "tls.cert_file, tls.key_file: tls: private key does not match public key")

	copyFile(t, cfg.KeyFile, key)
	second, err := f.Get(tell)
	require.NoError(t, err)
	require.NotEqual(t, first.Certificates[0].Certificate, second.Certificates[0].Certificate)

	require.NoError(t, os.WriteFile(cfg.CAFile, nil, 0o600))
	got, err := f.Get(tell)
	require.NoError(t, err)
	require.Same(t, second, got)
	require.Equal(t, "tls.ca_file: "+cfg.CAFile+" holds no certificate; it must be in PEM", told[1])
}
