package dns_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/internal/dns"
)

// A reference unpacks in the simplest way: it follows every pointer anew.
type reference struct {
	b           []byte
	reads, text int // bytes of labels, and of names
}

func (r *reference) name(off int) (name string, next int, ok bool) {
	var s strings.Builder
	size, pointers := 1, 0
	for off < len(r.b) {
		n := int(r.b[off])
		off++
		switch {
		case n == 0:
			if pointers == 0 {
				next = off
			}
			if r.text += s.Len(); s.Len() == 0 {
				return ".", next, true
			}
			return s.String(), next, true
		case n < 64:
			if size += 1 + n; off+n > len(r.b) || size > 255 {
				return "", 0, false
			}
			r.reads += 1 + n
			s.WriteString(dns.EscapeLabel(string(r.b[off:off+n])) + ".")
			off += n
		case n >= 0xC0 && off < len(r.b) && pointers < 32:
			if pointers == 0 {
				next = off + 1
			}
			pointers++
			r.reads += 2
			off = (n&0x3F)<<8 | int(r.b[off])
		default:
			return "", 0, false
		}
	}
	return "", 0, false
}

func (r *reference) uint16(off int) uint16 { return binary.BigEndian.Uint16(r.b[off:]) }

func (r *reference) unpack() *dns.Message {
	if len(r.b) < 12 || len(r.b) > 0xFFFF || r.uint16(2)>>11&15 != 0 || r.uint16(2)&15 != 0 {
		return nil
	}
	m := &dns.Message{ID: r.uint16(0), Response: r.b[2]&0x80 != 0, Authoritative: r.b[2]&4 != 0, Truncated: r.b[2]&2 != 0}
	off := 12
	for range r.uint16(4) {
		name, next, ok := r.name(off)
		if !ok || next+4 > len(r.b) {
			return nil
		}
		m.Question = append(m.Question, dns.Question{Name: name, Type: r.uint16(next), Class: r.uint16(next + 2)})
		off = next + 4
	}
	for i, section := range []*[]dns.Record{&m.Answer, &m.Ns, &m.Additional} {
		for range r.uint16(6 + 2*i) {
			name, at, ok := r.name(off)
			if !ok || at+10 > len(r.b) || at+10+int(r.uint16(at+8)) > len(r.b) {
				return nil
			}
			h := dns.Header{Name: name, Type: r.uint16(at), Class: r.uint16(at + 2), TTL: binary.BigEndian.Uint32(r.b[at+4:])}
			off = at + 10 + int(r.uint16(at+8))
			if rr := r.data(h, at+10, off); rr != nil {
				*section = append(*section, rr)
			}
		}
	}
	return m
}

func (r *reference) data(h dns.Header, from, to int) dns.Record {
	data := r.b[from:to]
	switch {
	case h.Type == dns.TypeA && len(data) == 4:
		return &dns.A{Header: h, A: bytes.Clone(data)}
	case h.Type == dns.TypeAAAA && len(data) == 16:
		return &dns.AAAA{Header: h, AAAA: bytes.Clone(data)}
	case h.Type == dns.TypePTR:
		if name, next, ok := r.name(from); ok && next == to {
			return &dns.PTR{Header: h, Ptr: name}
		}
	case h.Type == dns.TypeSRV && len(data) > 6:
		if name, next, ok := r.name(from + 6); ok && next == to {
			return &dns.SRV{Header: h, Priority: r.uint16(from), Weight: r.uint16(from + 2), Port: r.uint16(from + 4), Target: name}
		}
	case h.Type == dns.TypeTXT:
		txt := &dns.TXT{Header: h}
		for ; len(data) > 0; data = data[1+data[0]:] {
			if 1+int(data[0]) > len(data) {
				return nil
			}
			txt.Txt = append(txt.Txt, string(data[1:1+data[0]]))
		}
		return txt
	case h.Type == dns.TypeNSEC: // RFC 6762 §6.1: one window of types
		next, at, ok := r.name(from)
		if !ok || at+3 > to || r.b[at] != 0 || at+2+int(r.b[at+1]) > to || r.b[at+1] == 0 || r.b[at+1] > 32 {
			return &dns.Unknown{Header: h}
		}
		nsec := &dns.NSEC{Header: h, NextDomain: next}
		for typ := range 8 * int(r.b[at+1]) {
			if r.b[at+2+typ/8]&(0x80>>(typ%8)) != 0 {
				nsec.Types = append(nsec.Types, uint16(typ))
			}
		}
		return nsec
	case h.Type != dns.TypeA && h.Type != dns.TypeAAAA && h.Type != dns.TypeSRV:
		return &dns.Unknown{Header: h}
	}
	return nil
}

