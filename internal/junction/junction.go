// Package junction is what packages quic and relay ask of each other: a program
// without relays links nothing of the latter.
package junction

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Circuit is a way through a relay to a peer. What it carries are the frames of
// packets of [github.com/sdp2p/p2p/internal/carrier.Link], from the first byte on.
type Circuit struct {
	io.ReadWriteCloser
	Relay identity.RemoteIdentity
	Addr  netip.AddrPort          // the relay's
	Peer  identity.RemoteIdentity // at the other end, as the relay says
}

// A Router is package relay, as package quic knows it. Its methods are called
// concurrently.
type Router interface {
	// Circuit opens a circuit to a peer through a relay. The peer has spoken a version
	// of the wire protocol before, or 0.
	Circuit(ctx context.Context, relay, to identity.RemoteIdentity, version int) (Circuit, error)
	// Another opens one through the relay that is best now, to go on where the
	// former one has ended.
	Another(ctx context.Context, to, former identity.RemoteIdentity, version int) (Circuit, error)
	// Connected is told of each connection with a peer that runs through a circuit,
	// once it is usable.
	Connected(Conn)
	// Punch serves a stream of [Upgrade], which the peer has opened.
	Punch(Conn, Stream)
	// Only reports that connections through circuits stay there: no address of this
	// node is told on them, and none believed that a peer tells.
	Only() bool
	// Heard is given each packet that is not one of QUIC, and may keep it.
	Heard(packet []byte, from netip.AddrPort)
}

// An Endpoint is package quic, as package relay knows it: a listener, whether it
// runs or not. Its methods may be called concurrently.
type Endpoint interface {
	// Dial connects to a relay from the listener's socket.
	Dial(ctx context.Context, addr netip.AddrPort, relay identity.RemoteIdentity) (Session, error)
	// Accept takes a circuit that a peer has opened. It does not wait for its
	// handshake.
	Accept(Circuit) error
	// Send sends a packet that is not one of QUIC.
	Send(packet []byte, to netip.AddrPort)
	// Dialable reports whether a host could be at an address, and this node may send
	// there.
	Dialable(netip.AddrPort) bool
	// Addrs returns where this node can be reached in its own networks.
	Addrs() []netip.AddrPort
	// Gateway returns the router to which the node's packets of IPv4 go; it is not
	// valid if there is none, or if the listener does not use IPv4.
	Gateway() netip.Addr
	// Neighbor reports whether an address is in one of these networks.
	Neighbor(netip.Addr) bool
}

// A Session is a connection with a relay. Its methods may be called concurrently.
type Session interface {
	// Open opens a stream and selects a protocol, for which it waits.
	Open(ctx context.Context, protocol string) (Stream, error)
	// Accept returns the next stream that the relay opens. Nothing was read of it.
	Accept(ctx context.Context) (Stream, error)
	Addr() netip.AddrPort // the relay's
	RTT() time.Duration
	Done() <-chan struct{} // closed when it has ended
	Close() error
}

// A Conn is a connection with a peer. Its methods may be called concurrently.
type Conn interface {
	Peer() identity.RemoteIdentity
	Dialed() bool   // this node did
	Stranger() bool // see [github.com/sdp2p/p2p.Scope.Stranger]; not if this node dialed
	Relayed() bool  // it runs through a circuit now
	Open(ctx context.Context, protocol string) (Stream, error)
	// Move has a connection that this node dialed run directly, to an address at
	// which the peer has answered.
	Move(ctx context.Context, to netip.AddrPort) error
	// Look notices that the peer has moved the connection.
	Look()
	Context() context.Context // done when it has ended
}

// A Stream is one whose protocol is selected, or about to be.
type Stream interface {
	io.ReadWriteCloser // Close ends both directions; what was written arrives
	CloseWrite() error
	SetDeadline(time.Time) error
}

// Upgrade is the protocol by which a direct path is found.
const Upgrade = "/libp2p/dcutr"
