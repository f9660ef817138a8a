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

// MarshalText returns the kind's name.
func (k CandidateKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name. An unknown name, which a State of a later
// version may contain, gives 0.
func (k *CandidateKind) UnmarshalText(name []byte) error {
	*k = 0
	for _, known := range []CandidateKind{Direct, Manual, Relay} {
		if string(name) == known.String() {
			*k = known
		}
	}
	return nil
}

// A Candidate is one way in which a peer might be reached.
type Candidate struct {
	Kind    CandidateKind
	Addr    netip.AddrPort          // for Direct and Manual; for Relay the relay's, or not valid if the listener knows it
	Relay   identity.RemoteIdentity // for Relay
	Version int                     // of the wire protocol that the peer reportedly speaks; 0 if unknown
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

// A Path is the way that a connection takes; the zero Path means that there is
// no connection. It may be displayed, but must not be used to grant anything:
// any host on the way can make a connection run over an address of its own.
type Path struct {
	Kind   CandidateKind           `json:"kind,omitzero"`   // Relay, or the dialed candidate's; Direct if the peer dialed
	Dialed bool                    `json:"dialed"`          // this node dialed the connection
	Remote netip.AddrPort          `json:"remote,omitzero"` // the peer's address, or the relay's; not valid if the transport has no addresses
	Relay  identity.RemoteIdentity `json:"relay,omitzero"`  // for Relay
}

// String returns a form like "direct 192.168.1.7:7373, dialed".
func (p Path) String() string {
	where := p.word()
	switch {
	case p.Kind == Relay:
		where += " " + p.Relay.String()
	case p.Remote.IsValid():
		where += " " + p.Remote.String()
	}
	if p.Dialed {
		where += ", dialed"
	}
	return where
}

// word returns the kind in a word, for counters.
func (p Path) word() string {
	if p.Kind == 0 {
		return "unknown"
	}
	return p.Kind.String()
}

// A Connection describes one connection with a peer.
type Connection struct {
	Listener string        // the listener that holds it
	Path     Path          // the way that it takes
	RTT      time.Duration // the smoothed round-trip time; 0 while it is not known
	Opened   time.Time     // zero if the listener does not know
}

// somebodys reports whether an address can be that of a single host.
func somebodys(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
