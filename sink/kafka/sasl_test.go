package kafka

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestLoginsThatCannotWorkAreRefused(t *testing.T) {
	plain := func() SASL { return SASL{Mechanism: "PLAIN", Username: "u", Password: "p"} }
	oauth := func() SASL {
		return SASL{Mechanism: "OAUTHBEARER", OAuth: &OAuth{TokenURL: "https://idp/token", ClientID: "c", ClientSecretFile: "f", Timeout: time.Second}}
	}
	kerberos := func() SASL {
		return SASL{Mechanism: "GSSAPI", Username: "u", Kerberos: &Kerberos{Realm: "R", KeytabFile: "k"}}
	}
	for _, good := range []SASL{plain(), oauth(), kerberos(), {Mechanism: "GSSAPI", Kerberos: &Kerberos{CCacheFile: "c"}},
		{Mechanism: "AWS_MSK_IAM", AWS: &AWS{Region: "r"}}} {
		require.NoError(t, good.validate())
	}
	for _, c := range []struct {
		base   func() SASL
		change func(*SASL)
		want   string
	}{
		{plain, func(s *SASL) { s.Mechanism = "" }, "mechanism: is missing; use one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI, AWS_MSK_IAM"},
		{plain, func(s *SASL) { s.Mechanism = "scram-sha512" }, `mechanism: "scram-sha512" is unknown; did you mean SCRAM-SHA-512?`},
		{plain, func(s *SASL) { s.Mechanism = "OAUTH" }, `mechanism: "OAUTH" is unknown; did you mean OAUTHBEARER?`},
		{plain, func(s *SASL) { s.Mechanism = "DIGEST" }, `mechanism: "DIGEST" is unknown; use one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI, AWS_MSK_IAM`},
		{plain, func(s *SASL) { s.Username = "" }, "username: is missing; PLAIN needs one"},
		{plain, func(s *SASL) { s.Password = "" }, "password_file: is missing; set it, or password"},
		{plain, func(s *SASL) { s.PasswordFile = "f" }, "password: password and password_file are both set; keep one"},
		{plain, func(s *SASL) { s.OAuth = &OAuth{} }, "oauth: is for mechanism OAUTHBEARER, not PLAIN; take it out"},
		{oauth, func(s *SASL) { s.Username = "u" }, "username: is for mechanism PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, GSSAPI, not OAUTHBEARER; take it out"},
		{oauth, func(s *SASL) { s.OAuth = nil }, "oauth.token_url: is missing; set it, or oauth.token_file"},
		{oauth, func(s *SASL) { s.OAuth.TokenFile = "f" }, "oauth.token_file: token_file and token_url are both set; keep one"},
		{oauth, func(s *SASL) { s.OAuth.TokenURL, s.OAuth.TokenFile = "", "f" }, "oauth.token_file: client_id, client_secret, scopes, params and ca_file are for token_url; take them out"},
		{oauth, func(s *SASL) { s.OAuth.ClientID = "" }, "oauth.client_id: is missing while token_url is set; set both"},
		{oauth, func(s *SASL) { s.OAuth.ClientSecret = "s" }, "oauth.client_secret: client_secret and client_secret_file are both set; keep one"},
		{oauth, func(s *SASL) { s.OAuth.ClientSecretFile = "" }, "oauth.client_secret_file: is missing; set it, or client_secret"},
		{oauth, func(s *SASL) { s.OAuth.TokenURL = "http://idp/token" }, "oauth.token_url: would send the client's secret in clear; write https://"},
		{oauth, func(s *SASL) { s.OAuth.TokenURL = "https://c:s3cret@idp/token" }, "oauth.token_url: holds a login; use client_id and client_secret_file instead"},
		{oauth, func(s *SASL) { s.OAuth.TokenURL = "idp" }, "oauth.token_url: is not a URL; write it as https://HOST/PATH"},
		{oauth, func(s *SASL) { s.OAuth.Timeout = time.Hour }, "oauth.timeout: 1h0m0s is outside of 10ms to 10m0s"},
		{oauth, func(s *SASL) { s.OAuth.Extensions = map[string]string{"auth": "x"} }, `oauth.extensions: "auth" cannot be sent; use letters only, and not auth`},
		{kerberos, func(s *SASL) { s.Kerberos = nil }, "kerberos.keytab_file: is missing; set it, or kerberos.ccache_file"},
		{kerberos, func(s *SASL) { s.Kerberos.CCacheFile = "c" }, "kerberos.keytab_file: keytab_file and ccache_file are both set; keep one"},
		{kerberos, func(s *SASL) { s.Username = "" }, "username: is missing; name the principal that the keytab is of, without its realm"},
		{kerberos, func(s *SASL) { s.Kerberos.Realm = "" }, "kerberos.realm: is missing; name the realm of the principal, such as EXAMPLE.COM"},
		{kerberos, func(s *SASL) { s.Username = "u@R" }, "username: holds a realm; put it into kerberos.realm"},
		{kerberos, func(s *SASL) { s.Kerberos.KeytabFile, s.Kerberos.CCacheFile = "", "c" }, "kerberos.ccache_file: names its own principal; take username and kerberos.realm out"},
		{plain, func(s *SASL) { *s = SASL{Mechanism: "AWS_MSK_IAM"} }, "aws.region: is missing; name the region of the cluster, such as eu-central-1"},
		{plain, func(s *SASL) { *s = SASL{Mechanism: "AWS_MSK_IAM", AWS: &AWS{Region: "r", Profile: "p", RoleARN: "a"}} },
			"aws.profile: does not go with role_arn; set role_arn in the profile, or take one of them out"},
	} {
		s := c.base()
		c.change(&s)
		require.EqualError(t, s.validate(), c.want)
		cfg := valid()
		cfg.SASL = &s
		require.EqualError(t, cfg.Validate(), "sasl."+c.want)
	}
	cfg := valid()
	cfg.TLS = &TLSConfig{CertFile: "c"}
	require.EqualError(t, cfg.Validate(), "tls.key_file: is missing while cert_file is set; set both or none")
}

