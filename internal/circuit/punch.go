package circuit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"

	"github.com/sdp2p/p2p/internal/hidden"
)

// MaxAddrs is the most addresses of a [Punch]; further ones are ignored.
const MaxAddrs = 16

// A PunchType is the type of a [Punch].
type PunchType uint16

// The types of a [Punch].
const (
	PunchConnect PunchType = 100
	PunchSync    PunchType = 300
)

// A PunchToken is a secret of the two ends of a connection, from which they
// derive the keys of their probes.
type PunchToken = hidden.Value[[16]byte]

// A Punch is a message of DCUtR.
type Punch struct {
	Type PunchType
	// Addrs are the sender's addresses for QUIC over UDP; others are ignored.
	Addrs []netip.AddrPort
	// Token is the token that the callee chose; zero in other messages, and in
	// those of other implementations.
	Token PunchToken
}

const punchToken = 16 // the field

// Append appends the message and its length, with the first [MaxAddrs]
// addresses.
func (m Punch) Append(b []byte) []byte {
	p := appendVarint(nil, 1, uint64(m.Type))
	for _, a := range m.Addrs[:min(len(m.Addrs), MaxAddrs)] {
		p = appendBytes(p, 2, AppendMultiaddr(nil, a))
	}
	if m.Token != (PunchToken{}) {
		t := m.Token.Get()
		p = appendBytes(p, punchToken, t[:])
	}
	return appendDelimited(b, p)
}

// ReadPunch reads a message and its length.
func ReadPunch(r io.Reader) (m Punch, err error) {
	b, err := readDelimited(r)
	if err != nil {
		return Punch{}, err
	}
	typed := false
	err = eachField(b, func(f field) error {
		switch {
		case f.is(1):
			typed = f.varint == uint64(PunchConnect) || f.varint == uint64(PunchSync)
			m.Type = PunchType(f.varint)
		case f.holds(2):
			if a, ok := ParseMultiaddr(f.bytes); ok && len(m.Addrs) < MaxAddrs {
				m.Addrs = append(m.Addrs, a)
			}
		case f.holds(punchToken):
			if len(f.bytes) != 16 {
				return fmt.Errorf("%w: a token of %d bytes", ErrMalformed, len(f.bytes))
			}
			m.Token = hidden.Of([16]byte(f.bytes))
		}
		return nil
	})
	if err == nil && !typed {
		err = fmt.Errorf("%w: without a known type", ErrMalformed)
	}
	if err != nil {
		return Punch{}, err
	}
	return m, nil
}

// The codes of multiaddr, as varints.
const (
	codeIP4    = "\x04"
	codeIP6    = "\x29"
	codeUDP    = "\x91\x02"
	codeQUICv1 = "\xcd\x03"
)

// AppendMultiaddr appends an address as a multiaddr: /ip4 or /ip6, /udp,
// /quic-v1.
func AppendMultiaddr(b []byte, a netip.AddrPort) []byte {
	code := codeIP6
	ip := a.Addr().Unmap().WithZone("")
	if ip.Is4() {
		code = codeIP4
	}
	b = append(append(b, code...), ip.AsSlice()...)
	b = binary.BigEndian.AppendUint16(append(b, codeUDP...), a.Port())
	return append(b, codeQUICv1...)
}

// ParseMultiaddr parses a multiaddr in the form of [AppendMultiaddr]. It
// returns false for any other.
func ParseMultiaddr(b []byte) (a netip.AddrPort, ok bool) {
	size, code := 4, codeIP4
	if bytes.HasPrefix(b, []byte(codeIP6)) {
		size, code = 16, codeIP6
	}
	if len(b) != len(code)+size+len(codeUDP)+2+len(codeQUICv1) || string(b[:1]) != code {
		return a, false
	}
	ip, _ := netip.AddrFromSlice(b[1 : 1+size])
	b = b[1+size:]
	if string(b[:2]) != codeUDP || string(b[4:]) != codeQUICv1 || ip.Is4In6() {
		return a, false
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[2:])), true
}
