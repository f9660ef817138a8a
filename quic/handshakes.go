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

// A kind of place says what a handshake that holds it has going for it.
type placeKind uint8

const (
	unproved  placeKind = iota // its address may be anybody's
	proved                     // its address is its own
	neighbor                   // and in a network that this host is in
	familiar                   // or that of a tracked or manual peer
	lingering                  // it had to go, and has not noticed yet
)

// handshakes are those in progress that peers have begun. A handshake that
// nobody finishes costs memory for 3 s, and one that is finished the time of
// two keys: these are what strangers can take most easily, and so they are few,
// and shared out by address. Addresses that cannot be forged are asked for
// before that makes a difference, and are never a reason to refuse: otherwise
// forged ones would shut out a peer of the attacker's choice.
type handshakes struct {
	limits   Limits
	familiar func(netip.Addr) (familiar, neighbor, own bool)

	mu    sync.Mutex
	all   map[*handshake]struct{}
	paces map[netip.Prefix]*pace // of addresses and networks
	dials map[netip.Addr]int     // of this node, to an address
}

// A handshake is one in progress.
type handshake struct {
	ip     netip.Addr
	addr   netip.Addr // what counts as one
	net    netip.Prefix
	kind   placeKind
	began  time.Time
	cancel context.CancelFunc // it comes to nothing
}

// maxPaces is how many addresses are remembered for how often they ask.
const maxPaces = 4096

// maxLingering is how many handshakes may be made to go and be there still; twice
// as many for addresses of tracked and manual peers.
const maxLingering = 64

var errFullHere = errors.New("quic: no more handshakes now")

func newHandshakes(l Limits, known func(netip.Addr) (familiar, neighbor, own bool)) *handshakes {
	return &handshakes{limits: l, familiar: known, all: map[*handshake]struct{}{}, paces: map[netip.Prefix]*pace{}, dials: map[netip.Addr]int{}}
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

// enter takes a place for a handshake, which has it until ctx is done. The
// returned context is done when the handshake has to go.
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
		h.pass(ip) // a refusal costs something, too
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

// completed gives the place of a handshake back that has proved its address by
// now. It reports false if it had to go: then its connection is none.
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

// place finds a place for a handshake whose address is proved. The caller holds
// mu.
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
			if other.ip == n.ip {
				sameKnown++
			}
		case lingering:
			lingers++
		}
	}
	isFamiliar, isNeighbor, _ := h.familiar(ip)
	crowded := full(same, h.limits.HandshakesPerAddr) || full(inNet, h.limits.HandshakesPerNet)
	switch {
	case !h.inPace(ip):
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
		if isFamiliar && lingers < 2*maxLingering && h.evict(func(o *handshake) bool { return o.kind == neighbor }) {
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

// evict makes the oldest handshake go that may. quic-go keeps it for as long as
// it keeps those that nobody finishes, and does not hand it over any more.
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

// paced returns what counts for the pace of an address: itself, and its
// network, which may twice as much.
//
// In networks of this host, hosts do not share what there is: one of them must
// not shut out another.
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

// outOfPace reports whether what an address sends to begin handshakes is not
// looked at. Only addresses that were proved get there: nobody else can bring
// one out of pace.
func (h *handshakes) outOfPace(ip netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dials[ip.Unmap()] == 0 && !h.inPace(ip)
}

// expect has what comes from an address looked at, until done is called:
// answers to this node's dials begin as handshakes of the peer's do.
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
		p.level, p.at = min(p.now(perSecond)+1, float64(3*perSecond)), time.Now() // it recovers in a second
	}
}

// forget makes room among the paces: first of those whose bucket is empty. It
// makes much of it, so that it is not needed for each new address.
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
