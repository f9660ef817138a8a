package carrier

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
)

// Virtual addresses are those of Links. They are of the prefix that discards
// everything on the network (RFC 6666), on sockets of IPv4 as well: the system
// never sees them. Of the host's 64 bits, the first 32 are those of a group, the others
// a number that begins anywhere and is not used again.
var virtualPrefix = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// VirtualPort is the port of all virtual addresses.
const VirtualPort = 1

// reservedPrefix is IPv4's that no host on the Internet has (RFC 1112 §4). Packets
// from there are dropped, too: other libraries have virtual addresses in it.
const reservedPrefix = 0xF0

// IsVirtual reports whether an address is of a kind that no host has: it leads
// nowhere but into a circuit, and nobody on the network may speak for it.
func IsVirtual(ip netip.Addr) bool {
	if ip.Is4() || ip.Is4In6() {
		return ip.As16()[12]&reservedPrefix == reservedPrefix
	}
	b := ip.As16()
	return ip.Is6() && bytes.HasPrefix(b[:], virtualPrefix)
}

// isVirtual is IsVirtual of a packet's address.
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

// GroupBits is how many bits the virtual addresses of a group have in common.
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
