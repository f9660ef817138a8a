package tcp

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
)

// A door limits the handshakes in progress, which are the resource that
// strangers can take most easily. A peer that has connected has thereby proved
// its address.
type door struct {
	limits Limits
	node   *p2p.P2P

	mu     sync.Mutex
	inside map[*entry]struct{}
}

// An entry is a place for a handshake.
type entry struct {
	addr  netip.Addr // as [addrOf] returns it
	net   netip.Prefix
	known bool // it has one of the places for tracked peers
	began time.Time
	conn  net.Conn
}

func newDoor(l Limits, node *p2p.P2P) *door {
	return &door{limits: l, node: node, inside: map[*entry]struct{}{}}
}

// enter takes a place for a connection, or returns false.
func (d *door) enter(c net.Conn, from netip.Addr) (*entry, bool) {
	e := &entry{addr: addrOf(from), net: netOf(from), began: time.Now(), conn: c}
	d.mu.Lock()
	defer d.mu.Unlock()
	var same, inNet, all, known int
	nets := map[netip.Prefix]int{}
	for o := range d.inside {
		if o.known {
			known++
			continue
		}
		all++
		nets[o.net]++
		if o.net == e.net {
			inNet++
		}
		if o.addr == e.addr {
			same++
		}
	}
	crowded := full(same, d.limits.HandshakesPerAddr) || full(inNet, d.limits.HandshakesPerNet)
	switch {
	case !crowded && !full(all, d.limits.Handshakes):
	case !full(known, d.limits.Known) && d.knows(from):
		e.known = true
	case crowded || !d.evict(nets):
		return nil, false
	}
	d.inside[e] = struct{}{}
	return e, true
}

// evict ends the oldest handshake of the fullest network. The caller holds mu.
func (d *door) evict(nets map[netip.Prefix]int) bool {
	var goes *entry
	for o := range d.inside {
		if !o.known && (goes == nil || nets[o.net] > nets[goes.net] || nets[o.net] == nets[goes.net] && o.began.Before(goes.began)) {
			goes = o
		}
	}
	if goes == nil {
		return false
	}
	goes.conn.Close()
	delete(d.inside, goes)
	return true
}

// leave gives a place back.
func (d *door) leave(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.inside, e)
}

// close ends the handshakes in progress.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := range d.inside {
		e.conn.Close()
	}
}

// knows reports whether a tracked peer may be at an address.
func (d *door) knows(ip netip.Addr) bool {
	for _, peer := range d.node.Tracked() {
		for _, c := range peer.Info().Candidates {
			if c.Kind != p2p.Relay && c.Addr.Addr().Unmap().WithZone("") == ip.Unmap().WithZone("") {
				return true
			}
		}
	}
	return false
}

// addrOf returns the address that ip counts toward.
func addrOf(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip
	}
	return prefix(ip, 64).Addr()
}

// netOf returns the network that ip counts toward.
func netOf(ip netip.Addr) netip.Prefix {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return prefix(ip, 24)
	}
	return prefix(ip, 48)
}

func prefix(ip netip.Addr, bits int) netip.Prefix {
	p, _ := ip.Prefix(bits) // bits is in range
	return p
}
