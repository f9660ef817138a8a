package quic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/proto"
)

// A node whose address has changed tells its peers on separate streams,
// /sdp2p/2/move, and a peer that has dialed the connection moves it there.
// Strangers are neither told nor believed. Each message has a stream of its
// own, since a message lost on a network that is gone would hold up those
// behind it.
//
//	size  field
//	1     kind    1 addresses, 2 relays, 3 sleep
//	kind 1, the addresses at which the sender can be reached from now on:
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

// A moved is a message of the stream. Reserved kinds are read and ignored.
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

// tellMove tells the peer this node's addresses, if the node can no longer be
// reached at the former one, until the peer is heard. It does not wait.
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
		before() // the former message is out of date
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
				c.endpoint.log.Debug("could not tell the peer the new addresses", "peer", c.id, "cause", err)
				return
			}
			err = c.signWithin(ctx, wait)
			done()
			if err == nil {
				return
			}
			switch {
			case wait == tellFirst: // the former address may be dead although it still exists
				c.unpin()
				own = slices.DeleteFunc(slices.Clone(own), func(a netip.AddrPort) bool { return a.Addr() == former })
			default:
				c.tellAside()
			}
		}
	})
}

// unpin lets the system choose the source address of the connection's packets,
// which was so far the address that the peer has dialed.
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

// whereabouts returns the addresses to tell the peer. The source address comes
// first, since the peer tries one after the other, and a host may also have
// bridges and tunnels.
func (c *conn) whereabouts(source netip.Addr, own []netip.AddrPort) []netip.AddrPort {
	if !source.IsGlobalUnicast() {
		return own
	}
	first := netip.AddrPortFrom(source, c.endpoint.port)
	rest := slices.DeleteFunc(slices.Clone(own), func(a netip.AddrPort) bool { return a == first })
	all := append([]netip.AddrPort{first}, rest...)
	return all[:min(len(all), maxMoved)]
}

// writeMove sends a message, and returns a function that ends its stream.
func (c *conn) writeMove(own []netip.AddrPort) (done func(), err error) {
	s, err := c.openMove(own)
	if err != nil {
		return nil, err
	}
	return func() { reset(s, 0) }, nil
}

// openMove sends a message, and returns its stream.
func (c *conn) openMove(own []netip.AddrPort) (*quicgo.Stream, error) {
	if c.confined() {
		return nil, errPinned
	}
	b, err := (&moved{own}).AppendBinary([]byte(multistream.Question(protocolMove))) // without waiting for the answer
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
	return s, nil
}

// readMove reads the addresses at which the peer can be reached.
func (c *conn) readMove(s *quicgo.Stream, rest []byte) {
	s.SetReadDeadline(time.Now().Add(firstFrame))
	var m moved
	err := m.DecodeFrom(proto.NewDecoder(io.MultiReader(bytes.NewReader(rest), s)))
	reset(s, 0)
	if err != nil {
		c.endpoint.log.Debug("a peer does not say where it is", "peer", c.id, "cause", err)
		return
	}
	if len(m.addrs) == 0 || c.stranger() || c.confined() {
		return
	}
	if a := c.endpoint.listener.routed(); a != nil && !c.path.Dialed && c.Relayed() {
		a.moved(c)
	}
	for _, c := range c.endpoint.with(c.id) { // for all connections with the peer
		if c.moves() && !c.confined() && c.mover.hear(m.addrs) {
			c.endpoint.start(func() { c.endpoint.visit(c) })
		}
	}
}

// tellAside tells the peer this node's addresses over a new connection: on this
// one, the message waits behind unacknowledged packets that fill the congestion
// window. It dials the peer's listening address, since a connection that the
// peer has moved may come from another port.
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

// tellOver tells a peer this node's addresses over the connection found if the
// peer is silent on suspects that it alone can move: both nodes may have moved.
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
		_ = found.sign(ctx) // waits until the message has arrived
		done()
	}
}

// hear records the addresses that the peer has sent, and reports whether the
// caller has to try them: not if that is already being done.
func (m *mover) hear(to []netip.AddrPort) (begin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(m.said, to) {
		return false // the peer repeats its message until it hears this node
	}
	m.redirect(to)
	begin = !m.visiting
	m.said, m.unvisited, m.visiting = to, true, true
	return begin
}

// redirect aborts a move to an address that is not among those of the peer. The
// caller holds mu.
func (m *mover) redirect(to []netip.AddrPort) {
	if m.turnBack != nil && !slices.Contains(to, m.heading) {
		m.turnBack(errNotHere)
	}
}

// visit tries the addresses that the peer has sent last, one after the other,
// since other hosts may be there, which receive the packets.
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

// likely returns those addresses in told at which the peer may be: none if its
// present address is among them. Those of the family in use come first.
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
	same := func(a netip.AddrPort) bool { return a.Addr().Is4() == now.Addr().Is4() }
	// Of slices.SortStableFunc, a program would have 9 KB for addresses alone.
	sort.SliceStable(all, func(i, j int) bool { return same(all[i]) && !same(all[j]) })
	return all
}

// relocate moves a connection to an address at which its peer is said to be, if
// the peer answers there.
func (e *endpoint) relocate(c *conn, to netip.AddrPort) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, moveTime)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	_, err = e.locate(ctx, c, []netip.AddrPort{to})
	if answered = err == nil; answered {
		err = c.move(ctx, to)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errTooOften) {
		e.log.Debug("not moved", "peer", c.id, "to", to, "cause", err)
	}
	return answered, err
}
