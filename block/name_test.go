package block

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// A name that only some systems refuse is valid; see TestPortable.
func TestCheckPath(t *testing.T) {
	for _, path := range []string{
		"a", "a/b.txt", "Grüße 日本.txt", "...a", "a b", ".hidden", "console", "com", "com10", "c/d", strings.Repeat("a", 255), " a", "aux1", "nul-", "lpt",
		strings.Repeat("a/", 63) + "a", ".sdp2p-partial.txt", "~", "x²", "COM²x", "שלום", "10:30.png", "C:evil", "aux.c", "a/NUL", "COM¹", "a.", "a ",
		"what?", "a<b", "...",
	} {
		require.NoError(t, checkPath(path), path)
	}
	for _, path := range []string{
		"", ".", "..", "../evil", "/etc/evil", "a/../../evil", "a//b", "a/", `..\evil`, `a\b`, `C:\evil`, "evil\x00.txt", "evil\n", "\x7f", "\u0085",
		"evil\u202Etxt.exe", "\u2066a", "a\u200E", "a\u061C", "\xff", "\xC0\x80", strings.Repeat("a", 256), strings.Repeat("a/", 64) + "a", strings.Repeat("a/", 2048) + "a",
		".sdp2p-partial", ".SDP2P-Partial/x", "a/.sdp2p-partial", ".sdp2p\u200d-partial", ".ſdp2p-partial", "SDP2P-~1", "sd1f2e~1", ".sdp2p-partial. .",
	} {
		require.ErrorIs(t, checkPath(path), ErrName, "%q", path)
	}
}

// On a file system like that of Windows, names that it would refuse are
// changed.
func TestPortable(t *testing.T) {
	s := style{hidden: true, portable: true}
	for path, want := range map[string]string{
		"a/b.txt": "a/b.txt", "10:30.png": "10_30.png", "C:evil": "C_evil", "x/a:stream": "x/a_stream", `a<b>"c|d?e*`: "a_b__c_d_e_",
		"con": "_con", "a/NUL/b": "a/_NUL/b", "nul.tar.gz": "_nul.tar.gz", "com1.txt": "_com1.txt", "COM¹": "_COM¹", "lpt³.x": "_lpt³.x", "com0": "_com0",
		"CONIN$": "_CONIN$", "aux ": "aux_", "aux .txt": "_aux .txt", "a.": "a_", "a ": "a_", "a./b": "a_/b", "...": ".._", "console": "console", "com": "com",
		"aux1": "aux1", "Grüße:": "Grüße_", strings.Repeat("a", 251) + ".txt": strings.Repeat("a", 251) + ".txt", "aux." + strings.Repeat("a", 251): "_aux." + strings.Repeat("a", 250),
		"aux." + strings.Repeat("a", 249) + ".x": "_aux." + strings.Repeat("a", 249) + "_",
	} {
		require.Equal(t, want, s.local(path), path)
		require.Equal(t, path, style{hidden: true}.local(path), path)
	}
}

func TestFold(t *testing.T) {
	for _, same := range [][2]string{{"A", "a"}, {"É", "e\u0301"}, {"ſ", "S"}, {"K", "\u212A"}, {"a\u200Bb", "AB"}, {"Σ", "ς"}} {
		require.Equal(t, fold(same[0]), fold(same[1]), "%q", same)
	}
	for _, other := range [][2]string{{"a", "b"}, {"e", "é"}, {"x2", "x²"}} {
		require.NotEqual(t, fold(other[0]), fold(other[1]), "%q", other)
	}
}

func TestLocal(t *testing.T) {
	require.Equal(t, ".a/.b", style{hidden: true}.local(".a/.b"))
	require.Equal(t, "_a/_b/c.d", style{}.local(".a/.b/c.d"))
}

