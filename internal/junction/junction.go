// Package junction holds the interfaces through which packages quic, relay,
// contact and others use each other, so that a program links only the packages
// that it imports.
package junction

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Circuit is a way through a relay to a peer. From the first byte on, it
// carries the frames of [github.com/sdp2p/p2p/internal/carrier.Link].
type Circuit struct {
	io.ReadWriteCloser
	Relay identity.RemoteIdentity
	Addr  netip.AddrPort          // the relay's
	Peer  identity.RemoteIdentity // at the other end, according to the relay
}

// A Router is package relay as seen by package quic. Its methods are called
// concurrently.
type Router interface {
	// Circuit opens a circuit to a peer through a relay. If at is valid, it is
	// the relay's address in case the router knows none. version is the version
	// of the wire protocol that the peer has spoken before, or 0.
	Circuit(ctx context.Context, relay identity.RemoteIdentity, at netip.AddrPort, to identity.RemoteIdentity, version int) (Circuit, error)
	// Another opens a circuit through the relay that is best now, to replace
	// one through the relay former that has ended.
	Another(ctx context.Context, to, former identity.RemoteIdentity, version int) (Circuit, error)
	// Connected is called for each connection with a peer through a circuit,
	// once it is usable.
	Connected(Conn)
	// Moved is called for a connection through a circuit if the peer, which has
	// dialed it, says that its addresses have changed.
	Moved(Conn)
	// Punch serves a stream of [Upgrade], which the peer has opened.
	Punch(Conn, Stream)
	// Only reports whether connections through circuits must stay there: no
	// address of this node is sent on them, and no address from a peer is
	// believed.
	Only() bool
	// Heard is called for each packet that is not a QUIC packet, and may keep
	// it.
	Heard(packet []byte, from netip.AddrPort)
}

// An Endpoint is package quic as seen by package relay: a listener, whether it
// runs or not. Its methods may be called concurrently.
type Endpoint interface {
	// Dial connects to a relay from the listener's socket.
	Dial(ctx context.Context, addr netip.AddrPort, relay identity.RemoteIdentity) (Session, error)
	// Accept accepts a circuit that a peer has opened. It does not wait for the
	// handshake.
	Accept(Circuit) error
	// Send sends a packet that is not a QUIC packet.
	Send(packet []byte, to netip.AddrPort)
	// Dialable reports whether a host could be at an address, and this node may
	// send there.
	Dialable(netip.AddrPort) bool
	// Addrs returns the addresses at which this node can be reached in its own
	// networks.
	Addrs() []netip.AddrPort
	// Gateway returns the router of the node's IPv4 packets; it is not valid if
	// there is none, or if the listener does not use IPv4.
	Gateway() netip.Addr
	// Neighbor reports whether an address is in one of the node's own networks.
	Neighbor(netip.Addr) bool
	// Speaks returns the version of the wire protocol that a peer has spoken in
	// an earlier connection; 0 if unknown.
	Speaks(id identity.RemoteIdentity) int
	// Connect makes a connection with a peer at one of the addresses, unless
	// there is one already.
	Connect(ctx context.Context, to identity.RemoteIdentity, at []netip.AddrPort) error
}

// A Session is a connection with a relay. Its methods may be called
// concurrently.
type Session interface {
	// Open opens a stream, selects a protocol, and waits for the answer.
	Open(ctx context.Context, protocol string) (Stream, error)
	// Accept returns the next stream that the relay opens. Nothing was read
	// from it.
	Accept(ctx context.Context) (Stream, error)
	Addr() netip.AddrPort // the relay's
	RTT() time.Duration
	Done() <-chan struct{} // closed when it has ended
	Close() error
}

// A Conn is a connection with a peer. Its methods may be called concurrently.
type Conn interface {
	Peer() identity.RemoteIdentity
	Dialed() bool   // this node dialed it
	Stranger() bool // see [github.com/sdp2p/p2p.Scope.Stranger]; not if this node dialed
	Relayed() bool  // it runs through a circuit now
	Candid() bool   // the peer may learn this node's addresses
	Open(ctx context.Context, protocol string) (Stream, error)
	// Move moves a connection that this node dialed to a direct path, to an
	// address at which the peer has answered.
	Move(ctx context.Context, to netip.AddrPort) error
	// Tell sends the peer the addresses at which this node can be reached now.
	// It does not wait.
	Tell(own []netip.AddrPort)
	// Look checks whether the peer has moved the connection.
	Look()
	Context() context.Context // done when it has ended
}

// A Stream is a stream whose protocol is selected, or about to be.
type Stream interface {
	io.ReadWriteCloser // Close ends both directions; bytes already written arrive
	CloseWrite() error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Upgrade is the protocol with which a direct path is found.
const Upgrade = "/libp2p/dcutr"

// Noise is the protocol that a peer selects in a circuit if it does not accept
// packets there: it is libp2p's Noise, which carries streams of version 1.
const Noise = "/noise"

// ErrTaken says that a circuit carries no packets, and has become a connection
// of another listener.
var ErrTaken = errors.New("the peer speaks version 1 there, and is connected so")

// A Line is a circuit in which both ends have selected [Noise].
type Line struct {
	Stream
	Relay  identity.RemoteIdentity
	Addr   netip.AddrPort          // the relay's
	Peer   identity.RemoteIdentity // at the other end, according to the relay
	Dialed bool                    // this node has opened the circuit
	Proven func()                  // to be called once the other end has proved to be Peer
}

// An Ancestor is package relay/ancestor as seen by package relay. Its methods
// are called concurrently.
type Ancestor interface {
	// Has reports whether a peer is connected already.
	Has(id identity.RemoteIdentity) bool
	// Take makes a connection from a line. It returns once the node knows the
	// connection. If it fails, it has closed the line.
	Take(context.Context, Line) error
}

// Lines is package relay as seen by package relay/ancestor. Its methods may be
// called concurrently.
type Lines interface {
	// Line opens a circuit to a peer through a relay, and hands it to the
	// [Ancestor]. It returns nil if the Ancestor has made a connection from it.
	Line(ctx context.Context, relay, to identity.RemoteIdentity) error
	// Addrs returns the addresses of this node that a tracked peer may learn,
	// and Believes reports whether an address that a peer has sent may be its
	// own.
	Addrs() []netip.AddrPort
	Believes(netip.AddrPort) bool
	// Upgrades reports whether the node searches for direct paths at all.
	Upgrades() bool
	// Endpoint returns the listener that connects directly; nil while the relay
	// client does not run.
	Endpoint() Endpoint
}
