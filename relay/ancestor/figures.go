package ancestor

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/junction"
)

// A carried line counts its bytes.
type carried struct {
	junction.Stream
	sent, received atomic.Uint64
}

func (c *carried) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	c.received.Add(uint64(n))
	return n, err
}

func (c *carried) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	c.sent.Add(uint64(n))
	return n, err
}

// Stats implements [p2p.MeasuredConn]. Bytes are those in the circuit.
func (c *conn) Stats() (s p2p.ConnStats) {
	if c.carried != nil {
		s.Bytes = p2p.Bytes{Sent: c.carried.sent.Load(), Received: c.carried.received.Load()}
	}
	if why := c.why.Load(); why != nil {
		s.End = *why
	}
	return s
}

// endedBy notes why the connection has ended, in a word or two. The first
// reason counts.
func (c *conn) endedBy(why string) {
	if c.run.ctx.Err() != nil {
		why = "shutting down"
	}
	c.why.CompareAndSwap(nil, &why)
}

// endOf names the end of a connection, by the same names as package quic.
func endOf(err error) string {
	var reset *p2p.ResetError // the circuit was ended, at its other end or by the relay
	switch {
	case errors.As(err, &reset):
		return "closed"
	case errors.Is(err, yamux.ErrKeepAliveTimeout), errors.Is(err, yamux.ErrTimeout), errors.Is(err, yamux.ErrConnectionWriteTimeout):
		return "silent"
	case errors.Is(err, io.EOF), errors.Is(err, yamux.ErrSessionShutdown), errors.Is(err, yamux.ErrRemoteGoAway):
		return "closed"
	}
	return "broken"
}
