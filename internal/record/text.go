package record

import "unicode/utf8"

// TextOrBytes is how JSON shows a key or a value: as text if it is UTF-8, else
// as bytes, which encoding/json writes in base64; neither for nil.
func TextOrBytes(b []byte) (text *string, raw []byte) {
	if b == nil {
		return nil, nil
	}
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	return nil, b
}
