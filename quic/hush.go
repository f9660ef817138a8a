package quic

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/cause"
)

var errUnheard = cause.New("no answer", "quic: nothing is heard on the connection")

// Opening a stream takes no round trip. On a dead connection it therefore
// succeeds as on any other, and the stream fails together with the connection,
// after 13 s or more. So once a connection is known to be silent, no stream is
// opened on it until the peer is heard again. Until then, another connection may
// replace it, and the caller may open the stream with another listener, as the
// [p2p.Choice] of package tcp does: nothing has been sent for the stream, so the
// peer cannot get it twice.

// A hush records whether a connection is silent. A [pulse] alone does not
// suffice: it is kept only on connections that this node dialed and can move.
type hush struct {
	mu    sync.Mutex
	known bool   // the pulse was quiet
	heard uint64 // packets that had been received by then

	// At an earlier opening of a stream: the packets received and sent, and the
	// last time at which the numbers were still the same.
	received, sent uint64
	at             time.Time
}

// begin records that the pulse was quiet when so many packets had been received.
func (h *hush) begin(received uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known, h.heard = true, received
}

// lasts reports, when a stream is about to be opened, whether the connection is
// silent. Without a pulse, the second stream can show that: since the opening of
// the first one, a second or more ago, packets were sent and none received.
func (h *hush) lasts(received, sent uint64, rtt time.Duration, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = h.known && h.heard == received
	switch {
	case received != h.received:
		h.received, h.sent, h.at = received, sent, now
	case sent == h.sent:
		h.at = now
	case now.Sub(h.at) >= max(quietTime, 4*rtt):
		return true
	}
	return h.known
}

// hushed reports whether the connection is silent, and the peer can be asked for
// a sign of life.
func (c *conn) hushed() bool {
	s := c.quic.ConnectionStats()
	return c.hush.lasts(s.PacketsReceived, s.PacketsSent, s.SmoothedRTT, time.Now()) && c.canAnswer()
}

// connection returns the connection for a new stream with a peer: an existing
// one, after waiting for a sign of life if it is silent, or else a new one. It
// fails with a *[p2p.DialError].
func (e *endpoint) connection(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (*conn, error) {
	for {
		c := e.best(to)
		if c == nil {
			return e.connect(ctx, to, via)
		}
		if !c.hushed() {
			return c, nil
		}
		e.log.Debug("a stream waits for a silent connection", "peer", c.id, "path", c.Path())
		e.awaitSign(ctx, c)
		if ctx.Err() != nil {
			return nil, &p2p.DialError{Peer: to, Err: fmt.Errorf("%w: %w", errUnheard, context.Cause(ctx))}
		}
	}
}

// awaitSign waits for a sign of life of a connection, until it is gone, another
// one is better, or ctx is done.
func (e *endpoint) awaitSign(ctx context.Context, c *conn) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = c.sign(ctx) // the caller looks at the connection itself
	}()
	defer func() { cancel(); <-over }()
	for {
		e.mu.Lock()
		added, best := e.added, e.bestLocked(c.id)
		e.mu.Unlock()
		if best != c {
			return
		}
		select {
		case <-added:
		case <-over:
			return
		}
	}
}
