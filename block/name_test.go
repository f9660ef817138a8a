package block

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestCheckPath(t *testing.T) {
	for _, path := range []string{
		"a", "a/b.txt", "Grüße 日本.txt", "...a", "a b", ".hidden", "console", "com", "com10", "c/d", strings.Repeat("a", 255), " a", "aux1", "nul-", "lpt",
		strings.Repeat("a/", 63) + "a", ".sdp2p-partial.txt", "~", "x²", "COM²x", "שלום",
	} {
		require.NoError(t, checkPath(path, true), path)
	}
	for _, path := range []string{
		"", ".", "..", "../evil", "/etc/evil", "a/../../evil", "a//b", "a/", `..\evil`, `a\b`, `C:\evil`, "C:evil", "a:stream", "evil\x00.txt", "evil\n", "\x7f", "\u0085",
		"con", "a/NUL", "nul.tar.gz", "com1.txt", "COM¹", "lpt³.x", "com0", "CONIN$", "conout$.x", "aux ", "aux .txt", "a.", "a ", "a./b", "...",
		"evil\u202Etxt.exe", "\u2066a", "a\u200E", "a\u061C", "\xff", "\xC0\x80", strings.Repeat("a", 256), strings.Repeat("a/", 64) + "a", strings.Repeat("a/", 2048) + "a",
		".sdp2p-partial", ".SDP2P-Partial/x", "a/.sdp2p-partial", ".sdp2p\u200d-partial", ".ſdp2p-partial", "SDP2P-~1", "sd1f2e~1",
	} {
		require.ErrorIs(t, checkPath(path, false), ErrName, "%q", path)
	}
	for _, path := range []string{"a<b", "a>b", `a"b`, "a|b", "what?", "*"} {
		require.NoError(t, checkPath(path, false), path)
		require.ErrorIs(t, checkPath(path, true), ErrName, path)
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
	require.Equal(t, ".a/.b", local(".a/.b", true))
	require.Equal(t, "_a/_b/c.d", local(".a/.b/c.d", false))
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
	for _, s := range []string{"a/b", "..", "con", "a:b", ".sdp2p-partial"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if checkPath(path, true) != nil {
			return
		}
		p := local(path, false)
		require.NoError(t, checkPath(p, true))
		require.True(t, !strings.HasPrefix(p, "/") && !strings.Contains("/"+p+"/", "/../"))
		again, _ := top(another(p, 2, false))
		require.NotEqual(t, partialDir, fold(again))
		require.NoError(t, checkName(again, true))
	})
}

// What the names of one offer do to each other, as a receiver on each system sees it.
func TestOfferNames(t *testing.T) {
	o := newOffer(false)
	defer o.spool.close()
	for _, e := range []entry{
		folder("d"), file("d/a", 1), file("d/A", 1), file("d/\u00e9", 1), file("d/e\u0301", 1), file("D/x", 1), file("none/x", 1),
		file("d/a/x", 1), file(".x", 1), file("_x", 1), folder("aux"), file("aux/x", 1), folder("d/in"), file("d/in/x", 1), file("d", 1),
	} {
		require.NoError(t, o.add(&e))
	}
	var good, bad []string
	for f := range o.All() {
		if f.Err != nil {
			require.ErrorIs(t, f.Err, ErrName)
			bad = append(bad, f.Path)
		} else {
			good = append(good, f.Path)
		}
	}
	require.Equal(t, []string{"d", "d/a", "d/\u00e9", ".x", "d/in", "d/in/x"}, good)
	require.Equal(t, []string{"d/A", "d/e\u0301", "D/x", "none/x", "d/a/x", "_x", "aux", "aux/x", "d"}, bad)
	o.Skip(1)
	o.Skip(2) // has no effect
	require.Equal(t, verdictName, o.verdicts[2])
}

// A stranger's file is neither hidden nor executable, whatever is asked for.
func TestStranger(t *testing.T) {
	b := say(hello{}, entry{kind: kindFile, path: ".x", mode: 0o777}, kindOffered, begin(0), end(), kindSent)
	_, names, err := hear(t, b, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"_x"}, names)
}

// A large offer goes to the disk and comes back the same.
func TestSpool(t *testing.T) {
	var s spool
	defer s.close()
	const n = 20_000
	name := strings.Repeat("x", 200)
	for i := range n {
		e := file(name, int64(i))
		require.NoError(t, s.add(&e))
	}
	require.NoError(t, s.add(&entry{kind: kindOffered}))
	require.NotNil(t, s.file)
	require.LessOrEqual(t, cap(s.memory), 4*spoolAt)
	for range 2 {
		c := s.entries()
		for c.next() {
			require.EqualValues(t, c.index, c.size)
		}
		require.NoError(t, c.err)
		require.Equal(t, n-1, c.index)
	}
	_, err := os.Stat(s.file.Name())
	require.Error(t, err)
}
