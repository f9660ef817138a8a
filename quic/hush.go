package quic

import (
	"context"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Opening a stream takes no round trip. On a dead connection it therefore
// succeeds as on any other, and the stream fails together with the connection,
// after 13 s or more. So once a connection is known to be silent, no stream is
// opened on it until the peer is heard again. Until then, another connection may
// replace it, and the caller may open the stream with another listener, as the
// [p2p.Choice] of package tcp does: nothing has been sent for the stream, so the
// peer cannot get it twice.

// hush reports, when a stream is about to be opened, whether the connection is
// silent. A connection that nobody watches can show that from the second stream
// on: since the first one was opened, a second or more ago, packets were sent
// and none received. age is that of the connection.
func (p *pulse) hush(received, sent uint64, rtt, age time.Duration) bool {
	since := age
	if received == p.then.received && sent != p.then.sent {
		since = p.then.age
	} else {
		p.then.received, p.then.sent, p.then.age = received, sent, age
	}
	return p.quietAt.Load() == received || age-since >= max(quietTime, 4*rtt)
}

// hushed reports whether the connection is silent, and the peer can be asked for
// a sign of life.
func (c *conn) hushed() bool {
	s, age := c.quic.ConnectionStats(), time.Since(c.opened)
	c.mu.Lock()
	silent := c.pulse.hush(s.PacketsReceived, s.PacketsSent, s.SmoothedRTT, age) && c.version != 1
	c.mu.Unlock()
	return silent
}

// connection returns the connection for a new stream with a peer: an existing
// one, after waiting for a sign of life if it is silent, or else a new one. It
// fails with a *[p2p.DialError].
func (e *endpoint) connection(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (*conn, error) {
	for asked := (*conn)(nil); ; {
		c := e.best(to)
		if c == nil {
			return e.connect(ctx, to, via)
		}
		if !c.hushed() {
			return c, nil
		}
		if c != asked {
			asked = c
			c.tellMetadata(true)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, &p2p.DialError{Peer: to, Err: context.Cause(ctx)}
		}
	}
}
