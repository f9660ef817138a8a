package dns_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/internal/dns"
)

// label draws arbitrary bytes that form a label.
func label(t *rapid.T) string {
	return string(rapid.SliceOfN(rapid.Byte(), 1, 63).Draw(t, "label"))
}

func name(t *rapid.T) string {
	var b strings.Builder
	for _, l := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20), 1, 5).Draw(t, "name") {
		b.WriteString(dns.EscapeLabel(string(l)) + ".")
	}
	return b.String()
}

func record(t *rapid.T) dns.Record {
	h := dns.Header{
		Name: name(t), Class: dns.ClassINET | rapid.SampledFrom([]uint16{0, 1 << 15}).Draw(t, "flush"), TTL: rapid.Uint32().Draw(t, "ttl"),
	}
	octets := func(n int) net.IP { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "ip") }
	switch h.Type = rapid.SampledFrom([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeSRV, dns.TypeTXT, dns.TypeNSEC}).Draw(t, "type"); h.Type {
	case dns.TypeA:
		return &dns.A{Header: h, A: octets(4)}
	case dns.TypeAAAA:
		return &dns.AAAA{Header: h, AAAA: octets(16)}
	case dns.TypePTR:
		return &dns.PTR{Header: h, Ptr: name(t)}
	case dns.TypeSRV:
		return &dns.SRV{Header: h, Priority: 1, Weight: 2, Port: rapid.Uint16().Draw(t, "port"), Target: name(t)}
	case dns.TypeTXT:
		var txt []string
		for _, s := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 255), 1, 5).Draw(t, "txt") {
			txt = append(txt, string(s))
		}
		return &dns.TXT{Header: h, Txt: txt}
	}
	return &dns.NSEC{Header: h, NextDomain: h.Name, Types: []uint16{dns.TypeA, dns.TypeTXT, dns.TypeSRV}}
}

func message(t *rapid.T) *dns.Message {
	m := &dns.Message{
		ID: rapid.Uint16().Draw(t, "id"), Response: rapid.Bool().Draw(t, "qr"), Authoritative: rapid.Bool().Draw(t, "aa"), Truncated: rapid.Bool().Draw(t, "tc"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "questions") {
		m.Question = append(m.Question, dns.Question{Name: name(t), Type: dns.TypeANY, Class: dns.ClassINET})
	}
	for _, section := range []*[]dns.Record{&m.Answer, &m.Ns, &m.Additional} {
		for range rapid.IntRange(0, 4).Draw(t, "records") {
			*section = append(*section, record(t))
		}
	}
	return m
}

// Packets packed here are read by an independent implementation, which packs
// them again, and are read here again: nothing is lost on the way.
func TestAgainstAPeer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := message(t)
		b, err := m.Pack()
		require.NoError(t, err)
		require.Equal(t, len(b), m.Len())
		var theirs miekg.Msg
		require.NoError(t, theirs.Unpack(b))
		require.Len(t, theirs.Question, len(m.Question))
		require.Len(t, theirs.Answer, len(m.Answer))
		require.Len(t, theirs.Ns, len(m.Ns))
		require.Len(t, theirs.Extra, len(m.Additional))
		for i, r := range m.Answer {
			require.Equal(t, r.Head().Name, theirs.Answer[i].Header().Name)
			if nsec, ok := theirs.Answer[i].(*miekg.NSEC); ok {
				require.Equal(t, r.(*dns.NSEC).Types, nsec.TypeBitMap)
				require.Equal(t, r.(*dns.NSEC).NextDomain, nsec.NextDomain)
			}
		}
		theirs.Compress = true
		back, err := theirs.Pack()
		require.NoError(t, err)
		got, err := dns.Unpack(back)
		require.NoError(t, err)
		require.Equal(t, m, got)
	})
}

// Uncompressed sizes and data agree with the peer's.
func TestDataAgainstAPeer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record(t)
		b, err := (&dns.Message{Answer: []dns.Record{r}}).Pack()
		require.NoError(t, err)
		var m miekg.Msg
		require.NoError(t, m.Unpack(b))
		theirs := make([]byte, 4096)
		end, err := miekg.PackRR(m.Answer[0], theirs, 0, nil, false)
		require.NoError(t, err)
		require.Equal(t, end, dns.Len(r))
		data := dns.Data(r)
		require.Equal(t, theirs[end-len(data):end], data)
		require.Equal(t, r, r.Copy())
		require.NotSame(t, r, r.Copy())
	})
}

