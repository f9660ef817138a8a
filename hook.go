package p2p

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Hook is a component with a lifetime of its own that is registered with a
// node: it receives the node's events ([P2P.Subscribe]) and reports what it
// learns through its [Scope].
type Hook interface {
	// Name is the hook's name in events, logs and candidates. It is unique
	// among a node's hooks and never changes.
	Name() string

	// Run does the hook's work until ctx is done, and then returns
	// promptly, with nil or ctx's error. It calls s.Ready once it serves;
	// an error before that is the error of [P2P.Register]. Every goroutine
	// that it starts ends before it returns. It may be run again after it
	// has returned.
	Run(ctx context.Context, s *Scope) error
}

// A Listener is a hook that can also create and accept connections.
type Listener interface {
	Hook

	// Dial opens a stream to a peer over an existing connection, or else
	// over the first to answer of the candidates it supports. It fails with
	// a *[DialError] that has one [Attempt] for each of them. It is called
	// concurrently, from the moment of the registration until just after
	// Run has returned, and returns promptly once ctx is done. While Run
	// does not serve, it fails.
	Dial(ctx context.Context, to identity.RemoteIdentity, via []Candidate) (RawStream, error)
}

// A Reconfirmer is a hook that can check its discoveries. The node calls it
// when a peer that the hook discovered could not be reached, so that a peer
// that vanished without a goodbye soon expires.
type Reconfirmer interface {
	Hook

	// Reconfirm checks whether the peer is still there. It returns at once;
	// if the peer is gone, it expires later. It may be called often,
	// concurrently, and also just before and after Run.
	Reconfirm(id identity.RemoteIdentity)
}

// A NetworkWatcher is a hook that is told when the app reports a change of the
// network ([P2P.NetworkChanged]).
type NetworkWatcher interface {
	Hook

	// NetworkChanged says that the network may be another one. It returns at
	// once. It may be called often, concurrently, and also just before and
	// after Run.
	NetworkChanged()
}

// A Guide is a hook that knows ways to peers without knowing whether the peers
// are there, as a relay client does. They do not make a peer available, but it
// can be dialed.
type Guide interface {
	Hook

	// Ways returns candidates for a peer; none if the hook knows no way. They
	// come after those that were discovered. It returns at once. It may be
	// called often, concurrently, and also just before and after Run.
	Ways(to identity.RemoteIdentity) []Candidate
}

// A Rendezvous is a hook, such as a relay client, through which nodes that know
// no address of this node can reach it.
type Rendezvous interface {
	Hook

	// Expect prepares for a call from a node that is not known yet. It returns
	// the relays through which this node can be called now: candidates of kind
	// [Relay] with their addresses, the likeliest first. Until over is called,
	// anybody that a relay admits may call this node there. Expect returns at
	// once. It may be called often, concurrently, and also just before and
	// after Run; over may be called more than once.
	Expect() (at []Candidate, over func())
}

// A Voucher is a hook that knows for certain which version of the wire protocol
// some peers speak, for instance the members of a library.
type Voucher interface {
	Hook

	// Speaks returns the version that a peer is certain to speak; 0 if the hook
	// does not know. It returns at once. It may be called often, concurrently,
	// and also just before and after Run.
	Speaks(id identity.RemoteIdentity) int
}

// A Reporter is a hook that contributes its own report to a [State].
type Reporter interface {
	Hook

	// Report describes the hook as it is now. It returns at once. The report
	// names libraries and their identifiers only if libraries is true, and
	// never contains a secret. It may be called often, concurrently, and also
	// just before and after Run.
	Report(libraries bool) HookReport
}

// A HookReport is a hook's description of itself. Names consist of lower-case
// letters and underscores, and are unique among all hooks.
type HookReport struct {
	// Counts are numbers that only grow while the hook runs, keyed by name and
	// then by cause, kind or outcome, of which there are few.
	Counts map[string]map[string]uint64 `json:"counts,omitempty"`

	// Gauges are numbers that may also fall.
	Gauges map[string]float64 `json:"gauges,omitempty"`

	// Details are for people, and for programs that know the hook.
	Details any `json:"details,omitempty"`
}

