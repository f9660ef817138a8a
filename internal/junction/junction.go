// Package junction is what packages quic and relay ask of each other: a program
// without relays links nothing of the latter.
package junction

import (
	"context"
	"errors"
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
	// Speaks returns the version of the wire protocol that a peer has spoken in an
	// earlier connection; 0 if that is not known.
	Speaks(id identity.RemoteIdentity) int
	// Connect has a connection with a peer, which it makes at one of the addresses if
	// there is none.
	Connect(ctx context.Context, to identity.RemoteIdentity, at []netip.AddrPort) error
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
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Upgrade is the protocol by which a direct path is found.
const Upgrade = "/libp2p/dcutr"

// Noise is the protocol by which a peer says, in a circuit, that it does not take
// packets there: what it speaks is libp2p's Noise, in which there are streams of
// version 1.
const Noise = "/noise"

// ErrTaken says that a circuit carries no packets, and has been made a connection of
// another listener's.
var ErrTaken = errors.New("the peer speaks version 1 there, and is connected so")

// A Line is a circuit in which both ends have selected [Noise].
type Line struct {
	Stream
	Relay  identity.RemoteIdentity
	Addr   netip.AddrPort          // the relay's
	Peer   identity.RemoteIdentity // at the other end, as the relay says
	Dialed bool                    // this node has opened the circuit
	Proven func()                  // to be called once Peer has proved that it is there
}

// An Ancestor is package relay/ancestor, as package relay knows it. Its methods are
// called concurrently.
type Ancestor interface {
	// Has reports whether there is a connection with a peer already.
	Has(id identity.RemoteIdentity) bool
	// Take makes a connection of a line. It returns once the node knows the
	// connection; or with an error, and the line is closed.
	Take(context.Context, Line) error
}

// Lines is package relay, as package relay/ancestor knows it. Its methods may be
// called concurrently.
type Lines interface {
	// Line opens a circuit to a peer through a relay, and gives it to the [Ancestor]:
	// nil says that it took it.
	Line(ctx context.Context, relay, to identity.RemoteIdentity) error
	// Addrs returns the addresses of this node that a tracked peer may be told, and
	// Believes reports whether a peer may be at one that it has told.
	Addrs() []netip.AddrPort
	Believes(netip.AddrPort) bool
	// Upgrades reports whether direct paths are looked for at all.
	Upgrades() bool
	// Endpoint returns the listener that connects directly; nil while the relay
	// client does not run.
	Endpoint() Endpoint
}
