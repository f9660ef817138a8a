package p2p

import (
	"strconv"
	"strings"
)

// maxShown is how many bytes of an error a log line has.
const maxShown = 4096

// shown is an error in a log line. It may repeat text of a peer, which must not
// reach a terminal as it is.
type shown struct{ err error }

// Error returns the error's text, cut, and with escapes for all that is not
// printable.
func (s shown) Error() string { return printable(s.err.Error(), maxShown) }

// Unwrap returns the error.
func (s shown) Unwrap() error { return s.err }

// printable cuts a text, and replaces all that is not printable by escapes.
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
