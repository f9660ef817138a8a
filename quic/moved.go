package quic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/proto"
)

// A node that has another address tells its peers on streams of their own,
// /sdp2p/2/move: a peer that has dialed the connection moves it there. Strangers are
// neither told nor heard. Each message has a stream of its own: one that was lost,
// as on a network that is gone, would hold up those behind it.
//
//	size  field
//	1     kind    1 addresses, 2 relays, 3 sleep
//	kind 1, where the sender can be reached from now on:
//	1     n ≤ 16
//	…     n × (1 family 4 or 6, 4 or 16 address, 2 port)
//	kind 2, the sender's relays: reserved
//	1     n ≤ 4
//	…     n × 32
//	kind 3: the sender is going to sleep: reserved
const (
	movedAddrs  = 1
	movedRelays = 2
	movedSleeps = 3

	maxMoved       = 16
	maxMovedRelays = 4

	tellFirst = 100 * time.Millisecond // until a message is repeated; doubles
)

// A moved is a message of the stream. What is reserved is read, and not looked at.
type moved struct{ addrs []netip.AddrPort }

// AppendBinary appends a message of kind 1.
func (m *moved) AppendBinary(b []byte) ([]byte, error) {
	b = proto.AppendUint8(b, movedAddrs)
	b, err := proto.AppendCount8(b, len(m.addrs), maxMoved)
	if err != nil {
		return nil, err
	}
	for _, a := range m.addrs {
		ip := a.Addr().Unmap().WithZone("")
		if ip.Is4() {
			b = proto.AppendUint8(b, 4)
		} else {
			b = proto.AppendUint8(b, 6)
		}
		b = append(b, ip.AsSlice()...)
		b = proto.AppendUint16(b, a.Port())
	}
	return b, nil
}

// DecodeFrom reads a message.
func (m *moved) DecodeFrom(d *proto.Decoder) error {
	m.addrs = nil
	switch kind := d.Uint8(); {
	case d.Err() != nil:
	case kind == movedAddrs:
		for range d.Count8(maxMoved) {
			m.addrs = append(m.addrs, decodeAddr(d))
		}
	case kind == movedRelays:
		for range d.Count8(maxMovedRelays) {
			d.Fixed(make([]byte, 32))
		}
	case kind == movedSleeps:
	default:
		d.Fail(fmt.Errorf("%w: a message of kind %d", proto.ErrInvalid, kind))
	}
	return d.Err()
}

func decodeAddr(d *proto.Decoder) netip.AddrPort {
	var b [16]byte
	var ip netip.Addr
	switch family := d.Uint8(); {
	case d.Err() != nil:
	case family == 4:
		d.Fixed(b[:4])
		ip = netip.AddrFrom4([4]byte(b[:4]))
	case family == 6:
		d.Fixed(b[:])
		ip = netip.AddrFrom16(b).Unmap()
	default:
		d.Fail(fmt.Errorf("%w: an address of family %d", proto.ErrInvalid, family))
	}
	return netip.AddrPortFrom(ip, d.Uint16())
}

// tellMove tells the peer where this node is, if it cannot be reached where it was,
// until something is heard of it. It does not wait.
func (c *conn) tellMove(own []netip.AddrPort) {
	source := sourceTo(c.remote())
	if c.stranger() || !source.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, moveTime)
	c.mu.Lock()
	former, before := c.source, c.silence
	if former != source {
		c.source, c.silence = source, cancel
	}
	c.mu.Unlock()
	if former == source {
		cancel()
		return
	}
	if before != nil {
		before() // what was told before is not true any more
	}
	c.endpoint.start(func() {
		defer cancel()
		defer context.AfterFunc(c.endpoint.ctx, cancel)()
		if version, err := c.awaitVersion(ctx); err != nil || version != 2 {
			return
		}
		for wait := tellFirst; ctx.Err() == nil; wait *= 2 {
			done, err := c.writeMove(c.whereabouts(source, own))
			if err != nil {
				c.endpoint.log.Debug("could not tell the peer the new addresses", "peer", c.id, "err", err)
				return
			}
			err = c.signWithin(ctx, wait)
			done()
			if err == nil {
				return
			}
			switch {
			case wait == tellFirst: // the network of the former address leads nowhere, perhaps, though it is there
				c.unpin()
				own = slices.DeleteFunc(slices.Clone(own), func(a netip.AddrPort) bool { return a.Addr() == former })
			default:
				c.tellAside()
			}
		}
	})
}

// unpin has what the connection sends leave from where the system would send it: so
// far it has left from where the peer has dialed this node.
func (c *conn) unpin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.pin
	c.pin = nil
	if c.ctx.Err() == nil {
		c.pin = c.endpoint.socket.Unpin(c.remote())
	}
	if before != nil {
		before()
	}
}

// whereabouts returns what the peer is told: first the address from which it hears
// of this node, since it tries one after the other, and has no patience for the
// bridges and tunnels that a host may have besides.
func (c *conn) whereabouts(source netip.Addr, own []netip.AddrPort) []netip.AddrPort {
	if !source.IsGlobalUnicast() {
		return own
	}
	first := netip.AddrPortFrom(source, c.endpoint.port)
	rest := slices.DeleteFunc(slices.Clone(own), func(a netip.AddrPort) bool { return a == first })
	all := append([]netip.AddrPort{first}, rest...)
	return all[:min(len(all), maxMoved)]
}

