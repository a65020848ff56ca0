package envelope

import (
	"encoding/binary"
	"time"
	"unicode/utf8"
)

// appendText appends a text as a JSON string. Bytes that are no UTF-8 become
// U+FFFD, each of them, as encoding/json has it.
func appendText(dst, text []byte) []byte {
	dst = append(dst, '"')
	for {
		n := plain(text)
		dst = append(dst, text[:n]...)
		if text = text[n:]; len(text) == 0 {
			return append(dst, '"')
		}
		c := text[0]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text)
			dst = utf8.AppendRune(dst, r)
			text = text[size:]
			continue
		}
		text = text[1:]
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
}

// plain is how many bytes text begins with that stand for themselves in JSON.
func plain(text []byte) (n int) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(text)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(text[n:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// the high bit of each byte that is below 0x20, zero after the xor, or not ASCII
		if ((w-ones*0x20)|(quote-ones)|(slash-ones)|w)&high != 0 {
			break
		}
	}
	for ; n < len(text); n++ {
		if c := text[n]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

// moments writes times, of which most are of the same second as the one before.
type moments struct {
	second int64
	text   []byte // of the second; nil: none yet
}

// append appends a time in UTC with nine digits of its second's fraction.
func (m *moments) append(dst []byte, t time.Time) []byte {
	if s := t.Unix(); m.text == nil || s != m.second {
		m.second, m.text = s, t.UTC().AppendFormat(m.text[:0], "2006-01-02T15:04:05.")
	}
	dst = append(dst, m.text...)
	nsec := t.Nanosecond()
	var digits [9]byte
	for i := 8; i >= 0; i-- {
		digits[i] = byte('0' + nsec%10)
		nsec /= 10
	}
	return append(append(dst, digits[:]...), 'Z')
}
