package text

import (
	"strings"
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
		"a\u3164b":                      "a\u3164b", // a letter, although invisible
		"bad \xff UTF-8":                "bad \ufffd UTF-8",
		"  many \u00a0\u2003 spaces   ": "many spaces",
		"":                              "",
	} {
		require.Equal(t, want, Plain(in), "%q", in)
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"Grüße 日本 \"…\" '":          "Grüße 日本 \"…\" '",
		"\x1b]0;OWNED\x07":          `\x1b]0;OWNED\a`,
		"a\nb\r\tc\\":               `a\nb\r\tc\`,
		"\u202egnp.exe":             `\u202egnp.exe`,
		"\x9b31m\u009b":             "\uFFFD31m\\u009b",
		"zero\u200bwide\u00a0":      `zero\u200bwide\u00a0`,
		strings.Repeat("x", 101):    strings.Repeat("x", 100) + "…",
		strings.Repeat("\x00", 101): strings.Repeat(`\x00`, 25) + "…",
	} {
		require.Equal(t, want, Escape(in, 100))
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ü and 日本": "plain, ü and 日本", "\x1b]0;x\x07": "\uFFFD]0;x\uFFFD",
		"a\nb\r\u202E\u00a0": "a\uFFFDb\uFFFD\uFFFD\uFFFD", "\xff": "\uFFFD",
	} {
		require.Equal(t, want, Mask(in))
	}
}