// A RawConn is a listener's view of one connection. It is comparable; its
// methods are called concurrently and return at once. If it has a method
// Opened() time.Time, the result becomes [Connection.Opened].
type RawConn interface {
	Path() Path
	RTT() time.Duration // smoothed; 0 while it is not known
	Close() error       // closes the connection, with all its streams
}

// A MeasuredConn is a RawConn that has figures. Stats is called concurrently,
// also after the connection has ended, and returns at once.
type MeasuredConn interface {
	RawConn
	Stats() ConnStats
}

// ConnStats are the figures of a connection. Figures that its transport does
// not know are zero.
type ConnStats struct {
	Bytes                  // since it was made
	PacketsSent     uint64 `json:"packets_sent"`
	PacketsReceived uint64 `json:"packets_received"`
	PacketsLost     uint64 `json:"packets_lost"`      // of those sent; it falls if they arrive after all
	Window          uint64 `json:"congestion_window"` // bytes
	End             string `json:"end,omitempty"`     // why it has ended, in a word or two; empty while it is up
}

// A RawStream is a listener's side of a [Stream]. Read and Write are called by
// one goroutine each at a time, and CloseWrite not during Write; the other
// methods concurrently, Reset also after Close and more than once. CloseWrite
// works whatever the write deadline is.
//
// Reads and writes of a stream that was reset fail with a *[ResetError], those
// past a deadline with [os.ErrDeadlineExceeded], and those after the connection
// was lost with an error that wraps [ErrConnectionLost].
type RawStream interface {
	io.Reader
	io.Writer

	CloseWrite() error                // the peer reads io.EOF after the last byte written
	Close() error                     // CloseWrite unless called before; stops reading; frees the stream
	Reset(code ResetCode)             // ends both directions at once; frees the stream
	SetReadDeadline(time.Time)        // applies to a blocked Read as well
	SetWriteDeadline(time.Time)       // applies to a blocked Write as well
	LocalAddr() net.Addr              // not nil
	RemoteAddr() net.Addr             // not nil
	Path() Path                       // of its connection
	Version() int                     // of the wire protocol that the stream was opened with: 1 or 2
	Exporter(string) ([32]byte, bool) // a value bound to the connection (RFC 8446 §7.5, no context); false if it has none
}

// A ConnStream is a RawStream that knows its connection, so that [P2P.State]
// can tell which streams a connection has.
type ConnStream interface {
	RawStream
	Conn() RawConn
}

// A ServedStream is a RawStream that is told when a handler begins to serve it:
// it was allowed, and names a route of the [Mux]. Only such a stream counts as
// use of its connection, so that a peer that is allowed nothing cannot keep a
// connection open.
type ServedStream interface {
	RawStream
	Served() // called at most once
}

// Errors of [P2P.Register], [P2P.Unregister] and [Scope]'s methods.
var (
	ErrClosed        = errors.New("p2p: the node has been shut down")
	ErrRegistered    = errors.New("p2p: a hook of this name is registered")
	ErrNotRegistered = errors.New("p2p: the hook is not registered")
	ErrStopped       = errors.New("p2p: the hook has stopped")
	ErrSelf          = errors.New("p2p: a node does not discover or connect to itself")

	// ErrTableFull is returned to a hook that discovers another peer when
	// [Config.MaxPeers] peers are known and none of them may be evicted.
	ErrTableFull = errors.New("p2p: the peer table is full")

	// ErrUnavailable is returned for a peer that is neither discovered by a
	// hook nor connected.
	ErrUnavailable = errors.New("p2p: the peer is not available")
)

// MaxCandidates is how many candidates of one peer the node keeps for each
// hook.
const MaxCandidates = 16
