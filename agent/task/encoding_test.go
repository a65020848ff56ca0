package task

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncodingsAreKnownByName(t *testing.T) {
	for _, name := range []string{"GBK", "Shift_JIS", "utf-16", "iso-8859-15", "windows-1252", "UTF-8"} {
		_, err := DecodeOne([]byte("paths: [/a]\ntopic: t\nencoding: "+name+"\n"), "f", "x")
		require.NoError(t, err, name)
	}
	for _, c := range []struct{ text, want string }{
		{"encoding: gbx\n", `f:3: encoding: "gbx" is unknown; use one of utf-8, utf-16, utf-16le, utf-16be, big5, `},
		{"format: crio\n", `f:3: format cannot be "crio"; did you mean "cri"?`},
		{"fromat: cri\n", `f:3: unknown key "fromat"`},
		{"encoding: gbk\ninvalid_text: skip\n", `f:4: invalid_text cannot be "skip"; use one of replace, raw`},
		{"invalid_text: raw\n", `f:3: invalid_text: is used with an encoding other than utf-8 only; set that or remove invalid_text`},
		{"encoding: gbk\ninvalid_text: raw\nfilter: {mask: [{pattern: a}]}\n", `f:4: invalid_text: raw would send what filter.mask cannot read; use replace, or take the masks out`},
	} {
		_, err := DecodeOne([]byte("paths: [/a]\ntopic: t\n"+c.text), "f", "x")
		require.ErrorContains(t, err, c.want)
	}
}
