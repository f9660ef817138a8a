package dnssd

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/internal/dns"
)

// Labels and TXT strings with arbitrary bytes are unchanged after packing and
// unpacking, and labels have one presentation form.
func TestEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := string(rapid.SliceOfN(rapid.Byte(), 1, maxLabel).Draw(t, "label"))
		txt := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, maxString), func(b []byte) string { return string(b) }), 1, 10).Draw(t, "txt")
		checkRoundTrip(t, label, txt)
	})
}

func checkRoundTrip(t require.TestingT, label string, txt []string) {
	name := dns.EscapeLabel(label) + "._sd._udp.local."
	rr := &dns.TXT{Header: dns.Header{Name: name, Type: dns.TypeTXT, Class: dns.ClassINET}, Txt: txt}
	b, err := (&dns.Message{Answer: []dns.Record{rr}}).Pack()
	require.NoError(t, err)
	m, err := dns.Unpack(b)
	require.NoError(t, err)
	got := m.Answer[0].(*dns.TXT)
	require.Equal(t, name, got.Name)
	raw, rest, ok := dns.CutLabel(got.Name)
	require.True(t, ok)
	require.Equal(t, label, raw)
	require.Equal(t, "_sd._udp.local.", rest)
	strs, ok := rawTXT(got)
	require.True(t, ok)
	require.Equal(t, txt, strs)
	require.True(t, sameData(rr, got))
}

func FuzzEscaping(f *testing.F) {
	f.Add("O2onvM62/Z2+ik", "name=Zoë")
	f.Add(`a\.b`, `\"\065`)
	f.Add("\x00\xff", "\\")
	f.Fuzz(func(t *testing.T, label, txt string) {
		if s := (&Service{Instance: label, Port: 1, IPv4: true, TXT: []string{txt}}); s.validate() != nil || txt == "" {
			return
		}
		checkRoundTrip(t, label, []string{txt})
	})
}

// Names are compared by the rules of DNS (RFC 6762 §16): only ASCII letters are
// folded.
func TestFold(t *testing.T) {
	require.Equal(t, "abc-1.local.", fold("aBC-1.LOCAL."))
	require.Equal(t, `\195\132`, fold(`\195\132`))
	require.Equal(t, "Ä", fold("Ä"))
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune("aAbBzZ@[Ää-")), 0, 4, -1)
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		require.Equal(t, fold(a) == fold(b), sameName(a, b))
	})
}

// A host has a name of its own for each instance and interface, always the same
// one, whatever their names are.
func TestHostName(t *testing.T) {
	names := map[string]bool{}
	for _, label := range []string{"a", "a+b", "-a", "a/b", "Zoë", "a.b"} {
		for _, iface := range []string{"eth0", "eth1", "b\x00eth0"} {
			name := hashedHost(label, iface)
			require.Regexp(t, `^[0-9a-f]{32}$`, name)
			require.Equal(t, name, hashedHost(label, iface))
			names[name] = true
		}
	}
	require.Len(t, names, 18)
}

// RFC 6762 §8.2.1: the order of proposed records, with the examples given
// there.
func TestCompareSets(t *testing.T) {
	head := func(typ uint16) dns.Header {
		return dns.Header{Name: "MyPrinter.local.", Type: typ, Class: dns.ClassINET}
	}
	addr := func(d, e byte) dns.Record { return &dns.A{Header: head(dns.TypeA), A: net.IPv4(169, 254, d, e)} }
	a, b := []dns.Record{addr(99, 200)}, []dns.Record{addr(200, 50)}
	require.Negative(t, compareSets(a, b), "200 > 99 at the third byte")
	require.Positive(t, compareSets(b, a))
	require.Zero(t, compareSets(a, a))
	two := []dns.Record{addr(200, 60), addr(99, 200)}
	require.Negative(t, compareSets(a, two), "the longer set wins")
	txt := []dns.Record{&dns.TXT{Header: head(dns.TypeTXT), Txt: []string{"z"}}}
	srv := []dns.Record{&dns.SRV{Header: head(dns.TypeSRV), Port: 1, Target: "a.local."}}
	require.Negative(t, compareSets(txt, srv), "by type before data")
	flush := []dns.Record{addr(99, 200)}
	flush[0].Head().Class |= cacheFlush
	require.Zero(t, compareSets(a, flush))
	require.Zero(t, compareSets(two, []dns.Record{two[1], two[0]}), "in any order")
}

// Messages are split so that none exceeds the limit, and no record is lost or
// repeated.
func TestPacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(512, 8972).Draw(t, "limit")
		var answers, extra []dns.Record
		n := rapid.IntRange(1, 300).Draw(t, "n")
		for range n {
			label := rapid.StringMatching(`[a-z]{1,60}`).Draw(t, "label")
			answers = append(answers, &dns.PTR{Header: dns.Header{Name: "_sd._udp.local.", Type: dns.TypePTR, Class: 1}, Ptr: label + "._sd._udp.local."})
		}
		extra = append(extra, &dns.SRV{Header: dns.Header{Name: "x._sd._udp.local.", Type: dns.TypeSRV, Class: 1}, Target: "x.local."})
		if rapid.Bool().Draw(t, "large") {
			extra = append(extra, &dns.TXT{Header: dns.Header{Name: "x._sd._udp.local.", Type: dns.TypeTXT, Class: 1}, Txt: []string{strings.Repeat("a", 255), strings.Repeat("b", 255), strings.Repeat("c", 255)}})
		}
		total := 0
		for _, b := range packResponses(answers, extra, limit) {
			m, err := dns.Unpack(b)
			require.NoError(t, err)
			require.True(t, len(b) <= limit || len(m.Answer) == 1 && len(m.Additional) == 0)
			for _, rr := range m.Answer {
				if rr.Head().Type == dns.TypePTR {
					total++
				}
			}
		}
		require.Equal(t, n, total)

		packets := packQueries([]dns.Question{{Name: "_sd._udp.local.", Type: dns.TypePTR, Class: 1}}, answers, limit)
		total = 0
		for i, b := range packets {
			m, err := dns.Unpack(b)
			require.NoError(t, err)
			require.LessOrEqual(t, len(b), limit)
			require.Equal(t, i < len(packets)-1, m.Truncated)
			require.Equal(t, i == 0, len(m.Question) == 1)
			total += len(m.Answer)
		}
		require.Equal(t, n, total)
	})
}
