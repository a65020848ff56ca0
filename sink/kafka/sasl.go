package kafka

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"logferry/internal/tlsfiles"
)

// TLSConfig says how to speak TLS with the brokers: the `tls:` section of a
// cluster, which may be empty. Its files are read anew at each connection.
type TLSConfig = tlsfiles.Config

// SASL says how to log in: the `sasl:` section of a cluster. Files are read at
// each login.
type SASL struct {
	Mechanism    string    `yaml:"mechanism"`               // see Mechanisms
	Username     string    `yaml:"username,omitempty"`      // with PLAIN, SCRAM, and GSSAPI with a keytab
	Password     Secret    `yaml:"password,omitempty"`      // with PLAIN and SCRAM, this one or PasswordFile
	PasswordFile string    `yaml:"password_file,omitempty"` // line breaks at its end do not count
	OAuth        *OAuth    `yaml:"oauth,omitempty"`         // with OAUTHBEARER
	Kerberos     *Kerberos `yaml:"kerberos,omitempty"`      // with GSSAPI
	AWS          *AWS      `yaml:"aws,omitempty"`           // with AWS_MSK_IAM
}

// The mechanisms of SASL.Mechanism.
const (
	mechPlain    = "PLAIN"
	mechScram256 = "SCRAM-SHA-256"
	mechScram512 = "SCRAM-SHA-512"
	mechOAuth    = "OAUTHBEARER"
	mechGSSAPI   = "GSSAPI"
	mechAWS      = "AWS_MSK_IAM"
)

// Mechanisms names the ways to log in.
var Mechanisms = []string{
	mechPlain,    // user and password, in clear inside of the connection
	mechScram256, // user and password, which is proven and not sent
	mechScram512, // the same with a longer hash
	mechOAuth,    // a token, from a file or from a token endpoint
	mechGSSAPI,   // Kerberos
	mechAWS,      // a signature with AWS credentials: OAUTHBEARER for Amazon MSK
}

// OAuth says where the token for OAUTHBEARER comes from: a file that somebody
// renews, or a token endpoint (client credentials grant, RFC 6749 section 4.4).
type OAuth struct {
	TokenFile string `yaml:"token_file,omitempty"` // a token alone; read at each login

	TokenURL         string            `yaml:"token_url,omitempty"`
	ClientID         string            `yaml:"client_id,omitempty"`
	ClientSecret     Secret            `yaml:"client_secret,omitempty"` // this one or ClientSecretFile
	ClientSecretFile string            `yaml:"client_secret_file,omitempty"`
	Scopes           []string          `yaml:"scopes,omitempty"`
	Params           map[string]string `yaml:"params,omitempty"`  // further ones for the endpoint, such as audience
	CAFile           string            `yaml:"ca_file,omitempty"` // PEM; whom to trust at TokenURL; empty: the system's authorities
	Timeout          time.Duration     `yaml:"timeout,omitempty"` // for one request to the endpoint; default 10s

	Extensions map[string]string `yaml:"extensions,omitempty"` // sent to the broker beside the token (KIP-342)
}

// Kerberos says what GSSAPI logs in with. Its files are read at each login.
type Kerberos struct {
	ServiceName string `yaml:"service_name,omitempty"` // first part of the brokers' principal; default "kafka"
	Realm       string `yaml:"realm,omitempty"`        // of username, with KeytabFile
	KeytabFile  string `yaml:"keytab_file,omitempty"`  // this one or CCacheFile
	CCacheFile  string `yaml:"ccache_file,omitempty"`  // a ticket cache that somebody renews
	ConfigFile  string `yaml:"config_file,omitempty"`  // default /etc/krb5.conf
	DisableFAST bool   `yaml:"disable_fast,omitempty"` // for KDCs that refuse pre-authentication with FAST, such as Active Directory
}