func TestAnother(t *testing.T) {
	for name, want := range map[string]string{
		"a.txt": "a (2).txt", "d.x/a.tar.gz": "d.x/a.tar (2).gz", "a": "a (2)", ".bashrc": ".bashrc (2)", "a.b" + strings.Repeat("c", 40): "a.b" + strings.Repeat("c", 40) + " (2)",
	} {
		require.Equal(t, want, another(name, 2, false))
	}
	require.Equal(t, "v1.2 (3)", another("v1.2", 3, true))
	long := another(strings.Repeat("ü", 126)+".jp", 12, false)
	require.LessOrEqual(t, len(long), maxName)
	require.True(t, utf8.ValidString(long))
	require.True(t, strings.HasSuffix(long, " (12).jp"))
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a/b", "..", "con", "a:b", ".sdp2p-partial", "a. /x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if checkPath(path) != nil {
			return
		}
		for _, s := range []style{{}, {portable: true}, {hidden: true, portable: true}} {
			p := s.local(path)
			require.NoError(t, checkPath(p))
			require.True(t, !strings.HasPrefix(p, "/") && !strings.Contains("/"+p+"/", "/../"))
			require.True(t, s.hidden || !strings.Contains("/"+p, "/."))
			again, _ := top(another(p, 2, false))
			require.NotEqual(t, partialDir, fold(again))
			require.NoError(t, checkName(again))
			if s.portable {
				require.Equal(t, p, s.local(p), "a valid name stays the same")
				require.False(t, strings.ContainsAny(p, `:<>"|?*`))
			}
		}
	})
}

// Names of one offer are checked as a receiver sees them. The next offer of the
// same transfer may continue in the folder in which this one ended.
func TestOfferNames(t *testing.T) {
	n := newNames(style{})
	check := func(entries ...entry) (good, bad []string) {
		for _, e := range entries {
			v, err := n.check(&e, verdictWhole)
			if v == verdictName {
				require.ErrorIs(t, err, ErrName)
				bad = append(bad, e.path)
			} else {
				require.NoError(t, err)
				good = append(good, e.path)
			}
		}
		return good, bad
	}
	good, bad := check(
		folder("d"), file("d/a", 1), file("d/A", 1), file("d/\u00e9", 1), file("d/e\u0301", 1), file("D/x", 1), file("none/x", 1),
		file("d/a/x", 1), file(".x", 1), file("_x", 1), folder("a\\b"), file("a\\b/x", 1), file("d", 1), folder("d/in"), file("d/in/x", 1),
	)
	require.Equal(t, []string{"d", "d/a", "d/\u00e9", ".x", "d/in", "d/in/x"}, good)
	require.Equal(t, []string{"d/A", "d/e\u0301", "D/x", "none/x", "d/a/x", "_x", "a\\b", "a\\b/x", "d"}, bad)
	n.next()
	good, bad = check(file("d/in/y", 1), file("d/in/X", 1), folder("d/IN"), file("d/b", 1), file("none/x", 1), folder("D"))
	require.Equal(t, []string{"d/in/y", "d/b"}, good)
	require.Equal(t, []string{"d/in/X", "d/IN", "none/x", "D"}, bad)
}

// Nothing in a folder that the app does not want is received, even if it is in
// the next offer.
func TestUnwantedFolder(t *testing.T) {
	n := newNames(style{})
	for _, test := range []struct {
		e    entry
		v    verdict
		want verdict
	}{
		{folder("a"), verdictNo, verdictNo}, {file("a/x", 1), verdictWhole, verdictNo}, {folder("a/b"), verdictWhole, verdictNo},
		{file("a/b/x", 1), verdictPart, verdictNo}, {entry{kind: kindLeftOut, path: "a/b/link"}, verdictWhole, verdictNo},
		{entry{kind: kindLeftOut, path: "../\x00"}, verdictWhole, verdictWhole},
	} {
		v, err := n.check(&test.e, test.v)
		require.NoError(t, err)
		require.Equal(t, test.want, v, test.e.path)
		n.next()
	}
}

// A file from a stranger is neither hidden nor executable, whatever the offer
// says.
func TestStranger(t *testing.T) {
	b := say(hello{}, entry{kind: kindFile, path: ".x", mode: 0o777}, kindOffered, begin(0), end(), kindSent)
	_, names, err := hear(t, b, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"_x"}, names)
}