func TestSaramaGetsEveryMechanism(t *testing.T) {
	for want, s := range map[sarama.SASLMechanism]*SASL{
		"SCRAM-SHA-256": {Mechanism: "PLAIN", Username: "u", Password: "p"}, // in disguise
		"SCRAM-SHA-512": {Mechanism: "SCRAM-SHA-512", Username: "u", Password: "p"},
		"OAUTHBEARER":   {Mechanism: "AWS_MSK_IAM", AWS: &AWS{Region: "r"}},
		"GSSAPI":        {Mechanism: "GSSAPI", Kerberos: &Kerberos{CCacheFile: "c"}},
	} {
		c := Config{Brokers: []string{"127.0.0.1:9092"}, TLS: &TLSConfig{}, SASL: s}
		c.SetDefaults()
		require.NoError(t, c.Validate())
		sc, err := c.Sarama()
		require.NoError(t, err)
		require.True(t, sc.Net.SASL.Enable)
		require.Equal(t, want, sc.Net.SASL.Mechanism)
		require.Equal(t, int16(1), sc.Net.SASL.Version)
		require.Equal(t, "-", sc.Net.SASL.Password)
		require.False(t, sc.Net.TLS.Enable, "the dialer speaks TLS")
	}
}

func TestCopiesOfAConfigurationShareWhatWasRead(t *testing.T) {
	c := Config{Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: "OAUTHBEARER", OAuth: &OAuth{TokenFile: "f"}}}
	c.SetDefaults()
	same := c
	same.SetDefaults()
	require.NotNil(t, c.access)
	require.Same(t, c.access, same.access)
	plain := Config{Brokers: []string{"a:1"}}
	plain.SetDefaults()
	require.Nil(t, plain.access)
}

func TestASecretIsSeenNowhere(t *testing.T) {
	cfg := Config{Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: "PLAIN", Username: "u", Password: "hunter2", OAuth: &OAuth{ClientSecret: "hunter2"}}}
	book := &logbook{}
	slog.New(slog.NewJSONHandler(book, nil)).Info("x", "config", cfg, "sasl", cfg.SASL, "password", cfg.SASL.Password)
	slog.New(slog.NewTextHandler(book, nil)).Info("x", "config", cfg, "sasl", cfg.SASL, "password", cfg.SASL.Password)
	asJSON, err := json.Marshal(cfg)
	require.NoError(t, err)
	asYAML, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	for _, text := range []string{
		string(asJSON), string(asYAML), book.String(), fmt.Sprintf("%v %+v %s", *cfg.SASL, *cfg.SASL, cfg.SASL.Password),
		fmt.Sprintf("%#v %q %x", *cfg.SASL, cfg.SASL.Password, cfg.SASL.Password), fmt.Sprint(cfg.SASL.OAuth),
	} {
		require.NotContains(t, text, "hunter2")
		require.NotContains(t, text, fmt.Sprintf("%x", "hunter2"))
	}
	require.Contains(t, string(asYAML), "***")
	require.Empty(t, fmt.Sprint(Secret("")))
}