// AWS says how AWS_MSK_IAM signs. Credentials come from where the AWS SDK
// finds them: environment, shared files, web identity, container, instance.
type AWS struct {
	Region      string `yaml:"region"`
	Profile     string `yaml:"profile,omitempty"`      // of the shared files
	RoleARN     string `yaml:"role_arn,omitempty"`     // a role to assume with these credentials
	SessionName string `yaml:"session_name,omitempty"` // of that role's session; default "logferry"
}

const (
	defaultServiceName  = "kafka"
	defaultKerberosFile = "/etc/krb5.conf"
	defaultTokenTimeout = 10 * time.Second
	defaultSessionName  = "logferry"
)

// Files returns where the configuration names files, for relative names to be
// resolved.
func (c Config) Files() []*string {
	var files []*string
	if c.DeadLetter != nil {
		files = append(files, &c.DeadLetter.File)
	}
	if t := c.TLS; t != nil {
		files = append(files, &t.CAFile, &t.CertFile, &t.KeyFile)
	}
	if s := c.SASL; s != nil {
		files = append(files, &s.PasswordFile)
		if o := s.OAuth; o != nil {
			files = append(files, &o.TokenFile, &o.ClientSecretFile, &o.CAFile)
		}
		if k := s.Kerberos; k != nil {
			files = append(files, &k.KeytabFile, &k.CCacheFile, &k.ConfigFile)
		}
	}
	return files
}

// setDefaults fills in every key that was left out.
func (s *SASL) setDefaults() {
	if s.OAuth != nil {
		s.OAuth.Timeout = orElse(s.OAuth.Timeout, defaultTokenTimeout)
	}
	if s.Kerberos != nil {
		s.Kerberos.ServiceName = orElse(s.Kerberos.ServiceName, defaultServiceName)
		s.Kerberos.ConfigFile = orElse(s.Kerberos.ConfigFile, defaultKerberosFile)
	}
	if s.AWS != nil {
		s.AWS.SessionName = orElse(s.AWS.SessionName, defaultSessionName)
	}
}

// validate reports what cannot work, without a look at files. No error holds
// a secret.
func (s SASL) validate() error {
	if !slices.Contains(Mechanisms, s.Mechanism) {
		return s.unknownMechanism()
	}
	for _, section := range []struct {
		key   string
		set   bool
		wants []string
	}{
		{"oauth", s.OAuth != nil, []string{mechOAuth}},
		{"kerberos", s.Kerberos != nil, []string{mechGSSAPI}},
		{"aws", s.AWS != nil, []string{mechAWS}},
		{"username", s.Username != "", []string{mechPlain, mechScram256, mechScram512, mechGSSAPI}},
		{"password", s.Password != "", []string{mechPlain, mechScram256, mechScram512}},
		{"password_file", s.PasswordFile != "", []string{mechPlain, mechScram256, mechScram512}},
	} {
		if section.set && !slices.Contains(section.wants, s.Mechanism) {
			return fmt.Errorf("%s: is for mechanism %s, not %s; take it out", section.key, strings.Join(section.wants, ", "), s.Mechanism)
		}
	}
	switch s.Mechanism {
	case mechOAuth:
		return s.checkOAuth()
	case mechGSSAPI:
		return s.checkKerberos()
	case mechAWS:
		if s.AWS == nil || s.AWS.Region == "" {
			return errors.New("aws.region: is missing; name the region of the cluster, such as eu-central-1")
		}
		if s.AWS.RoleARN != "" && s.AWS.Profile != "" {
			return errors.New("aws.profile: does not go with role_arn; set role_arn in the profile, or take one of them out")
		}
		return nil
	}
	return s.checkPassword()
}

// unknownMechanism says what mechanism could be, and what was meant if that
// can be guessed.
func (s SASL) unknownMechanism() error {
	if s.Mechanism == "" {
		return fmt.Errorf("mechanism: is missing; use one of %s", strings.Join(Mechanisms, ", "))
	}
	plain := func(m string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToUpper(m)) }
	for _, m := range Mechanisms {
		if got := plain(s.Mechanism); got == plain(m) || len(got) > 3 && strings.HasPrefix(plain(m), got) || got == strings.Replace(plain(m), "SHA", "", 1) {
			return fmt.Errorf("mechanism: %q is unknown; did you mean %s?", s.Mechanism, m)
		}
	}
	return oneOf("mechanism", s.Mechanism, Mechanisms)
}

