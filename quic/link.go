package quic

import (
	"context"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"
)

// A link is a connection as the swarm has it, which makes and ends it. Streams it has none of: those that the peer opens are
// served here, and ours are opened on quic. What the swarm would do for each of them costs a tenth or more of a
// stream that carries a byte.
type link struct {
	tpt.CapableConn
	quic *quicgo.Conn
	conn atomic.Pointer[conn] // nil: the connection is not wanted
}

func newLink(c tpt.CapableConn) *link {
	l := &link{CapableConn: c}
	c.As(&l.quic)
	return l
}

// As finds the link behind the swarm's connection.
func (l *link) As(target any) bool {
	if t, ok := target.(**link); ok {
		*t = l
		return true
	}
	return l.CapableConn.As(target)
}

// AcceptStream serves the streams that the peer opens, and returns when the connection has ended. The swarm calls it in a
// goroutine of its own, once it has told of the connection.
func (l *link) AcceptStream() (network.MuxedStream, error) {
	for {
		s, err := l.quic.AcceptStream(context.Background())
		if err != nil {
			return nil, err
		}
		c := l.conn.Load()
		if c == nil || !c.endpoint.hold() {
			reset(s, network.StreamShutdown)
			continue
		}
		go func() {
			defer c.endpoint.tasks.Done()
			c.serve(s)
		}()
	}
}

// A listener makes links of inbound connections.
type listener struct{ tpt.Listener }

// Accept waits for a connection.
func (l listener) Accept() (tpt.CapableConn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newLink(c), nil
}