// Names of records and of PTR data are written once and pointed to (RFC 1035
// §4.1.4), those in SRV data in full (RFC 2782).
func TestCompression(t *testing.T) {
	b, err := (&dns.Message{Answer: []dns.Record{
		&dns.PTR{Header: dns.Header{Name: "s.local.", Type: dns.TypePTR, Class: dns.ClassINET, TTL: 1}, Ptr: "a.s.local."},
		&dns.SRV{Header: dns.Header{Name: "a.s.local.", Type: dns.TypeSRV, Class: dns.ClassINET, TTL: 1}, Port: 7, Target: "h.local."},
	}}).Pack()
	require.NoError(t, err)
	require.Equal(t, "000000000000000200000000"+
		"0173056c6f63616c00"+"000c0001"+"00000001"+"0004"+"0161c00c"+
		"c01f"+"00210001"+"00000001"+"000f"+"000000000007"+"0168056c6f63616c00", hex.EncodeToString(b))
}

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := label(t)
		got, rest, ok := dns.CutLabel(dns.EscapeLabel(raw) + ".local.")
		require.True(t, ok)
		require.Equal(t, raw, got)
		require.Equal(t, "local.", rest)
	})
	for _, bad := range []string{"no dot", "..", "a..", strings.Repeat("a", 64) + ".", strings.Repeat("abcdefg.", 32)} {
		_, err := (&dns.Message{Question: []dns.Question{{Name: bad}}}).Pack()
		require.ErrorIs(t, err, dns.ErrPack, bad)
	}
	for _, r := range []dns.Record{
		&dns.A{A: net.IPv6loopback}, &dns.AAAA{}, &dns.TXT{Txt: []string{strings.Repeat("x", 256)}}, &dns.NSEC{Types: []uint16{256}}, &dns.Unknown{},
		&dns.SRV{Target: "no dot"},
	} {
		_, err := (&dns.Message{Answer: []dns.Record{r}}).Pack()
		require.ErrorIs(t, err, dns.ErrPack, fmt.Sprintf("%T", r))
		require.Nil(t, dns.Data(r))
	}
}

// Loops and forward pointers end; a cut packet is refused.
func TestMalformed(t *testing.T) {
	question := "000000000001000000000000"
	for why, s := range map[string]string{
		"empty": "", "short": "0000", "loop": question + "c00c00010001", "loop of two": question + "c00ec00c00010001", "points behind": question + "c0ff00010001",
		"reserved label": question + "80aa00010001", "too long": question + strings.Repeat("3f"+strings.Repeat("61", 63), 4) + "0000010001",
		"opcode": "00002000" + question[8:] + "0000010001", "response code": "00008003" + question[8:] + "0000010001",
	} {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		_, err = dns.Unpack(b)
		require.ErrorIs(t, err, dns.ErrMalformed, why)
	}
	m := &dns.Message{
		Question: []dns.Question{{Name: "a.local.", Type: dns.TypeA, Class: dns.ClassINET}},
		Answer:   []dns.Record{&dns.PTR{Header: dns.Header{Name: "b.local.", Type: dns.TypePTR, Class: dns.ClassINET}, Ptr: "c.local."}},
	}
	b, err := m.Pack()
	require.NoError(t, err)
	for n := range b {
		_, err := dns.Unpack(b[:n])
		require.ErrorIs(t, err, dns.ErrMalformed, n)
	}
}

// A record that cannot be read does not affect the others. The first one is
// that of python-zeroconf 0.47.3, an NSEC with an empty type bitmap, which the
// peer refuses; the second one is an A of three bytes.
func TestLenient(t *testing.T) {
	ptr, err := (&dns.Message{Answer: []dns.Record{
		&dns.PTR{Header: dns.Header{Name: "_sd._udp.local.", Type: dns.TypePTR, Class: dns.ClassINET}, Ptr: "x._sd._udp.local."},
	}}).Pack()
	require.NoError(t, err)
	b, err := hex.DecodeString("000084000000000300000000" + "027079056c6f63616c00002f800100000078000ac00c0000000400000008" + "00" + "00010001000000780003010203")
	require.NoError(t, err)
	b = append(b, bytes.ReplaceAll(ptr[12:], []byte{0xc0, 0x0c}, []byte{0xc0, byte(len(b))})...)
	require.Error(t, new(miekg.Msg).Unpack(b))
	m, err := dns.Unpack(b)
	require.NoError(t, err)
	require.Len(t, m.Answer, 2)
	require.Equal(t, dns.TypeNSEC, m.Answer[0].Head().Type)
	require.IsType(t, &dns.Unknown{}, m.Answer[0])
	require.Equal(t, "x._sd._udp.local.", m.Answer[1].(*dns.PTR).Ptr)
}

func FuzzUnpack(f *testing.F) {
	for i := range 20 {
		b, err := rapid.Custom(message).Example(i).Pack()
		require.NoError(f, err)
		f.Add(b)
	}
	for _, b := range costly() {
		f.Add(b[:min(len(b), 600)])
	}
	var r dns.Reader
	f.Fuzz(func(t *testing.T, b []byte) {
		m := agree(t, &r, b)
		if m == nil {
			return
		}
		for _, section := range []*[]dns.Record{&m.Answer, &m.Ns, &m.Additional} { // drops unknown types
			var known []dns.Record
			for _, r := range *section {
				if _, ok := r.(*dns.Unknown); !ok {
					known = append(known, r)
				}
			}
			*section = known
		}
		packed, err := m.Pack()
		if err != nil {
			t.Fatalf("a message that was accepted cannot be packed: %v", err)
		}
		again, err := dns.Unpack(packed)
		require.NoError(t, err)
		require.Equal(t, len(m.Answer), len(again.Answer))
	})
}