func (s SASL) checkPassword() error {
	switch {
	case s.Username == "":
		return fmt.Errorf("username: is missing; %s needs one", s.Mechanism)
	case s.Password != "" && s.PasswordFile != "":
		return errors.New("password: password and password_file are both set; keep one")
	case s.Password == "" && s.PasswordFile == "":
		return errors.New("password_file: is missing; set it, or password")
	}
	return nil
}

func (s SASL) checkOAuth() error {
	o := s.OAuth
	switch {
	case o == nil || o.TokenFile == "" && o.TokenURL == "":
		return errors.New("oauth.token_url: is missing; set it, or oauth.token_file")
	case o.TokenFile != "" && o.TokenURL != "":
		return errors.New("oauth.token_file: token_file and token_url are both set; keep one")
	case o.TokenFile != "":
		if o.ClientID != "" || o.ClientSecret != "" || o.ClientSecretFile != "" || len(o.Scopes) > 0 || len(o.Params) > 0 || o.CAFile != "" {
			return errors.New("oauth.token_file: client_id, client_secret, scopes, params and ca_file are for token_url; take them out")
		}
		return checkExtensions(o.Extensions)
	case o.ClientID == "":
		return errors.New("oauth.client_id: is missing while token_url is set; set both")
	case o.ClientSecret != "" && o.ClientSecretFile != "":
		return errors.New("oauth.client_secret: client_secret and client_secret_file are both set; keep one")
	case o.ClientSecret == "" && o.ClientSecretFile == "":
		return errors.New("oauth.client_secret_file: is missing; set it, or client_secret")
	case o.Timeout < 10*time.Millisecond || o.Timeout > 10*time.Minute:
		return fmt.Errorf("oauth.timeout: %s is outside of 10ms to 10m0s", o.Timeout)
	}
	u, err := url.Parse(o.TokenURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("oauth.token_url: is not a URL; write it as https://HOST/PATH")
	}
	if u.User != nil {
		return errors.New("oauth.token_url: holds a login; use client_id and client_secret_file instead")
	}
	if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return errors.New("oauth.token_url: would send the client's secret in clear; write https://")
	}
	return checkExtensions(o.Extensions)
}

// checkExtensions holds keys to the letters that RFC 7628 allows.
func checkExtensions(extensions map[string]string) error {
	for key, value := range extensions {
		letters := func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }
		if key == "" || key == "auth" || strings.ContainsFunc(key, letters) || strings.Contains(value, "\x01") {
			return fmt.Errorf("oauth.extensions: %q cannot be sent; use letters only, and not auth", key)
		}
	}
	return nil
}

func (s SASL) checkKerberos() error {
	k := s.Kerberos
	switch {
	case k == nil || k.KeytabFile == "" && k.CCacheFile == "":
		return errors.New("kerberos.keytab_file: is missing; set it, or kerberos.ccache_file")
	case k.KeytabFile != "" && k.CCacheFile != "":
		return errors.New("kerberos.keytab_file: keytab_file and ccache_file are both set; keep one")
	case k.KeytabFile != "" && s.Username == "":
		return errors.New("username: is missing; name the principal that the keytab is of, without its realm")
	case k.KeytabFile != "" && k.Realm == "":
		return errors.New("kerberos.realm: is missing; name the realm of the principal, such as EXAMPLE.COM")
	case strings.Contains(s.Username, "@"):
		return errors.New("username: holds a realm; put it into kerberos.realm")
	case k.CCacheFile != "" && (s.Username != "" || k.Realm != ""):
		return errors.New("kerberos.ccache_file: names its own principal; take username and kerberos.realm out")
	}
	return nil
}
