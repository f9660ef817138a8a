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
)

// A kind of place says what a handshake that holds it has going for it.
type placeKind uint8

const (
	unproved  placeKind = iota // its address may be anybody's
	proved                     // its address is its own
	neighbor                   // and in a network that this host is in
	familiar                   // or that of a tracked or manual peer
	lingering                  // it had to go, and has not noticed yet
)

// handshakes are those in progress that peers have begun. A handshake that nobody
// finishes costs memory for 3 s, and one that is finished the time of two keys:
// these are what strangers can take most easily, and so they are few, and shared
// out by address. Addresses that cannot be forged are asked for before that makes a
// difference, and are never a reason to refuse: otherwise forged ones would shut
// out a peer of the attacker's choice.
type handshakes struct {
	limits   Limits
	familiar func(netip.Addr) (familiar, neighbor, own bool)

	mu    sync.Mutex
	all   map[*handshake]struct{}
	paces map[netip.Addr]*pace
}

// A handshake is one in progress.
type handshake struct {
	addr   netip.Addr // what counts as one
	net    netip.Prefix
	kind   placeKind
	began  time.Time
	cancel context.CancelFunc // it comes to nothing
}

// maxPaces is how many addresses are remembered for how often they ask.
const maxPaces = 4096

// maxLingering is how many handshakes may be made to go and be there still.
const maxLingering = 64

var errFullHere = errors.New("quic: no more handshakes now")

func newHandshakes(l Limits, known func(netip.Addr) (familiar, neighbor, own bool)) *handshakes {
	return &handshakes{limits: l, familiar: known, all: map[*handshake]struct{}{}, paces: map[netip.Addr]*pace{}}
}

// verify reports whether an address has to be proved first.
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

// enter takes a place for a handshake, which has it until ctx is done. The returned
// context is done when the handshake has to go.
func (h *handshakes) enter(ctx context.Context, client *quicgo.ClientInfo) (context.Context, *handshake, error) {
	ip, ok := ipOf(client.RemoteAddr)
	if !ok {
		return nil, nil, errFullHere
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &handshake{addr: addrOf(ip), net: netOf(ip), began: time.Now()}
	if client.AddrVerified {
		n.kind = proved
		if err := h.place(ip, n); err != nil {
			return nil, nil, err
		}
	}
	ctx2, cancel := context.WithCancel(ctx)
	n.cancel = cancel
	h.all[n] = struct{}{}
	h.pass(ip)
	context.AfterFunc(ctx, func() { h.leave(n) })
	return ctx2, n, nil
}

// leave gives a place back. Calls after the first have no effect.
func (h *handshakes) leave(n *handshake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, n)
}

// place finds a place for a handshake whose address is proved. The caller holds mu.
func (h *handshakes) place(ip netip.Addr, n *handshake) error {
	var same, sameKnown, inNet, inAll, known, lingers int
	nets := map[netip.Prefix]int{}
	for other := range h.all {
		switch other.kind {
		case proved:
			inAll++
			nets[other.net]++
			if other.addr == n.addr {
				same++
			}
			if other.net == n.net {
				inNet++
			}
		case neighbor, familiar:
			known++
			if other.addr == n.addr {
				sameKnown++
			}
		case lingering:
			lingers++
		}
	}
	isFamiliar, isNeighbor, _ := h.familiar(ip)
	crowded := full(same, h.limits.HandshakesPerAddr) || full(inNet, h.limits.HandshakesPerNet)
	switch {
	case !isFamiliar && !h.inPace(ip):
		return fmt.Errorf("%w: %v asks too often", errFullHere, ip)
	case !crowded && !full(inAll, h.limits.Handshakes):
		return nil
	case (isFamiliar || isNeighbor) && !full(sameKnown, h.limits.HandshakesPerAddr):
		n.kind = neighbor
		if isFamiliar {
			n.kind = familiar
		}
		if !full(known, h.limits.Known) {
			return nil
		}
		if isFamiliar && lingers < maxLingering && h.evict(func(o *handshake) bool { return o.kind == neighbor }) {
			return nil
		}
	case !crowded && lingers < maxLingering:
		most := inNet + 1
		for _, n := range nets {
			most = max(most, n)
		}
		if h.evict(func(o *handshake) bool { return o.kind == proved && nets[o.net] == most }) {
			return nil
		}
	}
	return errFullHere
}

// evict makes the oldest handshake go that may. quic-go keeps it for as long as it
// keeps those that nobody finishes, and does not hand it over any more.
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

// A pace is how often an address has begun a handshake: a bucket that runs dry.
type pace struct {
	level float64 // handshakes
	at    time.Time
}

// now returns how full the bucket is.
func (p *pace) now(perSecond int) float64 {
	return max(0, p.level-time.Since(p.at).Seconds()*float64(perSecond))
}

// inPace reports whether an address may begin another handshake. The caller holds mu.
func (h *handshakes) inPace(ip netip.Addr) bool {
	if h.limits.HandshakesPerSecond < 0 {
		return true
	}
	if _, _, own := h.familiar(ip); own {
		return true
	}
	p := h.paces[addrOf(ip)]
	return p == nil || p.now(h.limits.HandshakesPerSecond) < float64(2*h.limits.HandshakesPerSecond)
}

// pass records that an address begins a handshake. The caller holds mu.
func (h *handshakes) pass(ip netip.Addr) {
	addr := addrOf(ip)
	p := h.paces[addr]
	if p == nil {
		if len(h.paces) >= maxPaces {
			h.forget()
		}
		p = &pace{}
		h.paces[addr] = p
	}
	p.level, p.at = p.now(h.limits.HandshakesPerSecond)+1, time.Now()
}

// forget makes room among the paces: first of those whose bucket is empty.
func (h *handshakes) forget() {
	for addr, p := range h.paces {
		if p.now(h.limits.HandshakesPerSecond) == 0 {
			delete(h.paces, addr)
		}
	}
	for addr := range h.paces {
		if len(h.paces) < maxPaces {
			return
		}
		delete(h.paces, addr)
	}
}
