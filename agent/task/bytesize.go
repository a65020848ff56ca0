package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteUnits holds the units that ByteSize knows, larger ones of a kind first.
// "Ki" counts in 1024 (IEC 80000-13), "K" in 1000 (SI).
var byteUnits = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
	{"B", 1},
}

// ParseByteSize reads a whole number of bytes with or without a unit:
// "1048576", "1MiB", "64 KiB", "1MB". Units may be written in any case.
func ParseByteSize(s string) (ByteSize, error) {
	text := strings.TrimSpace(s)
	digits := strings.TrimLeft(text, "0123456789")
	number, unit := text[:len(text)-len(digits)], strings.TrimSpace(digits)
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strings.HasPrefix(unit, ".") {
		return 0, fmt.Errorf("must be a size in whole bytes such as 1048576, 64KiB or 1MiB, not %q", s)
	}
	if unit == "" {
		return ByteSize(n), nil
	}
	for _, u := range byteUnits {
		if !strings.EqualFold(unit, u.name) {
			continue
		}
		if n > math.MaxInt64/u.size {
			return 0, fmt.Errorf("size %q is too large", s)
		}
		return ByteSize(n * u.size), nil
	}
	return 0, fmt.Errorf("unknown unit in size %q; use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB", s)
}

// String returns the size in the largest unit that divides it: "1MiB", "1MB",
// "1500".
func (b ByteSize) String() string {
	text := strconv.FormatInt(int64(b), 10)
	if b <= 0 {
		return text
	}
	for _, u := range byteUnits {
		if u.size == 1 || int64(b)%u.size != 0 {
			continue
		}
		if short := strconv.FormatInt(int64(b)/u.size, 10) + u.name; len(short) < len(text)+len(u.name) {
			return short
		}
	}
	return text
}

// MarshalText writes what String returns.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads what ParseByteSize takes.
func (b *ByteSize) UnmarshalText(text []byte) error {
	n, err := ParseByteSize(string(text))
	if err != nil {
		return err
	}
	*b = n
	return nil
}

// UnmarshalJSON reads a number of bytes, or a string as UnmarshalText does.
func (b *ByteSize) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte(`"`)) {
		return b.UnmarshalText(data)
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	return b.UnmarshalText([]byte(text))
}