// writeMove sends a message, and returns what ends its stream.
func (c *conn) writeMove(own []netip.AddrPort) (done func(), err error) {
	if c.confined() {
		return nil, errPinned
	}
	b, err := (&moved{own}).AppendBinary([]byte(multistream.Question(protocolMove))) // the answer is not waited for
	if err != nil {
		return nil, err
	}
	s, err := c.quic.OpenStream()
	if err != nil {
		return nil, streamError(err)
	}
	if _, err := s.Write(b); err != nil {
		reset(s, 0)
		return nil, streamError(err)
	}
	return func() { reset(s, 0) }, nil
}

// readMove hears where the peer can be reached.
func (c *conn) readMove(s *quicgo.Stream, rest []byte) {
	s.SetReadDeadline(time.Now().Add(firstFrame))
	var m moved
	err := m.DecodeFrom(proto.NewDecoder(io.MultiReader(bytes.NewReader(rest), s)))
	reset(s, 0)
	if err != nil {
		c.endpoint.log.Debug("a peer does not say where it is", "peer", c.id, "err", err)
		return
	}
	if len(m.addrs) == 0 || c.stranger() || c.confined() {
		return
	}
	for _, c := range c.endpoint.with(c.id) { // the peer is in one place
		if c.moves() && !c.confined() && c.mover.hear(m.addrs) {
			c.endpoint.start(func() { c.endpoint.visit(c) })
		}
	}
}

// tellAside tells the peer over a new connection where this node is: on this one, the
// message waits behind what was sent before, of which nothing is acknowledged, and
// nothing more leaves. The peer is dialed where it listens: a connection that it has
// moved may come from another port.
func (c *conn) tellAside() {
	c.received.Store(c.quic.ConnectionStats().PacketsReceived)
	if other := c.endpoint.best(c.id); other != nil && other != c && other.opened.After(c.opened) {
		c.endpoint.tellOver(other, []*conn{c})
		return
	}
	at := netip.AddrPortFrom(c.remote().Addr(), c.path.Remote.Port())
	via, suspects := append(c.endpoint.anywhere(c), p2p.Candidate{Kind: p2p.Direct, Addr: at}), []*conn{c}
	if found, _ := c.endpoint.probe(c.id, via, suspects); found != nil {
		c.endpoint.tellOver(found, suspects)
	}
}

// tellOver tells a peer that has connections which it alone can move, and is not heard
// on them, over another connection where this node is: both have moved, perhaps.
func (e *endpoint) tellOver(found *conn, suspects []*conn) {
	theirs := func(c *conn) bool { return c.mover == nil && !c.Relayed() }
	if found.Relayed() || e.listener.cfg.DisableMigration || !slices.ContainsFunc(suspects, theirs) {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, deadTime)
	defer cancel()
	if version, err := found.awaitVersion(ctx); err != nil || version != 2 || found.stranger() {
		return
	}
	if done, err := found.writeMove(e.ownAddrs()); err == nil {
		_ = found.sign(ctx) // that it has arrived
		done()
	}
}

// hear takes down what the peer has said last, and reports whether it is to be
// visited there: not if somebody does that already.
func (m *mover) hear(to []netip.AddrPort) (begin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.said, to) {
		return false // it repeats itself until it hears of us
	}
	m.redirect(to)
	begin = !m.visiting
	m.said, m.unvisited, m.visiting = to, true, true
	return begin
}

// redirect ends a move to where the peer is not. The caller holds mu.
func (m *mover) redirect(to []netip.AddrPort) {
	if m.turnBack != nil && !slices.Contains(to, m.heading) {
		m.turnBack(errNotHere)
	}
}

// visit looks for the peer where it has said last that it is: at one address after
// the other, since somebody else may be there, who gets packets for it.
func (e *endpoint) visit(c *conn) {
	m := c.mover
	var left []netip.AddrPort
	for {
		m.mu.Lock()
		said, anew := m.said, m.unvisited
		m.unvisited = false
		m.mu.Unlock()
		if anew {
			left = c.likely(said)
		}
		m.mu.Lock()
		if m.unvisited {
			m.mu.Unlock()
			continue
		}
		m.visiting = len(left) > 0 && c.ctx.Err() == nil && e.ctx.Err() == nil
		on := m.visiting
		if !on {
			m.said = nil
		}
		m.mu.Unlock()
		if !on {
			return
		}
		answered, err := e.relocate(c, left[0])
		switch {
		case err == nil:
			left = nil
		case !errors.Is(err, errTooOften):
			left = left[1:]
		}
		if answered {
			continue
		}
		select {
		case <-time.After(moveRest):
		case <-c.ctx.Done():
		case <-e.ctx.Done():
		}
	}
}

// likely returns the addresses at which a peer may be, of those that it has told: none
// if it can be reached where it was. Those of the family in use come first.
func (c *conn) likely(told []netip.AddrPort) (all []netip.AddrPort) {
	now := c.remote()
	for _, a := range told {
		a = unmap(a)
		if a == now {
			return nil
		}
		ip := a.Addr()
		local := ip.IsLoopback() || ip.IsLinkLocalUnicast()
		if !local && c.endpoint.dialable(p2p.Candidate{Kind: p2p.Direct, Addr: a}) == nil && sourceTo(a).IsValid() {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b netip.AddrPort) int {
		other := func(a netip.AddrPort) int {
			if a.Addr().Is4() == now.Addr().Is4() {
				return 0
			}
			return 1
		}
		return other(a) - other(b)
	})
	return all
}

// relocate moves a connection to where its peer is said to be, if it answers there.
func (e *endpoint) relocate(c *conn, to netip.AddrPort) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, moveTime)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	_, err = e.locate(ctx, c, []netip.AddrPort{to})
	if answered = err == nil; answered {
		err = c.move(ctx, to)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errTooOften) {
		e.log.Debug("not moved", "peer", c.id, "to", to, "err", err)
	}
	return answered, err
}
