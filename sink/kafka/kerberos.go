package kafka

import (
	"fmt"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
)

// check reads the files that the Kerberos library is about to read: where one
// is cut off, as while it is renewed, the library would end the process.
func (k *Kerberos) check() error {
	if k.KeytabFile != "" {
		if err := guard("keytab_file", k.KeytabFile, func() error { _, err := keytab.Load(k.KeytabFile); return err }); err != nil {
			return err
		}
	}
	if k.CCacheFile != "" {
		if err := guard("ccache_file", k.CCacheFile, func() error { _, err := credentials.LoadCCache(k.CCacheFile); return err }); err != nil {
			return err
		}
	}
	return guard("config_file", k.ConfigFile, func() error { _, err := config.Load(k.ConfigFile); return err })
}

// guard turns a panic of load into an error.
func guard(key, path string, load func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("sasl.kerberos.%s: %s is cut off or of another kind; write it anew", key, path)
		}
	}()
	if err := load(); err != nil {
		return fmt.Errorf("sasl.kerberos.%s: %w; check the name, mode and content of %s", key, oneLine(err), path)
	}
	return nil
}
