package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/carrier"
)

// A placeKind says what is known about the handshake that holds a place.
type placeKind uint8

const (
	unproved  placeKind = iota // its address may be forged
	proved                     // it has proved its address
	neighbor                   // proved, and in a network of this host
	familiar                   // proved, and that of a tracked or manual peer
	lingering                  // evicted, but still held by quic-go
)

// handshakes are the handshakes in progress that peers have begun. An
// unfinished handshake costs memory for 3 s, and a finished one the time of two
// key operations. These are the resources that strangers can take most easily,
// so they are few and shared out by address. Before the limits by address
// apply, an address has to be proved, and an unproved address is never a reason
// to refuse: otherwise forged addresses could shut out a peer of the attacker's
// choice.
type handshakes struct {
	limits   Limits
	familiar func(netip.Addr) (familiar, neighbor, own bool)

	mu    sync.Mutex
	all   map[*handshake]struct{}
	paces map[netip.Prefix]*pace // of addresses and networks
	dials map[netip.Addr]int     // of this node, to an address
}

// A handshake is a handshake in progress.
type handshake struct {
	ip     netip.Addr
	addr   netip.Addr // as returned by addrOf
	net    netip.Prefix
	kind   placeKind
	began  time.Time
	cancel context.CancelFunc // aborts the handshake
}

// maxPaces is the most addresses and networks whose pace is remembered.
const maxPaces = 4096

// maxLingering is the most evicted handshakes that quic-go still holds; twice
// as many for addresses of tracked and manual peers.
const maxLingering = 64

var errFullHere = errors.New("quic: no more handshakes now")

func newHandshakes(l Limits, known func(netip.Addr) (familiar, neighbor, own bool)) *handshakes {
	return &handshakes{limits: l, familiar: known, all: map[*handshake]struct{}{}, paces: map[netip.Prefix]*pace{}, dials: map[netip.Addr]int{}}
}

