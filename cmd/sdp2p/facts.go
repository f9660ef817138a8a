package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dnssd"
)

// Facts are the observations of a check-up. [facts.diagnose] draws conclusions
// from them alone, so that tests can state a fault as a set of facts.
type facts struct {
	system string // as runtime.GOOS
	on     string // the only interface to use; "" for those that discovery uses
	app    string
	port   uint16
	wait   time.Duration

	listErr   error // why links could not be listed
	links     []linkFacts
	neighbors []neighbor // nil if the system does not tell
	groups    int        // memberships that one socket may have over IPv4; 0 if unknown
	place     placeFacts
	ears      []earFacts
	ports     []portFacts
	socket    socketFacts
	clock     clockFacts
	peer      *peerFacts    // nil if none was asked for
	outside   *outsideFacts // nil if no relay was named
	contacts  contactsFacts
}

// A linkFacts is a network interface.
type linkFacts struct {
	dnssd.Interface
	enabled bool          // switched on; Up requires a carrier as well
	kind    string        // of a virtual one, such as "veth"; "" for a real one, or if unknown
	age     time.Duration // since its first address came, at most; 0 if unknown
	// empty reports, by family, that no program had joined the group of
	// discovery before the doctor.
	empty [2]bool
}

// A neighbor is a device whose link-layer address is known, or was requested.
type neighbor struct {
	addr  netip.Addr
	index int  // of the interface
	known bool // it has answered before
	alive bool // it answers now
}

// An earFacts is what was heard on one interface over one family.
type earFacts struct {
	link    dnssd.Interface
	family  dnssd.Family
	err     error // why nothing can be sent or heard
	doing   doing // what failed with err
	joined  int   // number of interfaces that joined the group before
	back    time.Duration
	local   int      // packets of other programs on this host
	packets int      // packets of other devices
	sources []source // their senders, the most talkative first
	direct  []netip.Addr
}

// doing is the operation that the system refuses.
type doing string

const (
	opening doing = "no socket"
	joining doing = "cannot join the multicast group"
	sending doing = "cannot send"
	routing doing = "no way out"
	hearing doing = "cannot receive"
)

// A portFacts is the state of a UDP port of this host, over one family.
type portFacts struct {
	family   dnssd.Family
	err      error     // of taking it; nil if it was free
	holder   *resident // the node that has it, if one does
	arrivals []arrival // if it was free
}

// An arrival is a packet that this host sent to the port from another of its
// addresses.
type arrival struct {
	from, to netip.Addr
	socket   bool  // there was a socket to send from
	err      error // of sending
	arrived  bool
	took     time.Duration
}

// A placeFacts is the kind of computer that this is. The zero value is an
// ordinary one.
type placeFacts struct {
	container string // such as "Docker"; "" if there is no sign of one
	wsl       bool   // Windows Subsystem for Linux
}

// A socketFacts is the buffers and features that the system grants to a socket
// for fast transfers.
type socketFacts struct {
	err           error // of opening it, or asking
	asked         bool  // the system has relevant settings
	in, out       int   // bytes of its buffers, as Linux counts them
	inErr, outErr error
	segmentation  error // why segmentation is not available; nil if it is
	disabled      bool  // segmentation is disabled by the environment
}

// A clockFacts is the wall clock at the beginning and the end of a period.
type clockFacts struct {
	began, now time.Time
	elapsed    time.Duration
	built      time.Time // a time that has passed
}

// A peerFacts is the outcome of the search for a peer.
type peerFacts struct {
	target
	addrs      []netip.AddrPort // where it may be
	lookupErr  error            // of its host name
	late       bool             // the lookup took too long
	startErr   error            // discovery did not start
	discovered bool
	lane       uint16     // the TCP port that it announces for lanes, or 0
	ways       []wayFacts // by address
}

// A wayFacts is the outcome of an attempt to reach an address.
type wayFacts struct {
	addr  netip.AddrPort
	there resident
	err   error // why it was not reached
	small knock // with packets that fit everywhere
	large knock // with packets of the size that QUIC begins with
	lane  laneFacts
}

// A laneFacts is the outcome of a TCP connection to the port of a peer's lanes.
type laneFacts struct {
	port uint16 // 0: none is known
	took time.Duration
	err  error
}

// A knock is the outcome of packets sent to an address, which a node answers
// without a connection.
type knock struct {
	sent     int
	answered bool
	doing    doing // the operation that the system or the network refused
	err      error
	reject   *reject // the network's message, if the system tells
}

// A reject is an ICMP message that says why a packet did not arrive.
type reject struct {
	from       netip.Addr // its sender; invalid if this host found out by itself
	kind, code uint8      // of ICMP (RFC 792), or ICMPv6 (RFC 4443)
	v6         bool
	mtu        int // bytes that fit, if the packet was too large; 0 if unknown
}

// unused returns why a link is not used for discovery; "" if it is.
func (f *facts) unused(l *linkFacts) string {
	switch {
	case !l.Up:
		return "it is down"
	case len(l.Addrs) == 0:
		return "it has no address"
	case f.on != "":
		if f.on != l.Name {
			return "not to be checked"
		}
	case l.Loopback:
		return "loopback"
	case l.PointToPoint:
		return "point-to-point, as most VPNs are"
	case !l.Multicast:
		return "it does not support multicast"
	}
	return ""
}

// used returns the links that are used for discovery.
func (f *facts) used() (all []linkFacts) {
	for _, l := range f.links {
		if f.unused(&l) == "" {
			all = append(all, l)
		}
	}
	return all
}

// connected reports whether this host is in any network.
func (f *facts) connected() bool {
	return f.listErr != nil || slices.ContainsFunc(f.links, func(l linkFacts) bool {
		return l.Up && !l.Loopback && len(l.Addrs) > 0
	})
}

// owns reports whether an address is this host's.
func (f *facts) owns(a netip.Addr) bool {
	a = a.WithZone("")
	return a.IsLoopback() || slices.ContainsFunc(f.links, func(l linkFacts) bool {
		return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// linkTo returns the link that an address is on, or nil.
func (f *facts) linkTo(a netip.Addr) *linkFacts {
	i := slices.IndexFunc(f.links, func(l linkFacts) bool {
		if a.Zone() != "" {
			return l.Name == a.Zone()
		}
		return l.Up && slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Contains(a) })
	})
	if i < 0 {
		return nil
	}
	return &f.links[i]
}

// alive reports whether the device with an address answers on the link.
func (f *facts) alive(a netip.Addr) bool {
	return slices.ContainsFunc(f.neighbors, func(n neighbor) bool { return n.alive && n.addr == a.WithZone("") })
}

// devices returns the number of devices known on a link, without its router.
func (f *facts) devices(l *linkFacts) (n int) {
	for _, o := range f.neighbors {
		if l != nil && o.index == l.Index && o.known && o.addr.Is4() && o.addr != l.Gateway {
			n++
		}
	}
	return n
}

// reached reports whether a peer was reached at all.
func (p *peerFacts) reached() bool {
	return slices.ContainsFunc(p.ways, func(w wayFacts) bool { return w.err == nil })
}

// found reports whether discovery found a peer at exactly that address and
// port.
func (p *peerFacts) found(a netip.AddrPort) bool {
	return p.discovered && slices.Contains(p.addrs, a)
}
