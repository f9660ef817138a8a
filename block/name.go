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

// partialDir is the folder in a destination in which everything lies that is not whole yet.
const partialDir = ".sdp2p-partial"

// What no component may have on any system: separators, the colon of drives and streams, control characters, and those that
// turn the direction of writing (Unicode's Bidi_Control).
var hostile = regexp.MustCompile(`[/\\:\p{Cc}\x{061C}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}]`)

// Windows knows these as devices, with any extension and with spaces behind them. The raised digits count as digits there.
var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)`)

// short matches what Windows may call partialDir by.
var short = regexp.MustCompile(`(?i)^(\.?sdp2p-|sd[0-9a-f]{4})~[0-9]+`)

// checkPath checks a path from the network; windows says whether its own forbidden characters count.
func checkPath(p string, windows bool) error {
	if len(p) > maxPath || strings.Count(p, "/") >= maxDepth {
		return fmt.Errorf("%w: over %d bytes or %d components", ErrName, maxPath, maxDepth)
	}
	for name := range strings.SplitSeq(p, "/") {
		if err := checkName(name, windows); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string, windows bool) error {
	why := ""
	switch {
	case name == "" || name == "." || name == "..":
		why = "not a name"
	case len(name) > maxName:
		why = "over 255 bytes"
	case !utf8.ValidString(name):
		why = "not UTF-8"
	case !plain(name) && hostile.MatchString(name):
		why = "a separator, a colon, a control character or one that turns the direction of writing"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		why = "a dot or a space at the end"
	case strings.IndexByte("aclnpACLNP", name[0]) >= 0 && device.MatchString(name):
		why = "a device of Windows"
	case fold(name) == partialDir || strings.Contains(name, "~") && short.MatchString(name):
		why = "reserved"
	case windows && strings.ContainsAny(name, `<>"|?*`):
		why = "a character that Windows does not allow"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrName, why)
}

// plain tells that all of name is printable ASCII that is not hostile.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '/' || c == '\\' || c == ':' {
			return false
		}
	}
	return true
}

// fold returns what is equal for names that some file system takes for the same: without regard to case, Unicode form, and
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

// local returns the path under which we keep what was offered as p. Only a member may hide it behind a leading dot.
func local(p string, trusted bool) string {
	if trusted {
		return p
	}
	if strings.HasPrefix(p, ".") {
		p = "_" + p[1:]
	}
	return strings.ReplaceAll(p, "/.", "/_")
}

// another returns the nth name for what is called p, where n is 2 or more: "a (2).txt"; of a folder "a.b (2)".
func another(p string, n int, folder bool) string {
	dir, name := path.Split(p)
	ext := path.Ext(name)
	if folder || ext == name || len(ext) > 32 {
		ext = ""
	}
	tail := fmt.Sprintf(" (%d)%s", n, ext)
	base := strings.TrimSuffix(name, ext)
	for len(base)+len(tail) > maxName {
		_, size := utf8.DecodeLastRuneInString(base)
		base = base[:len(base)-size]
	}
	return dir + base + tail
}

// top returns the first component of a path, and what follows it, with its slash.
func top(p string) (string, string) {
	if i := strings.IndexByte(p, '/'); i >= 0 {
		return p[:i], p[i:]
	}
	return p, ""
}
