package quic

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/carrier"
)

const (
	circleTime = time.Second    // how long the known addresses are valid before they are read again
	seenTime   = 24 * time.Hour // how long an address of a tracked peer is remembered
	maxSeen    = 1024           // most such addresses
)

// A circle is the set of addresses from which this node expects connections:
// those of tracked and manual peers, and of the networks that the host is in.
type circle struct {
	node   *p2p.P2P
	manual *manualPeers

	named func(netip.Addr) bool // reports whether, according to a relay, a tracked peer is in the circuit

	mu       sync.Mutex
	seen     map[netip.Addr]time.Time // of tracked peers that were connected
	looked   time.Time
	expected map[netip.Addr]bool
	networks []netip.Prefix
	host     map[netip.Addr]bool // the host's own addresses
	everyone map[netip.Addr]bool // broadcast addresses of its networks
}

func newCircle(node *p2p.P2P, manual *manualPeers) *circle {
	return &circle{node: node, manual: manual, seen: map[netip.Addr]time.Time{}}
}

// saw remembers an address of a tracked peer.
func (c *circle) saw(ip netip.Addr) {
	if carrier.IsVirtual(ip) {
		return
	}
	ip = ip.Unmap().WithZone("")
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.seen[ip]; !known && len(c.seen) >= maxSeen {
		oldest, at := ip, time.Now()
		for other, t := range c.seen {
			if t.Before(at) {
				oldest, at = other, t
			}
		}
		delete(c.seen, oldest)
	}
	c.seen[ip] = time.Now()
}

// knows reports whether a tracked or manual peer is at an address, whether the
// address is in a network of the host, and whether it is the host's own.
func (c *circle) knows(ip netip.Addr) (familiar, neighbor, own bool) {
	ip = ip.Unmap().WithZone("")
	if carrier.IsVirtual(ip) {
		return c.named != nil && c.named(ip), false, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookIfOld()
	at, seen := c.seen[ip]
	familiar = seen && time.Since(at) < seenTime || c.expected[ip]
	own = ip.IsLoopback() || c.host[ip]
	for _, n := range c.networks {
		neighbor = neighbor || n.Contains(ip)
	}
	return familiar, neighbor, own
}

// broadcasts reports whether an address is a broadcast address.
func (c *circle) broadcasts(ip netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookIfOld()
	return ip == broadcast || c.everyone[ip.Unmap()]
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// broadcastOf returns the broadcast address of an IPv4 network (RFC 919 §7). A
// network of one or two hosts has none (RFC 3021).
func broadcastOf(network netip.Prefix) (netip.Addr, bool) {
	if !network.Addr().Is4() || network.Bits() >= 31 {
		return netip.Addr{}, false
	}
	b := network.Masked().Addr().As4()
	for i := network.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b), true
}

// lookIfOld calls look if the addresses are older than circleTime. The caller
// holds mu.
func (c *circle) lookIfOld() {
	if c.looked.IsZero() || time.Since(c.looked) > circleTime {
		c.look()
		c.looked = time.Now()
	}
}

// look reads all addresses again. The caller holds mu.
func (c *circle) look() {
	c.expected, c.host, c.everyone, c.networks = map[netip.Addr]bool{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}, nil
	for _, peer := range c.node.Tracked() {
		for _, candidate := range peer.Info().Candidates {
			c.expected[candidate.Addr.Addr().Unmap().WithZone("")] = true
		}
	}
	for _, ip := range c.manual.addrs() {
		c.expected[ip.Unmap().WithZone("")] = true
	}
	addrs, _ := net.InterfaceAddrs() // without them, nobody is a neighbor
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		ip = ip.Unmap()
		bits, _ := n.Mask.Size()
		c.host[ip] = true
		if p, err := ip.Prefix(bits); err == nil {
			c.networks = append(c.networks, p)
			if all, ok := broadcastOf(p); ok {
				c.everyone[all] = true
			}
		}
	}
}
