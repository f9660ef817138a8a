package block

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	maxName  = 255 // bytes of a component
	maxDepth = 64  // components of a path
)

// partialDir is the folder of a destination that holds incomplete files.
const partialDir = ".sdp2p-partial"

// hostile matches characters that no component may have: path separators of any
// system, control characters, and bidirectional control characters (Unicode's
// Bidi_Control).
var hostile = regexp.MustCompile(`[/\\\p{Cc}\x{061C}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}]`)

// device matches names that Windows takes for devices, with any extension and
// with trailing spaces. Windows treats superscript digits as digits.
var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)`)

// awkward matches paths with a component that ends in a dot or a space, or may
// be the name of a device on Windows.
var awkward = regexp.MustCompile(`(?i)[. ](/|$)|(^|/)(con|prn|aux|nul|com|lpt)`)

// short matches the short (8.3) names that Windows may give partialDir.
var short = regexp.MustCompile(`(?i)^(\.?sdp2p-|sd[0-9a-f]{4})~[0-9]+`)

// checkPath checks a path from the network. No receiver accepts a path that it
// refuses.
func checkPath(p string) error {
	if len(p) > maxPath || strings.Count(p, "/") >= maxDepth {
		return fmt.Errorf("%w: over %d bytes or %d components", ErrName, maxPath, maxDepth)
	}
	for name := range strings.SplitSeq(p, "/") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	why := ""
	switch {
	case name == "" || name == "." || name == "..":
		why = "not a name"
	case len(name) > maxName:
		why = "over 255 bytes"
	case !utf8.ValidString(name):
		why = "not UTF-8"
	case !plain(name) && hostile.MatchString(name):
		why = "a separator, a control character or one that changes the direction of writing"
	case reserved(name):
		why = "reserved"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrName, why)
}

// reserved reports whether some system takes a name for partialDir. Windows
// ignores dots and spaces at the end of names.
func reserved(name string) bool {
	return len(name) >= len(partialDir) && fold(strings.TrimRight(name, ". ")) == partialDir ||
		strings.Contains(name, "~") && short.MatchString(name)
}

// plain reports whether p is printable ASCII without a backslash.
func plain(p string) bool {
	for i := range len(p) {
		if c := p[i]; c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// fold returns the same text for all names that some file system takes for the
// same name: it removes differences of case and Unicode normalization, and
// characters that HFS+ ignores.
func fold(name string) string {
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(name)
	}
	simple := func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return unicode.ToLower(least)
	}
	return strings.Map(simple, norm.NFD.String(name))
}

// another returns the nth variant of the path p of a file or folder, where n is
// 2 or more: "a (2).txt", or for a folder "a.b (2)".
func another(p string, n int, folder bool) string {
	dir, name := path.Split(p)
	ext := path.Ext(name)
	if folder || ext == name || len(ext) > 32 {
		ext = ""
	}
	tail := fmt.Sprintf(" (%d)%s", n, ext)
	base := strings.TrimSuffix(name, ext)
	return dir + clipName(base, maxName-len(tail)) + tail
}

// clipName cuts name to at most limit bytes, at the end of a character.
func clipName(name string, limit int) string {
	for len(name) > limit {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

// top returns the first component of a path, and the rest with its leading
// slash.
func top(p string) (string, string) {
	if i := strings.IndexByte(p, '/'); i >= 0 {
		return p[:i], p[i:]
	}
	return p, ""
}
