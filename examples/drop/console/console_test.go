package console

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// evil is what an evil peer might want to print: it sets the title of the
// window.
const evil = "\x1b]0;OWNED\x07"

func TestEscape(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Grüße 日本 \"…\"": "Grüße 日本 \"…\"",
		evil:             `\x1b]0;OWNED\a`,
		"a\nb\r\tc":      `a\nb\r\tc`,
		"\u202egnp.exe":  `\u202egnp.exe`,
		"\x9b31m\u009b":  "\uFFFD31m\\u009b",
		"zero\u200bwide": `zero\u200bwide`,
	} {
		require.Equal(t, want, escape(text))
	}
	var out, err exampletest.Screen
	c := &Console{Out: &out, Err: &err}
	c.Say("%s", evil)
	c.Warn("%s", evil)
	require.Equal(t, `\x1b]0;OWNED\a`+"\n", out.String())
	require.Equal(t, `\x1b]0;OWNED\a`+"\n", err.String())
}

// A log is made printable as well, line by line.
func TestPrintable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	n, err := Printable(&b).Write([]byte("a\t" + evil + "\nb\n"))
	require.NoError(t, err)
	require.Equal(t, len("a\t"+evil+"\nb\n"), n)
	require.Equal(t, "a  \\x1b]0;OWNED\\a\nb\n", b.String())
	b.Reset()
	slog.New(slog.NewTextHandler(Printable(&b), nil)).Warn(evil, "reason", evil)
	require.NotContains(t, b.String(), "\x1b")
}