// verify reports whether an address has to be proved before the handshake.
func (h *handshakes) verify(addr net.Addr) bool {
	ip, ok := ipOf(addr)
	if !ok {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	same, all := 0, 0
	for other := range h.all {
		if other.kind != unproved {
			continue
		}
		all++
		if other.addr == addrOf(ip) {
			same++
		}
	}
	return same > 0 || full(all, h.limits.Unproved) || !h.inPace(ip)
}

func ipOf(addr net.Addr) (netip.Addr, bool) {
	u, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return u.AddrPort().Addr().Unmap(), true
}

// enter takes a place for a handshake, which holds it until ctx is done. The
// returned context is done when the handshake is evicted.
func (h *handshakes) enter(ctx context.Context, client *quicgo.ClientInfo) (context.Context, *handshake, error) {
	ip, ok := ipOf(client.RemoteAddr)
	if !ok {
		return nil, nil, errFullHere
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &handshake{ip: ip, addr: addrOf(ip), net: netOf(ip), began: time.Now()}
	if client.AddrVerified {
		n.kind = proved
		err := h.place(ip, n)
		h.pass(ip) // a refusal costs something too
		if err != nil {
			return nil, nil, err
		}
	}
	ctx2, cancel := context.WithCancel(ctx)
	n.cancel = cancel
	h.all[n] = struct{}{}
	context.AfterFunc(ctx, func() { h.leave(n) })
	return ctx2, n, nil
}

// completed gives back the place of a handshake that has finished. It returns
// false if the handshake was evicted: its connection must not be used.
func (h *handshakes) completed(n *handshake) bool {
	h.mu.Lock()
	kind := n.kind
	if kind == unproved {
		h.pass(n.ip)
	}
	h.mu.Unlock()
	h.leave(n)
	return kind != lingering
}

// leave gives a place back. Calls after the first have no effect.
func (h *handshakes) leave(n *handshake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, n)
}

// place takes a place for a handshake whose address is proved. The caller holds
// mu.
func (h *handshakes) place(ip netip.Addr, n *handshake) error {
	now := h.count(n)
	isFamiliar, isNeighbor, _ := h.familiar(ip)
	crowded := full(now.same, h.limits.HandshakesPerAddr) || full(now.nets[n.net], h.limits.HandshakesPerNet)
	switch {
	case !h.inPace(ip):
		return fmt.Errorf("%w: %v asks too often", errFullHere, ip)
	case !crowded && !full(now.proved, h.limits.Handshakes):
		return nil
	case (isFamiliar || isNeighbor) && !full(now.sameKnown, h.limits.HandshakesPerAddr):
		n.kind = neighbor
		if isFamiliar {
			n.kind = familiar
		}
		if !full(now.known, h.limits.Known) {
			return nil
		}
		if isFamiliar && now.lingers < 2*maxLingering && h.evict(func(o *handshake) bool { return o.kind == neighbor }) {
			return nil
		}
	case !crowded && now.lingers < maxLingering:
		most := now.nets[n.net] + 1
		for _, n := range now.nets {
			most = max(most, n)
		}
		if h.evict(func(o *handshake) bool { return o.kind == proved && now.nets[o.net] == most }) {
			return nil
		}
	}
	return errFullHere
}

// handshakeCount counts the handshakes in progress, from the view of a new one.
type handshakeCount struct {
	proved, same     int // with proved addresses; those from its own address
	nets             map[netip.Prefix]int
	known, sameKnown int // of neighbors and familiar addresses
	lingers          int
}

func (h *handshakes) count(n *handshake) handshakeCount {
	c := handshakeCount{nets: map[netip.Prefix]int{}}
	for other := range h.all {
		switch other.kind {
		case proved:
			c.proved++
			c.nets[other.net]++
			if other.addr == n.addr {
				c.same++
			}
		case neighbor, familiar:
			c.known++
			if other.ip == n.ip {
				c.sameKnown++
			}
		case lingering:
			c.lingers++
		}
	}
	return c
}

// evict evicts the oldest handshake for which may returns true. quic-go keeps
// it for as long as unfinished ones, but no longer hands it over.
func (h *handshakes) evict(may func(*handshake) bool) bool {
	var oldest *handshake
	for o := range h.all {
		if may(o) && (oldest == nil || o.began.Before(oldest.began)) {
			oldest = o
		}
	}
	if oldest == nil {
		return false
	}
	oldest.kind = lingering
	oldest.cancel()
	return true
}

// A pace measures how often an address begins handshakes, as a leaky bucket.
type pace struct {
	level float64 // handshakes
	at    time.Time
}

// now returns the present level of the bucket.
func (p *pace) now(perSecond int) float64 {
	return max(0, p.level-time.Since(p.at).Seconds()*float64(perSecond))
}

// paced returns the prefixes whose pace limits an address: the address itself,
// and its network, which is allowed twice as much.
//
// In networks of this host, hosts share no limit, so that one of them cannot
// shut out another.
func (h *handshakes) paced(ip netip.Addr) []netip.Prefix {
	ip = ip.Unmap().WithZone("")
	if _, neighbor, _ := h.familiar(ip); neighbor {
		return []netip.Prefix{prefix(ip, ip.BitLen())}
	}
	if ip.Is4() {
		return []netip.Prefix{prefix(ip, 32), netOf(ip)}
	}
	if carrier.IsVirtual(ip) {
		return []netip.Prefix{prefix(ip, carrier.GroupBits), netOf(ip)}
	}
	return []netip.Prefix{prefix(ip, 64), netOf(ip)}
}

// inPace reports whether an address may begin another handshake. The caller
// holds mu.
func (h *handshakes) inPace(ip netip.Addr) bool {
	if h.limits.HandshakesPerSecond < 0 {
		return true
	}
	for i, of := range h.paced(ip) {
		perSecond := (1 + i) * h.limits.HandshakesPerSecond
		if p := h.paces[of]; p != nil && p.now(perSecond) >= float64(2*perSecond) {
			familiar, _, own := h.familiar(ip)
			return familiar || own
		}
	}
	return true
}

// outOfPace reports whether packets from an address that begin handshakes are
// to be dropped. Only proved addresses are counted, so that nobody can get the
// address of another host dropped.
func (h *handshakes) outOfPace(ip netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials[ip.Unmap()] == 0 && !h.inPace(ip)
}

// expect exempts an address from outOfPace until done is called, since answers
// to this node's dials look like the beginnings of handshakes.
func (h *handshakes) expect(ip netip.Addr) (done func()) {
	ip = ip.Unmap()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials[ip]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.dials[ip]--; h.dials[ip] == 0 {
			delete(h.dials, ip)
		}
	}
}

// pass records that an address begins a handshake. The caller holds mu.
func (h *handshakes) pass(ip netip.Addr) {
	for i, of := range h.paced(ip) {
		p := h.paces[of]
		if p == nil {
			if len(h.paces) >= maxPaces {
				h.forget()
			}
			p = &pace{}
			h.paces[of] = p
		}
		perSecond := (1 + i) * h.limits.HandshakesPerSecond
		p.level, p.at = min(p.now(perSecond)+1, float64(3*perSecond)), time.Now() // so that it recovers within a second
	}
}

// forget drops paces, those with an empty bucket first. It drops many at once,
// so that it is not needed for each new address.
func (h *handshakes) forget() {
	for addr, p := range h.paces {
		if p.now(h.limits.HandshakesPerSecond) == 0 {
			delete(h.paces, addr)
		}
	}
	for addr := range h.paces {
		if len(h.paces) <= maxPaces*3/4 {
			return
		}
		delete(h.paces, addr)
	}
}
