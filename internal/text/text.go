// Package text makes what others call themselves fit to be shown.
package text

import (
	"strings"
	"unicode"
)

// Plain returns a name that somebody else chose, as it can be shown in a line
// of a terminal or a list: without line breaks, control characters, and
// characters that direct the order of others. Runs of white space become one
// space.
func Plain(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, name)
	return strings.Join(strings.Fields(name), " ")
}
