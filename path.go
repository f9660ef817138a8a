package p2p

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A CandidateKind says how a [Candidate] leads to a peer.
type CandidateKind uint8

const (
	Direct CandidateKind = iota + 1 // an address that a discovery found
	Manual                          // an address that the user gave
	Relay                           // through a relay
)

// String returns the kind's name: "direct", "manual" or "relay".
func (k CandidateKind) String() string {
	switch k {
	case Direct:
		return "direct"
	case Manual:
		return "manual"
	case Relay:
		return "relay"
	}
	return fmt.Sprintf("CandidateKind(%d)", uint8(k))
}

// A Candidate is one way that a peer might be reached.
type Candidate struct {
	Kind    CandidateKind
	Addr    netip.AddrPort          // for Direct and Manual
	Relay   identity.RemoteIdentity // for Relay
	Version int                     // of the wire protocol that the peer is said to speak; 0 if unknown
	Sources []string                // the hooks that reported it, in the order of their registration; set by the node
}

// sameWay reports whether c and d lead to the peer in the same way.
func (c Candidate) sameWay(d Candidate) bool {
	return c.Kind == d.Kind && c.Addr == d.Addr && c.Relay == d.Relay
}

// same reports whether a hook that reported c and now reports d has reported
// nothing new.
func (c Candidate) same(d Candidate) bool { return c.sameWay(d) && c.Version == d.Version }

// String returns a form like "direct 192.168.1.7:7373".
func (c Candidate) String() string {
	if c.Kind == Relay {
		return "relay " + c.Relay.String()
	}
	return c.Kind.String() + " " + c.Addr.String()
}

// A Path is the way that a connection runs. The zero Path means that there is
// none. It is good for showing, and not for granting anything: any host on the way
// can have a connection run over an address of its own.
type Path struct {
	Kind   CandidateKind           // Relay, or of the candidate that was dialed; Direct if the peer dialed
	Dialed bool                    // this node dialed the connection
	Remote netip.AddrPort          // the peer's address, or the relay's; not valid where the transport has no addresses
	Relay  identity.RemoteIdentity // for Relay
}

// A Connection describes one connection with a peer.
type Connection struct {
	Listener string        // the listener that holds it
	Path     Path          // the way that it runs
	RTT      time.Duration // the smoothed round-trip time; 0 while it is not known
	Opened   time.Time     // zero if the listener does not know
}
