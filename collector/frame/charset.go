package frame

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/transform"
)

// Charset is the encoding of a file's text, other than UTF-8. It may be used
// from several goroutines.
type Charset struct {
	name string
	unit Unit
	enc  encoding.Encoding // nil for UTF-16
	own  []byte            // what U+FFFD is encoded as; nil: it cannot be
}

// LookUp finds a charset by its name, in which case and _ instead of - make
// no difference. It is nil for UTF-8, whose bytes are not touched.
func LookUp(name string) (c *Charset, known bool) {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch name {
	case "", "utf-8":
		return nil, true
	case "utf-16":
		return &Charset{name: name, unit: ByMark}, true
	case "utf-16le":
		return &Charset{name: name, unit: LittleEndian}, true
	case "utf-16be":
		return &Charset{name: name, unit: BigEndian}, true
	}
	enc := charsets()[name]
	if enc == nil {
		return nil, false
	}
	c = &Charset{name: name, enc: enc}
	if own, err := enc.NewEncoder().Bytes([]byte("\ufffd")); err == nil {
		c.own = own
	}
	return c, true
}

// CharsetNames lists the names that LookUp knows.
func CharsetNames() []string {
	list := []string{"utf-8", "utf-16", "utf-16le", "utf-16be"}
	for name := range charsets() {
		list = append(list, name)
	}
	slices.Sort(list[4:])
	return list
}

func charsets() map[string]encoding.Encoding {
	return map[string]encoding.Encoding{
		"gbk": simplifiedchinese.GBK, "gb18030": simplifiedchinese.GB18030, "big5": traditionalchinese.Big5,
		"shift-jis": japanese.ShiftJIS, "euc-jp": japanese.EUCJP, "euc-kr": korean.EUCKR,
		"iso-8859-1": charmap.ISO8859_1, "iso-8859-2": charmap.ISO8859_2, "iso-8859-3": charmap.ISO8859_3,
		"iso-8859-4": charmap.ISO8859_4, "iso-8859-5": charmap.ISO8859_5, "iso-8859-6": charmap.ISO8859_6,
		"iso-8859-7": charmap.ISO8859_7, "iso-8859-8": charmap.ISO8859_8, "iso-8859-9": charmap.ISO8859_9,
		"iso-8859-10": charmap.ISO8859_10, "iso-8859-13": charmap.ISO8859_13, "iso-8859-14": charmap.ISO8859_14,
		"iso-8859-15": charmap.ISO8859_15, "iso-8859-16": charmap.ISO8859_16,
		"windows-874": charmap.Windows874, "windows-1250": charmap.Windows1250, "windows-1251": charmap.Windows1251,
		"windows-1252": charmap.Windows1252, "windows-1253": charmap.Windows1253, "windows-1254": charmap.Windows1254,
		"windows-1255": charmap.Windows1255, "windows-1256": charmap.Windows1256, "windows-1257": charmap.Windows1257,
		"windows-1258": charmap.Windows1258, "koi8-r": charmap.KOI8R, "koi8-u": charmap.KOI8U,
	}
}

// Name is the charset's name, as LookUp knows it.
func (c *Charset) Name() string { return c.name }

// Unit is how the charset's newlines are found; of nil, in bytes.
func (c *Charset) Unit() Unit {
	if c == nil {
		return Bytes
	}
	return c.unit
}

// Same reports whether the bytes of src mean the same in UTF-8.
func (c *Charset) Same(src []byte) bool {
	if c.unit != Bytes {
		return len(src) == 0
	}
	for _, b := range src {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Append decodes src, one record, and appends it to dst. What cannot be
// decoded becomes U+FFFD, and whole is false. With cut, src was cut at its
// end: half a letter there is left out. unit is that of the file.
func (c *Charset) Append(dst, src []byte, unit Unit, cut bool) (out []byte, whole bool) {
	if c.unit != Bytes {
		return appendUTF16(dst, src, unit, cut)
	}
	start, all, dec := len(dst), src, c.enc.NewDecoder()
	for {
		n, used, err := dec.Transform(dst[len(dst):cap(dst)], src, !cut)
		dst, src = dst[:len(dst)+n], src[used:]
		if !errors.Is(err, transform.ErrShortDst) {
			break
		}
		dst = slices.Grow(dst, 3*len(src)+utf8.UTFMax)
	}
	bad := bytes.Count(dst[start:], []byte("\ufffd"))
	if bad > 0 && c.own != nil {
		bad -= bytes.Count(all, c.own)
	}
	return dst, bad <= 0
}

func appendUTF16(dst, src []byte, unit Unit, cut bool) (out []byte, whole bool) {
	whole = true
	for len(src) >= 2 {
		r := rune(unit.at(src))
		src = src[2:]
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(src) >= 2 {
				pair = utf16.DecodeRune(r, rune(unit.at(src)))
			} else if cut {
				return dst, whole
			}
			if r = pair; r == utf8.RuneError {
				whole = false
			} else {
				src = src[2:]
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	if len(src) > 0 && !cut {
		return utf8.AppendRune(dst, utf8.RuneError), false
	}
	return dst, whole
}
