package quic

import (
	"context"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// A connection that this node has moved out of a circuit uses two paths until
// the peer has followed, which takes a packet on the new path and an answer
// there. Until then the peer sends through the circuit, and packets from there
// are no sign that the new path is alive. So the new path itself is probed, and
// the circuit is kept until the peer's answers no longer come through it; if
// the new path does not answer, the connection returns to the circuit.
const (
	settleFirst = 250 * time.Millisecond // between two checks; doubles
	settleMost  = 2 * time.Second
	settleTime  = probeTotal / 2         // until a path that does not answer counts as dead
	settleHold  = 250 * time.Millisecond // until packets from a lane have been processed
)

// left records that the connection has moved away from an address. If the
// address is a lane's, the circuit ends soon.
func (c *conn) left(former netip.AddrPort, to netip.AddrPort, path *quicgo.Path) {
	l := c.endpoint.lanes.at(former)
	if l == nil {
		return
	}
	a := c.endpoint.listener.routed()
	if a == nil || isLane(to) {
		signal(l.left)
		return
	}
	l.settling.Add(1)
	if !c.endpoint.start(func() { a.settle(c, l, path) }) {
		l.settling.Add(-1)
	}
}

// settle watches a connection that has left a lane for another path until its
// peer has left the lane too.
func (c *conn) settle(l *lane, path *quicgo.Path) {
	defer signal(l.left)
	defer l.settling.Add(-1)
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(c.endpoint.ctx, cancel)()
	before := l.link.Packets()
	for wait := max(settleFirst, 4*c.RTT()); ; wait = min(2*wait, max(settleMost, 4*c.RTT())) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if followed, _ := c.followed(ctx, l, before); followed {
			return
		}
		before = l.link.Packets()
		// A peer that has followed to the path no longer answers its probe.
		err := c.probe(ctx, path, settleTime, false)
		if !c.mover.uses(path) || ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		if followed, noise := c.followed(ctx, l, before); followed || noise && c.heardBeside(ctx, l) {
			return
		}
		c.endpoint.log.Debug("the path has died before the peer has taken it", "peer", c.id, "path", c.Path())
		c.goBack(ctx, l, path)
		return
	}
}

// followed asks for signs of life, and reports whether more packets were heard
// than the lane has brought since its count was before; earlier packets have
// been processed by now. noise reports whether the lane has brought packets
// that the connection did not accept.
func (c *conn) followed(ctx context.Context, l *lane, before uint64) (followed, noise bool) {
	ctx, cancel := context.WithTimeout(ctx, max(c.endpoint.patient(signTime), 2*c.RTT()))
	defer cancel()
	received := c.quic.ConnectionStats().PacketsReceived
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if i%5 == 0 {
			c.tellMetadata(true)
		}
		heard, brought := c.quic.ConnectionStats().PacketsReceived-received, l.link.Packets()-before
		if heard > brought {
			return true, false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, brought > heard
		}
	}
}

// heardBeside asks for a sign of life while nothing may arrive from a lane, and
// reports whether there is one. A relay can send more packets than the peer
// does, which then hides those that arrive elsewhere.
func (c *conn) heardBeside(ctx context.Context, l *lane) bool {
	defer l.link.Hold()()
	select {
	case <-time.After(settleHold):
	case <-ctx.Done():
		return false
	}
	return c.signWithin(ctx, c.endpoint.patient(signTime)) == nil
}

// goBack returns a connection to the circuit that its peer has not left. To the
// peer that is not a move, so its quic-go would not answer a probe: packets on
// the present path are redirected into the circuit instead.
func (c *conn) goBack(ctx context.Context, l *lane, path *quicgo.Path) {
	m := c.mover
	_, end, err := m.begin(ctx, l.addr)
	if err != nil {
		return
	}
	defer end()
	former := c.remote()
	m.mu.Lock()
	back := m.path == path && m.exit.way != nil && !m.ended && c.endpoint.lanes.at(l.addr) == l
	if back {
		m.exit.way.Turn(l.addr)
		m.to, m.at = l.addr, track{source: sourceTo(l.addr)}
	}
	m.mu.Unlock()
	if !back {
		c.endpoint.followSoon(c)
		return
	}
	c.endpoint.log.Debug("moved back", "peer", c.id, "from", former, "to", l.addr)
	c.tellMetadata(true)
	c.Look()
}

// uses reports whether the connection currently uses a path that it was moved
// to.
func (m *mover) uses(path *quicgo.Path) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.path == path
}
