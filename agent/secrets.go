package agent

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"logferry/internal/filemode"
)

// readConfigFile reads agent.yaml. Whoever may write to it can have the agent
// read and send any file, so it must not be every user of the host.
func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	if filemode.OthersMayWrite(f) {
		return nil, fmt.Errorf("%s: every user of this host may write to it; take that right away with chmod o-w", path)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// OpenSecrets lists the files with secrets that every user of the host may
// read, as "KEY: PATH": passwords, tokens and keys, not certificates.
func (c *Config) OpenSecrets() []string {
	var list []string
	eachSecretFile("", reflect.ValueOf(c).Elem(), func(key, path string) {
		if filemode.OthersMayRead(path) {
			list = append(list, key+": "+path)
		}
	})
	return list
}

// eachSecretFile finds them by their keys: all that end in _file, save those of
// certificates.
func eachSecretFile(section string, v reflect.Value, yield func(key, path string)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachSecretFile(section, v.Elem(), yield)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			eachSecretFile(section+"."+fmt.Sprint(key), v.MapIndex(key), yield)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if !field.IsExported() || name == "-" {
				continue
			}
			key := section
			if name != "" {
				key = strings.TrimPrefix(section+"."+name, ".")
			}
			if field.Type.Kind() != reflect.String {
				eachSecretFile(key, v.Field(i), yield)
			} else if path := v.Field(i).String(); path != "" && isSecretFile(name) {
				yield(key, path)
			}
		}
	}
}

func isSecretFile(name string) bool {
	return strings.HasSuffix(name, "_file") && !strings.HasSuffix(name, "ca_file") && !strings.HasSuffix(name, "cert_file")
}
