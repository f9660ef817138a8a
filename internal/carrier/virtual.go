package carrier

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
)

// Virtual addresses are the addresses of Links. They are in the discard-only
// prefix (RFC 6666), even on IPv4 sockets, since the system never sees them. Of
// the lower 64 bits, the first 32 are those of a group, and the others a number
// with a random start that is not reused.
var virtualPrefix = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// VirtualPort is the port of all virtual addresses.
const VirtualPort = 1

// reservedPrefix is the IPv4 prefix that no host on the Internet has (RFC 1112
// §4). Packets from there are dropped too, since other libraries use it for
// virtual addresses.
const reservedPrefix = 0xF0

// IsVirtual reports whether an address is one that no host has: it can only
// lead into a circuit, and packets from the network must not claim it.
func IsVirtual(ip netip.Addr) bool {
	if ip.Is4() || ip.Is4In6() {
		return ip.As16()[12]&reservedPrefix == reservedPrefix
	}
	b := ip.As16()
	return ip.Is6() && bytes.HasPrefix(b[:], virtualPrefix)
}

// isVirtual is IsVirtual for a packet's address.
func isVirtual(addr *net.UDPAddr) bool {
	switch ip := addr.IP; {
	case len(ip) == net.IPv4len:
		return ip[0]&reservedPrefix == reservedPrefix
	case len(ip) != net.IPv6len:
		return false
	case ip[0] == virtualPrefix[0]:
		return bytes.HasPrefix(ip, virtualPrefix)
	default:
		return ip[12]&reservedPrefix == reservedPrefix && ip.To4() != nil
	}
}

// GroupBits is the number of leading bits that the virtual addresses of a group
// have in common.
const GroupBits = 96

var lastVirtual atomic.Uint32

func init() { lastVirtual.Store(rand.Uint32()) }

func newVirtual(group uint32) netip.AddrPort {
	var b [16]byte
	copy(b[:], virtualPrefix)
	binary.BigEndian.PutUint32(b[8:], group)
	binary.BigEndian.PutUint32(b[12:], lastVirtual.Add(1))
	return netip.AddrPortFrom(netip.AddrFrom16(b), VirtualPort)
}
