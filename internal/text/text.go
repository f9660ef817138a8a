// Package text makes texts for people: texts of others, safe to display, and
// amounts.
//
// What a terminal may act on, or a reader may be deceived by, is not printable
// ([strconv.IsPrint]): control characters, line breaks, characters that change
// the direction of writing, most invisible ones, and white space other than
// U+0020. Letters and marks are printable even if they are invisible, as U+3164
// is, or look like others. Plain drops what is not printable, Escape shows it,
// and Mask shows that there was something. In each case invalid UTF-8 becomes
// U+FFFD.
package text

import (
	"strconv"
	"strings"
	"unicode"
)

// Plain is for names: it drops what is not printable, and makes runs of white
// space one space.
func Plain(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case strconv.IsPrint(r):
			return r
		}
		return -1
	}, name)
	return strings.Join(strings.Fields(name), " ")
}

// Escape is for messages: it escapes what is not printable as in a Go string,
// such as \n. If the result would be longer than limit bytes, it ends soon after
// them, with "…".
func Escape(s string, limit int) string {
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

// Mask is for texts whose width counts, and for those that are sent on: it
// replaces each character that is not printable by U+FFFD.
func Mask(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
