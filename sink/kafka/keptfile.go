package kafka

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// keptFile is a secret in a file that somebody renews. It is read each time it
// is needed; while it is gone, empty or otherwise of no use, what was last good
// is used. Safe for use from several goroutines.
type keptFile struct {
	key, path string
	check     func(string) error // nil: nothing is

	mu   sync.Mutex
	good string
	told string
}

// get returns the secret. tell gets the fault of a file whose last good text
// is used instead, once for each fault. No fault holds text of the file.
func (k *keptFile) get(tell func(error)) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	text, err := k.read()
	if err == nil {
		k.good, k.told = text, ""
		return text, nil
	}
	if k.good == "" {
		return "", err
	}
	if k.told != err.Error() {
		k.told = err.Error()
		tell(err)
	}
	return k.good, nil
}

func (k *keptFile) read() (string, error) {
	b, err := os.ReadFile(k.path)
	if err != nil {
		return "", fmt.Errorf("%s: %w; check its name and mode", k.key, err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	err = nil
	switch {
	case text == "":
		err = errors.New("is empty; write the secret into it")
	case len(text) > maxSecretBytes || strings.ContainsAny(text, "\r\n\x00"):
		err = errors.New("does not hold one line of text; write the secret alone into it")
	case k.check != nil:
		err = k.check(text)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %s %w", k.key, k.path, err)
	}
	return text, nil
}

// maxSecretBytes is far more than any token has.
const maxSecretBytes = 256 << 10
