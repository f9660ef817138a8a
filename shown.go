package p2p

import (
	"strconv"
	"strings"
)

// maxShown is the most bytes of an error that a log line has.
const maxShown = 4096

// shown is an error in a log line. It may contain text from a peer, which must
// not reach a terminal unescaped.
type shown struct{ err error }

// Error returns the error's text, cut to maxShown, with unprintable characters
// escaped.
func (s shown) Error() string { return printable(s.err.Error(), maxShown) }

// Unwrap returns the error.
func (s shown) Unwrap() error { return s.err }

// printable cuts a text to limit bytes and escapes unprintable characters.
func printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= limit {
			b.WriteString("…")
			break
		}
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
