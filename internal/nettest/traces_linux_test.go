package nettest

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// A trace is what a listener gets from a datagram: the parts of its payload
// that anyone can decrypt, decrypted, and the rest as it is.
type trace struct {
	from     string // link-layer address
	port     uint16 // it was sent from
	dns      bool
	response bool
	data     []byte // mDNS: names in full, no times to live; QUIC: first packets decrypted
	known    int    // length of the beginning that all packets of a connection share
}

// traces parses frames. All of them must be UDP, except those of the hosts'
// kernels: ARP, ICMPv6 and IGMP.
func (h hellos) traces(t testing.TB, frames []netlab.Frame) (list []trace) {
	t.Helper()
	for _, f := range frames {
		var protocol byte
		var rest []byte
		switch f.Type {
		case 0x0800:
			protocol, rest = f.Data[9], f.Data[int(f.Data[0]&15)*4:binary.BigEndian.Uint16(f.Data[2:])]
		case 0x86dd:
			protocol, rest = f.Data[6], f.Data[40:40+binary.BigEndian.Uint16(f.Data[4:])]
		case 0x0806:
			continue
		default:
			t.Fatalf("a frame of type %x", f.Type)
		}
		switch protocol {
		case 17:
		case 1, 2, 0, 58:
			continue
		default:
			t.Fatalf("a packet of protocol %d", protocol)
		}
		tr := trace{from: f.From, port: binary.BigEndian.Uint16(rest), data: rest[8:]}
		if tr.port == mdnsPort {
			tr.dns = true
			tr.data, tr.response = plainDNS(t, tr.data)
		} else if len(tr.data) > 0 && tr.data[0]&0x80 == 0 {
			tr.known = 1 + idSize
		} else {
			tr.data = append(slices.Clone(tr.data), h.read(t, tr.data)...)
		}
		list = append(list, tr)
	}
	return list
}

// plainDNS returns a message with all names written in full, and without times
// to live.
func plainDNS(t testing.TB, b []byte) (plain []byte, response bool) {
	m := new(dns.Msg)
	require.NoError(t, m.Unpack(b))
	for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
		rr.Header().Ttl = 120
	}
	m.Compress = false
	plain, err := m.Pack()
	require.NoError(t, err)
	return plain, m.Response
}

// hellos are the observed handshakes, by the client's connection ID.
type hellos map[string]*hello

// whole returns the number of handshakes that were read on both sides.
func (h hellos) whole() (n int) {
	for _, one := range h {
		if one.said[0].told && one.said[1].told {
			n++
		}
	}
	return n
}

type hello struct {
	client, server packetKeys
	said           [2]flight // by the server, and by the client
}

// A flight is the TLS data of one side's first packets: in pieces, and in any
// order.
type flight struct {
	data []byte
	have []bool
	told bool
}

func (f *flight) add(offset uint64, b []byte) {
	if n := int(offset) + len(b); n > len(f.data) {
		f.data = append(f.data, make([]byte, n-len(f.data))...)
		f.have = append(f.have, make([]bool, n-len(f.have))...)
	}
	copy(f.data[offset:], b)
	for i := range b {
		f.have[int(offset)+i] = true
	}
}

// whole returns the message once all of it has come, without its length, which
// depends on the amount of random padding.
func (f *flight) whole() []byte {
	if f.told || len(f.data) < 4 || slices.Contains(f.have[:4], false) {
		return nil
	}
	n := 4 + int(f.data[1])<<16 + int(f.data[2])<<8 + int(f.data[3])
	if len(f.data) < n || slices.Contains(f.have[:n], false) {
		return nil
	}
	f.told = true
	clear(f.data[1:4])
	return f.data[:n]
}

// read returns the content of the first packets in a datagram.
func (h hellos) read(t testing.TB, b []byte) (plain []byte) {
	const retry = 3
	for len(b) > 7 && b[0]&0x80 != 0 {
		require.Equal(t, "\x00\x00\x00\x01", string(b[1:5]))
		at := 6 + int(b[5])
		dcid := b[6:at]
		if b[0]>>4&3 == retry {
			return plain
		}
		scid := b[at+1 : at+1+int(b[at])]
		at += 1 + len(scid)
		initial := b[0]>>4&3 == 0
		if initial {
			n, size := varint(b[at:])
			at += size + int(n)
		}
		n, size := varint(b[at:])
		at += size
		if initial {
			plain = append(plain, h.open(t, b[:at+int(n)], at, dcid, scid)...)
		}
		b = b[at+int(n):]
	}
	return plain
}

