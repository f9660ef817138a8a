package quic

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
)

// A connection with a node of the first implementation stays at the addresses
// at which it was made: its server forbids to move it (RFC 9000 §18.2,
// disable_active_migration) and drops what comes from elsewhere, and its client
// does not move it. After a change it is dead without knowing it, for 13 s or
// more. So another one takes its place as soon as the peer answers a handshake,
// and it is given up. Such a peer cannot be asked for a sign of life either;
// but what is sent has to be acknowledged, and the dialer sends something every
// few seconds.

// ackDelay is longer than the delay of a packet that only acknowledges others
// (RFC 9000 §13.2.1), which is not acknowledged itself.
const ackDelay = 100 * time.Millisecond

// alive waits for a sign of life of the connection.
func (c *conn) alive(ctx context.Context) bool {
	if c.canAnswer() {
		return c.signWithin(ctx, c.endpoint.patient(signTime)) == nil
	}
	return !c.silent(ctx)
}

// silent reports whether a connection stays silent although the peer had reason
// to answer: for [deadTime] after something was sent, or after the time of a
// keep-alive.
func (c *conn) silent(ctx context.Context) bool {
	began, before := time.Now(), c.quic.ConnectionStats()
	patience := max(c.endpoint.patient(deadTime), 4*c.RTT())
	until, sent := began.Add(keepAlive+patience), false
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now, stats := time.Now(), c.quic.ConnectionStats()
		switch {
		case stats.PacketsReceived > before.PacketsReceived:
			return false
		case now.Sub(began) < ackDelay:
			before.PacketsSent = stats.PacketsSent
		case !sent && stats.PacketsSent > before.PacketsSent:
			until, sent = now.Add(patience), true
		case !now.Before(until):
			return true
		}
		select {
		case <-tick.C:
		case <-c.quic.Context().Done():
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// replace replaces a silent connection with another one, if the peer answers at
// one of its possible addresses or on a later connection.
func (e *endpoint) replace(c *conn) {
	if later := e.best(c.id); later != nil && later != c {
		if !later.silent(e.ctx) && !later.gone() {
			e.outlived(c)
		}
		return
	}
	c.received.Store(c.quic.ConnectionStats().PacketsReceived)
	if found, _ := e.probe(c.id, e.anywhere(c), []*conn{c}); found != nil && !c.heard() {
		e.outlived(c)
	}
}

// supersede does the same after this node has another address, from which the
// peer accepts no packets of the connection: an answer to a handshake is
// enough. If the former address is back by then, the connection may still live.
func (e *endpoint) supersede(c *conn, former netip.Addr) {
	found, _ := e.probe(c.id, e.anywhere(c), nil)
	switch {
	case found == nil:
	case sourceTo(c.remote()) != former:
		e.outlived(c)
	default:
		e.giveUp(c, found, time.Now().Add(deadTime))
	}
}

func (e *endpoint) outlived(c *conn) {
	if !c.gone() {
		e.log.Debug("a connection that cannot move is given up: the peer answers on another one", "peer", c.id, "path", c.Path())
		c.Close()
	}
}

// anywhere returns the possible addresses of the peer of a connection.
func (e *endpoint) anywhere(c *conn) (via []p2p.Candidate) {
	for _, to := range e.ways(c) {
		via = append(via, p2p.Candidate{Kind: p2p.Direct, Addr: to})
	}
	return via
}

// lookBack checks a connection that a version 1 peer has dialed, after the
// network has changed. The connection lives as long as the node still has the
// address that the peer has dialed, from which its packets leave.
func (c *conn) lookBack(own []netip.AddrPort) {
	if former, gone := c.stranded(own); gone {
		c.endpoint.start(func() { c.endpoint.supersede(c, former) })
	}
}

// stranded returns this node's address towards the peer at the last look, and
// whether it is gone.
func (c *conn) stranded(own []netip.AddrPort) (former netip.Addr, gone bool) {
	source := sourceTo(c.remote())
	if c.stranger() || !source.IsValid() {
		return former, false
	}
	c.mu.Lock()
	former, c.source = c.source, source
	c.mu.Unlock()
	still := slices.ContainsFunc(own, func(a netip.AddrPort) bool { return a.Addr() == former })
	return former, former != source && !still
}
