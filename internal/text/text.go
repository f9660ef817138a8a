// Package text makes texts for people: names chosen by others, safe to display,
// and amounts.
package text

import (
	"strings"
	"unicode"
)

// Plain returns a name chosen by somebody else in a form that is safe to show
// on a line of a terminal or in a list: without line breaks, control
// characters, and characters that change the writing direction. Runs of white
// space become one space.
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