// agree compares the result of reading a packet with the reference's, and the
// result of looking through the packet with that of reading it.
func agree(t require.TestingT, r *dns.Reader, b []byte) *dns.Message {
	ref := &reference{b: b}
	want := ref.unpack()
	got, err := r.Unpack(b)
	if err != nil {
		require.ErrorIs(t, err, dns.ErrMalformed)
		if want != nil {
			crossed := ref.reads > len(b) || ref.text > 8*len(b)
			require.True(t, crossed, "the packet was refused, although its names do not cross")
		}
	} else {
		require.NotNil(t, want)
		if len(want.Question) == 0 {
			want.Question = got.Question // nil or empty
		}
		require.Equal(t, want, got)
	}
	l, looked := r.Look(b, set())
	switch {
	case looked != nil:
		require.ErrorIs(t, looked, dns.ErrMalformed)
		require.Nil(t, want)
	case err == nil && len(got.Answer)+len(got.Ns)+len(got.Additional) == int(b[7])+int(b[9])+int(b[11]): // no record is missing
		require.Equal(t, seen(got, len(got.Ns) > 0), l)
	case err == nil && seen(got, b[8]|b[9] != 0).Concerns: // also of a probe with damaged records
		require.True(t, l.Concerns)
	}
	return got
}

// set returns the names for which packets are looked through.
func set() *dns.Set {
	s := dns.NewSet("_sd._udp.local.")
	s.Add("Host.local.")
	return s
}

// seen returns the result that looking through a message should have. proposes
// reports whether the message has proposed records.
func seen(m *dns.Message, proposes bool) dns.Look {
	l := dns.Look{Response: m.Response, Probe: !m.Response && proposes, Goodbye: m.Response && len(m.Answer) > 0}
	var names []string
	for _, q := range m.Question {
		names = append(names, q.Name)
	}
	for _, section := range [][]dns.Record{m.Answer, m.Ns, m.Additional} {
		for _, r := range section {
			names = append(names, r.Head().Name)
		}
	}
	for _, r := range m.Answer {
		l.Goodbye = l.Goodbye && r.Head().TTL == 0
	}
	for _, n := range names {
		raw := miekg.SplitDomainName(miekg.CanonicalName(n))
		s := strings.Join(raw, ".")
		if s == "host.local" || s == "_sd._udp.local" || !l.Probe && len(raw) > 3 && strings.Join(raw[len(raw)-3:], ".") == "_sd._udp.local" {
			return dns.Look{Response: m.Response, Concerns: true}
		}
	}
	return l
}

// Names are drawn from few labels, and packed so that they point to each other:
// at names before them, and at bytes that are not names.
func TestAgainstAReference(t *testing.T) {
	var r dns.Reader
	checks, read := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		checks++
		b := make([]byte, 12)
		name := func() {
			for range rapid.IntRange(0, 3).Draw(t, "labels") {
				l := rapid.SampledFrom([]string{"_sd", "_udp", "local", "LOCAL", "host", "a.b", "\x00\xff", strings.Repeat("x", 63)}).Draw(t, "label")
				b = append(append(b, byte(len(l))), l...)
			}
			switch rapid.IntRange(0, 3).Draw(t, "end") {
			case 0:
				b = append(b, 0xC0, byte(rapid.IntRange(0, min(len(b)+4, 255)).Draw(t, "to")))
			case 1:
				b = append(b, 0xC0, 12)
			case 2:
				b = append(b, "\x03_Sd\x04_udp\x05local\x00"...)
			default:
				b = append(b, 0)
			}
		}
		b[2] = rapid.SampledFrom([]byte{0, 0x84}).Draw(t, "bits")
		b[5] = byte(rapid.IntRange(0, 5).Draw(t, "questions"))
		b[7] = byte(rapid.IntRange(0, 5).Draw(t, "answers"))
		b[9] = byte(rapid.IntRange(0, 1).Draw(t, "proposed"))
		for range b[5] {
			name()
			b = append(b, 0, 12, 0, 1)
		}
		for range b[7] + b[9] {
			name()
			typ := rapid.SampledFrom([]byte{1, 12, 16, 28, 33, 47}).Draw(t, "type")
			b = append(b, 0, typ, 0, 1, 0, 0, 0, byte(rapid.IntRange(0, 1).Draw(t, "ttl")), 0, 0)
			from := len(b)
			switch typ {
			case 1:
				b = append(b, 10, 0, 0, 1)
			case 28:
				b = append(b, make([]byte, 16)...)
			case 33:
				b = append(b, make([]byte, 6)...)
				name()
			case 12:
				name()
			case 16:
				b = append(b, 1, 'x', 0, 2, 'y', 'z')
			}
			b[from-1] = byte(len(b) - from)
		}
		if agree(t, &r, b) != nil {
			read++
		}
	})
	require.Greater(t, read, checks/10, "too few of the messages are valid")
}
