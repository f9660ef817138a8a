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
// node: it hears the node's events ([P2P.Subscribe]) and reports what it learns
// through its [Scope].
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

// A Reconfirmer is a hook that can check its discoveries. The node asks it to
// when a peer that the hook discovers could not be reached, so that a peer that
// vanished without a goodbye is not shown for longer than needed.
type Reconfirmer interface {
	Hook

	// Reconfirm checks whether the peer is still there. It returns at once;
	// if the peer is gone, it expires later. It may be called often,
	// concurrently, and also just before and after Run.
	Reconfirm(id identity.RemoteIdentity)
}

// A NetworkWatcher is a hook that wants to be told what the app knows of the
// network: [P2P.NetworkChanged].
type NetworkWatcher interface {
	Hook

	// NetworkChanged says that the network may be another one. It returns at
	// once. It may be called often, concurrently, and also just before and after
	// Run.
	NetworkChanged()
}

// A Guide is a hook that knows ways to peers of which it does not know whether they
// are there, as a relay client does: such a peer is not available by that, but can
// be dialed.
type Guide interface {
	Hook

	// Ways returns candidates for a peer; none if the hook knows no way. They come
	// after those that were discovered. It returns at once. It may be called often,
	// concurrently, and also just before and after Run.
	Ways(to identity.RemoteIdentity) []Candidate
}

// A Voucher is a hook that knows by itself which version of the wire protocol peers
// speak, as the members of a library do.
type Voucher interface {
	Hook

	// Speaks returns the version that a peer speaks, with certainty; 0 if the hook
	// does not know it. It returns at once. It may be called often, concurrently,
	// and also just before and after Run.
	Speaks(id identity.RemoteIdentity) int
}

// A RawConn is a listener's view of one connection. It is comparable; its
// methods are called concurrently and return at once. If it has a method
// Opened() time.Time, that is the time of [Connection].
type RawConn interface {
	Path() Path
	RTT() time.Duration // smoothed; 0 while it is not known
	Close() error       // closes the connection, with all its streams
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

	CloseWrite() error                // the other side reads io.EOF after the last byte written
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

// A ServedStream is a RawStream that is told when a handler begins to serve it:
// it was allowed, and names a route of the [Mux]. Only then does it count as
// use of its connection, so that a peer that may do nothing here cannot keep
// one.
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
	// [Config.MaxPeers] are known and none of them may be evicted.
	ErrTableFull = errors.New("p2p: the peer table is full")

	// ErrUnavailable is returned for a peer that nobody discovers and that
	// is not connected.
	ErrUnavailable = errors.New("p2p: the peer is not available")
)

// MaxCandidates is how many candidates of one peer are kept for each hook that
// reports some.
const MaxCandidates = 16
