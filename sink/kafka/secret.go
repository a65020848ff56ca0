package kafka

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that nobody may see: whatever prints, logs or encodes it shows
// "***" instead. What needs the text itself converts it to a string.
type Secret string

// hidden is what is seen of a secret: whether there is one.
func (s Secret) hidden() string {
	if s == "" {
		return ""
	}
	return "***"
}

// String implements fmt.Stringer.
func (s Secret) String() string { return s.hidden() }

// Format implements fmt.Formatter, for all verbs.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.hidden()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.hidden()) }

// MarshalText implements encoding.TextMarshaler, which JSON uses too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.hidden()), nil }

// MarshalYAML implements yaml.Marshaler.
func (s Secret) MarshalYAML() (any, error) { return s.hidden(), nil }
