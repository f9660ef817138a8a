package dnssd

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever bytes a label and TXT strings have, they come out of a packed message as they went in, and labels have one
// presentation form.
func TestEscaping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := string(rapid.SliceOfN(rapid.Byte(), 1, maxLabel).Draw(t, "label"))
		txt := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, maxString), func(b []byte) string { return string(b) }), 1, 10).Draw(t, "txt")
		checkRoundTrip(t, label, txt)
	})
}

func checkRoundTrip(t require.TestingT, label string, txt []string) {
	name := escapeLabel(label) + "._sd._udp.local."
	rr := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
	for _, s := range txt {
		rr.Txt = append(rr.Txt, escapeTXT(s))
	}
	b, err := (&dns.Msg{Answer: []dns.RR{rr}}).Pack()
	require.NoError(t, err)
	var m dns.Msg
	require.NoError(t, m.Unpack(b))
	got := m.Answer[0].(*dns.TXT)
	require.Equal(t, name, got.Hdr.Name)
	raw, rest, ok := cutLabel(got.Hdr.Name)
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

// Names are equal as DNS has it (RFC 6762 §16): ASCII letters only.
func TestFold(t *testing.T) {
	require.Equal(t, "abc-1.local.", fold("aBC-1.LOCAL."))
	require.Equal(t, `\195\132`, fold(`\195\132`))
	require.Equal(t, "Ä", fold("Ä"))
}

// The host name is the label where that can be one, and otherwise gives nothing away that the label does not.
func TestHostName(t *testing.T) {
	require.Equal(t, "00112233445566778899aabbccddeeff.local.", hostName("00112233445566778899aabbccddeeff"))
	for _, label := range []string{"a+b", "-a", "a-", "a/b", "Zoë", "a.b"} {
		require.Regexp(t, `^[0-9a-f]{32}\.local\.$`, hostName(label))
	}
}

// RFC 6762 §8.2.1: the order of proposed records, with the examples given there.
func TestCompareSets(t *testing.T) {
	zone := func(records ...string) []dns.RR {
		var out []dns.RR
		for _, r := range records {
			rr, err := dns.NewRR(r)
			require.NoError(t, err)
			out = append(out, rr)
		}
		return out
	}
	a := zone("MyPrinter.local. A 169.254.99.200")
	b := zone("MyPrinter.local. A 169.254.200.50")
	require.Negative(t, compareSets(a, b), "200 > 99 at the third byte")
	require.Positive(t, compareSets(b, a))
	require.Zero(t, compareSets(a, a))
	two := zone("MyPrinter.local. A 169.254.200.60", "MyPrinter.local. A 169.254.99.200")
	require.Negative(t, compareSets(a, two), "who has more left wins")
	txt := zone("p.local. TXT \"z\"")
	srv := zone("p.local. SRV 0 0 1 a.local.")
	require.Negative(t, compareSets(txt, srv), "by type before data")
	flush := zone("MyPrinter.local. A 169.254.99.200")
	flush[0].Header().Class |= cacheFlush
	require.Zero(t, compareSets(a, flush))
}

// A record that cannot be read does not cost the others; of types that are not used the header is kept. The first record
// is one of python-zeroconf 0.47.3, with an empty type bitmap that package dns refuses. The second is ours.
func TestParseLenient(t *testing.T) {
	b, err := hex.DecodeString("000084000000000200000000" + "027079056c6f63616c00002f800100000078000ac00c0000000400000008")
	require.NoError(t, err)
	ptr := make([]byte, 100)
	n, err := dns.PackRR(&dns.PTR{Hdr: dns.RR_Header{Name: "_sd._udp.local.", Rrtype: dns.TypePTR, Class: 1}, Ptr: "x._sd._udp.local."}, ptr, 0, nil, false)
	require.NoError(t, err)
	b = append(b, ptr[:n]...)
	require.Error(t, new(dns.Msg).Unpack(b))
	m, err := parse(b)
	require.NoError(t, err)
	require.Len(t, m.Answer, 2)
	require.Equal(t, dns.TypeNSEC, m.Answer[0].Header().Rrtype)
	require.Equal(t, "x._sd._udp.local.", m.Answer[1].(*dns.PTR).Ptr)
	for n := range b {
		_, err := parse(b[:n])
		require.Error(t, err, "cut after %d bytes", n)
	}
}

// Messages are split so that none exceeds the limit, and nothing is lost or said twice.
func TestPacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(512, 8972).Draw(t, "limit")
		var answers, extra []dns.RR
		n := rapid.IntRange(1, 300).Draw(t, "n")
		for range n {
			label := rapid.StringMatching(`[a-z]{1,60}`).Draw(t, "label")
			answers = append(answers, &dns.PTR{Hdr: dns.RR_Header{Name: "_sd._udp.local.", Rrtype: dns.TypePTR, Class: 1}, Ptr: label + "._sd._udp.local."})
		}
		extra = append(extra, &dns.SRV{Hdr: dns.RR_Header{Name: "x._sd._udp.local.", Rrtype: dns.TypeSRV, Class: 1}, Target: "x.local."})
		if rapid.Bool().Draw(t, "large") {
			extra = append(extra, &dns.TXT{Hdr: dns.RR_Header{Name: "x._sd._udp.local.", Rrtype: dns.TypeTXT, Class: 1}, Txt: []string{strings.Repeat("a", 255), strings.Repeat("b", 255), strings.Repeat("c", 255)}})
		}
		total := 0
		for _, b := range packResponses(answers, extra, limit) {
			var m dns.Msg
			require.NoError(t, m.Unpack(b))
			require.True(t, len(b) <= limit || len(m.Answer) == 1 && len(m.Extra) == 0)
			for _, rr := range m.Answer {
				if rr.Header().Rrtype == dns.TypePTR {
					total++
				}
			}
		}
		require.Equal(t, n, total)

		packets := packQueries([]dns.Question{{Name: "_sd._udp.local.", Qtype: dns.TypePTR, Qclass: 1}}, answers, limit)
		total = 0
		for i, b := range packets {
			var m dns.Msg
			require.NoError(t, m.Unpack(b))
			require.LessOrEqual(t, len(b), limit)
			require.Equal(t, i < len(packets)-1, m.Truncated)
			require.Equal(t, i == 0, len(m.Question) == 1)
			total += len(m.Answer)
		}
		require.Equal(t, n, total)
	})
}
