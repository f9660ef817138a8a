// Package qlogged is what packages quic and quic/qlog have in common, so that a
// program that writes no qlog links none of its encoders.
package qlogged

import (
	"github.com/quic-go/quic-go/qlogwriter"

	"github.com/sdp2p/p2p/identity"
)

// A Log makes traces of connections. It is used concurrently.
type Log interface {
	// Begin begins the trace of a connection, of which the node at the other
	// end is not known yet. Nothing is written before it is.
	Begin(dialed bool, id qlogwriter.ConnectionID) Trace
}

// A Trace is that of one connection. None of its methods blocks.
type Trace interface {
	qlogwriter.Trace

	// Open says whose connection it is. failed is called, by another
	// goroutine, if the trace cannot be written.
	Open(peer identity.RemoteIdentity, failed func(error))

	// Done is closed once nothing is written any more: after the connection,
	// and the last call of Open, have ended.
	Done() <-chan struct{}
}