// open returns the content of a first packet whose number is at a given offset.
func (h hellos) open(t testing.TB, b []byte, at int, dcid, scid []byte) []byte {
	t.Helper()
	fresh := &hello{}
	var err error
	fresh.client, err = newInitialKeys(dcid)
	require.NoError(t, err)
	fresh.server, err = newServerKeys(dcid)
	require.NoError(t, err)
	if s := h[string(dcid)]; s != nil {
		if plain, ok := s.server.open(b, at); ok {
			return s.said[0].read(t, plain)
		}
	}
	if c := h[string(scid)]; c != nil {
		if plain, ok := c.client.open(b, at); ok {
			return c.said[1].read(t, plain)
		}
	}
	plain, ok := fresh.client.open(b, at) // or once more, after a Retry
	require.True(t, ok, "a first packet has another protection")
	h[string(scid)] = fresh
	return fresh.said[1].read(t, plain)
}

// open removes a packet's protection.
func (k packetKeys) open(packet []byte, at int) (plain []byte, ok bool) {
	b := slices.Clone(packet)
	size := k.protect(b, at, true)
	number := uint32(0)
	for _, x := range b[at : at+size] {
		number = number<<8 | uint32(x)
	}
	plain, err := k.aead.Open(nil, k.nonce(number), b[at+size:], b[:at+size])
	return plain, err == nil
}

// read reads the frames of a packet. It returns the message if the packet
// completes it, or the reason if the packet closes the connection.
func (f *flight) read(t testing.TB, b []byte) []byte {
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		next := func() uint64 {
			n, size := varint(b)
			b = b[size:]
			return n
		}
		switch kind {
		case 0, 1:
		case 2, 3:
			next()
			next()
			ranges := next()
			for range 1 + 2*ranges {
				next()
			}
			if kind == 3 {
				next()
				next()
				next()
			}
		case 6:
			offset, n := next(), next()
			f.add(offset, b[:n])
			b = b[n:]
		case 0x1c:
			next()
			next()
			n := next()
			return b[:n]
		default:
			t.Fatalf("a frame of type %x in a first packet", kind)
		}
	}
	return f.whole()
}

// varint reads an integer (RFC 9000 §16), and its size.
func varint(b []byte) (n uint64, size int) {
	size = 1 << (b[0] >> 6)
	n = uint64(b[0] & 0x3f)
	for _, x := range b[1:size] {
		n = n<<8 | uint64(x)
	}
	return n, size
}

const (
	// shortest is the length from which a string of bytes that occurs twice
	// links two epochs. Strings of hexadecimal digits must be twice as long.
	shortest = 6
	// word is the length from which a string of bytes that others send as well
	// counts as a word of the protocol.
	word = 4
)

// words are the strings that others send.
type words map[[word]byte]bool

func wordsOf(list []trace) words {
	w := words{}
	for _, tr := range list {
		for i := 0; i+word <= len(tr.data); i++ {
			w[[word]byte(tr.data[i:])] = true
		}
	}
	return w
}

// pieces are all strings of the shortest length between words, with the traces
// in which they occur.
type pieces map[string]*trace

// piecesOf returns the pieces of traces, with connection IDs only if withIDs is
// true.
func piecesOf(list []trace, but words, withIDs bool) pieces {
	p := pieces{}
	for n := range list {
		data, begin := list[n].data, list[n].known
		if withIDs {
			begin = 0
		}
		begin = min(begin, len(data))
		isWord := make([]bool, len(data))
		for i := begin; i+word <= len(data); i++ {
			if but[[word]byte(data[i:])] {
				for j := range word {
					isWord[i+j] = true
				}
			}
		}
		run := 0 // number of bytes that are in no word
		for i := begin; i < len(data); i++ {
			if run++; isWord[i] {
				run = 0
			}
			for _, size := range []int{shortest, 2 * shortest} {
				if run < size {
					continue
				}
				piece := string(data[i+1-size : i+1])
				if isHex := strings.Trim(piece, "0123456789abcdef") == ""; isHex == (size > shortest) {
					p[piece] = &list[n]
				}
			}
		}
	}
	return p
}
