package text

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"Zoë's phone":                   "Zoë's phone",
		"a\nb\tc\r\n":                   "a b c",
		"\x1b[31mred\x1b[0m":            "[31mred[0m",
		"abc\u202edef":                  "abcdef",
		"\u200b\u2066x\u2069":           "x",
		"bad \xff UTF-8":                "bad \ufffd UTF-8",
		"  many \u00a0\u2003 spaces   ": "many spaces",
		"":                              "",
	} {
		require.Equal(t, want, Plain(in), "%q", in)
	}
}
