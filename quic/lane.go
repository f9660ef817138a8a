package quic

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	tpt "github.com/libp2p/go-libp2p/core/transport"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/junction"
)

// A lane is a circuit with a peer through a relay. To QUIC it is an address
// like any other: packets to it go into the circuit, and the handshake of the
// connection inside authenticates the other end as usual.
//
// When the circuit of a lane that this node has opened ends, the lane gets
// another circuit and keeps its address. The other side then sees a new lane,
// and follows there as it follows a peer whose NAT has given it another port.
type lane struct {
	link *carrier.Link
	addr netip.AddrPort // virtual
	to   identity.RemoteIdentity
	left chan struct{} // of size 1: a connection has moved away

	settling atomic.Int32 // connections that have moved away, but whose peers have not

	mu      sync.Mutex
	circuit junction.Circuit // the present one
}

const (
	laneTime = 10 * time.Second // until a lane has to carry a connection
	laneRest = time.Second      // between attempts to find another relay
	// How long a lane is kept after its connection has left it: packets under
	// way still arrive, and a direct path that fails at once can be replaced by
	// the same circuit.
	laneLinger = 2 * time.Second
)

// lanes are the lanes of an endpoint.
type lanes struct {
	mu  sync.Mutex
	all map[netip.AddrPort]*lane
}

var (
	errUnused = errors.New("quic: no connection uses the circuit")
	errCut    = errors.New("quic: the circuit has ended before a connection was made")
)

// at returns the lane with an address, or nil.
func (l *lanes) at(addr netip.AddrPort) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[addr]
}

// through returns the present relay of a lane.
func (l *lane) through() (relay identity.RemoteIdentity, addr netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.circuit.Relay, l.circuit.Addr
}

// openLane makes a lane from a circuit. again, if not nil, returns another
// circuit when that has ended.
func (e *endpoint) openLane(c junction.Circuit, again func(context.Context) (junction.Circuit, error)) (*lane, error) {
	l := &lane{link: e.socket.Link(groupOf(c.Relay)), to: c.Peer, circuit: c, left: make(chan struct{}, 1)}
	l.addr = l.link.Addr()
	e.lanes.mu.Lock()
	if e.lanes.all == nil {
		e.lanes.all = map[netip.AddrPort]*lane{}
	}
	e.lanes.all[l.addr] = l
	e.lanes.mu.Unlock()
	ended := l.link.Carry(c)
	if !e.start(func() { e.keepLane(l, ended, again) }) {
		e.closeLane(l)
		return nil, ErrNotRunning
	}
	return l, nil
}

// groupOf returns the group of a relay's virtual addresses, which the limits
// treat as one address.
func groupOf(relay identity.RemoteIdentity) uint32 {
	key := relay.Bytes()
	sum := sha256.Sum256(key[:])
	return binary.BigEndian.Uint32(sum[:])
}

func (e *endpoint) closeLane(l *lane) {
	e.lanes.mu.Lock()
	delete(e.lanes.all, l.addr)
	e.lanes.mu.Unlock()
	l.link.Close()
}

// keepLane keeps a lane for as long as a connection uses it.
func (e *endpoint) keepLane(l *lane, ended <-chan struct{}, again func(context.Context) (junction.Circuit, error)) {
	defer e.closeLane(l)
	tick := time.NewTicker(laneTime)
	defer tick.Stop()
	var lingers <-chan time.Time
	for {
		select {
		case <-l.left:
			lingers = time.After(laneLinger)
		case <-lingers:
			if !e.uses(l) {
				return
			}
		case <-tick.C:
			for _, c := range e.all() {
				c.Look() // the peer may have moved it
			}
			if !e.uses(l) {
				return
			}
		case <-ended:
			e.log.Debug("a circuit has ended", "peer", l.to, "opened", again != nil)
			if again == nil || !e.uses(l) {
				return
			}
			c, err := e.another(l, again)
			if err != nil {
				e.log.Debug("no other circuit", "peer", l.to, "cause", err)
				return
			}
			e.log.Debug("goes on through another circuit", "peer", l.to, "relay", c.Relay)
			l.mu.Lock()
			l.circuit = c
			l.mu.Unlock()
			ended = l.link.Carry(c)
			e.carried(l)
		case <-l.link.Done():
			return
		}
	}
}

// partFromRelays ends the connections through relays, so that the peers learn
// of it, and then their circuits.
func (e *endpoint) partFromRelays(part func(*conn)) {
	var parting sync.WaitGroup
	for _, c := range e.all() {
		if c.Relayed() {
			parting.Go(func() { part(c) })
		}
	}
	parting.Wait()
	e.lanes.mu.Lock()
	all := slices.Collect(maps.Values(e.lanes.all))
	e.lanes.mu.Unlock()
	if len(all) == 0 {
		return
	}
	for _, l := range all {
		parting.Go(func() {
			l.link.Finish(linger)
			e.closeLane(l)
		})
	}
	parting.Wait()
	time.Sleep(linger) // so that the relays forward the closes
}

// another tries to get another circuit for as long as a connection can survive
// without one.
func (e *endpoint) another(l *lane, again func(context.Context) (junction.Circuit, error)) (junction.Circuit, error) {
	ctx, cancel := context.WithTimeout(e.ctx, vanishTimeout)
	defer cancel()
	for {
		c, err := again(ctx)
		if err == nil {
			return c, nil
		}
		if !e.uses(l) {
			return c, errUnused
		}
		select {
		case <-time.After(laneRest):
		case <-l.link.Done():
			return c, err
		case <-ctx.Done():
			return c, err
		}
	}
}

// carried tells the node and the peers that a lane has another circuit.
func (e *endpoint) carried(l *lane) {
	for _, c := range e.all() {
		if c.remote() == l.addr {
			c.Look()
			c.tellMetadata(true)
		}
	}
}

// uses reports whether a connection uses a lane, is being made over it, or may
// return to it.
func (e *endpoint) uses(l *lane) bool {
	if l.settling.Load() > 0 {
		return true
	}
	for _, c := range e.all() {
		if c.remote() == l.addr && !c.gone() {
			return true
		}
	}
	return false
}

// familiar returns a function that reports whether, according to the relay, the
// circuit of a virtual address comes from a tracked peer.
func (l *lanes) familiar(scope *p2p.Scope) func(netip.Addr) bool {
	return func(ip netip.Addr) bool {
		lane := l.at(netip.AddrPortFrom(ip, carrier.VirtualPort))
		return lane != nil && !scope.Stranger(lane.to)
	}
}

// renew makes a lane get another circuit, since the present one is silent.
func (l *lane) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.circuit.Close()
}

// reach returns an address at which the peer of a connection answers. If there
// are relays, it makes a circuit in the meantime, to use if no address answers
// soon.
func (e *endpoint) reach(ctx context.Context, c *conn, via []netip.AddrPort) (netip.AddrPort, error) {
	a := e.listener.routed()
	if a == nil {
		return e.locate(ctx, c, via)
	}
	r := a.router
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	direct, relayed := make(chan place, 1), make(chan place, 1)
	var trying sync.WaitGroup
	defer trying.Wait()
	defer cancel()
	trying.Go(func() {
		to, err := e.locate(ctx, c, via)
		direct <- place{to, err}
	})
	again := func(ctx context.Context) (junction.Circuit, error) {
		return r.Another(ctx, c.id, identity.RemoteIdentity{}, e.listener.recall(c.id))
	}
	trying.Go(func() {
		way, err := again(ctx)
		var l *lane
		if err == nil {
			l, err = e.openLane(way, again)
		}
		if err != nil {
			relayed <- place{err: err}
			return
		}
		relayed <- place{to: l.addr}
	})
	return e.choose(direct, relayed, cancel)
}

// A place is an address at which a peer answers, or the error that there is
// none.
type place struct {
	to  netip.AddrPort
	err error
}

// choose prefers an address, for which it waits for a while, to a circuit, and
// does not wait for a circuit once it has an address.
func (e *endpoint) choose(direct, relayed <-chan place, cancel func()) (netip.AddrPort, error) {
	lead := time.NewTimer(candidateLead)
	defer lead.Stop()
	d, r := place{err: errNobodyThere}, place{}
	select {
	case d = <-direct:
		if d.err == nil {
			cancel()
		}
		r = <-relayed
	case r = <-relayed:
		if r.err != nil {
			d = <-direct
			break
		}
		select {
		case d = <-direct:
		case <-lead.C:
		}
	}
	switch {
	case d.err != nil && r.err != nil:
		return d.to, d.err
	case d.err != nil:
		return r.to, nil
	case r.err == nil:
		e.dropLane(r.to)
	}
	return d.to, nil
}

// dropLane closes a lane that is not needed.
func (e *endpoint) dropLane(addr netip.AddrPort) {
	if l := e.lanes.at(addr); l != nil {
		e.closeLane(l)
	}
}

// shorten moves relayed connections with a peer to a direct path after the peer
// was discovered at an address.
func (e *endpoint) shorten(id identity.RemoteIdentity, via []p2p.Candidate) {
	for _, c := range e.all() {
		if c.id != id || !c.Relayed() || !c.moves() || c.confined() {
			continue
		}
		var at []netip.AddrPort
		for _, v := range via {
			if v.Kind != p2p.Relay {
				at = append(at, unmap(v.Addr))
			}
		}
		ctx, cancel := context.WithTimeout(c.ctx, moveTime)
		defer cancel()
		to, err := e.locate(ctx, c, at)
		if err == nil {
			err = c.move(ctx, to)
		}
		if err != nil {
			e.log.Debug("still relayed", "peer", c.id, "cause", err)
		}
	}
}

// dialThrough makes a connection through a relay.
func (e *endpoint) dialThrough(ctx context.Context, relay *try, to identity.RemoteIdentity) (tpt.CapableConn, error) {
	a := e.listener.routed()
	if a == nil {
		return nil, ErrNoRelays
	}
	r := a.router
	ctx, cancel := context.WithTimeout(ctx, e.listener.cfg.DialTimeout)
	defer cancel()
	c, err := r.Circuit(ctx, relay.relay, relay.addr, to, e.listener.recall(to))
	if err != nil {
		return nil, err
	}
	l, err := e.openLane(c, func(ctx context.Context) (junction.Circuit, error) {
		return r.Another(ctx, to, relay.relay, e.listener.recall(to))
	})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	e.start(func() {
		select {
		case <-l.link.Done():
			end(errCut)
		case <-ctx.Done():
		}
	})
	tc, err := e.dial(ctx, l.addr, to)
	if errors.Is(context.Cause(ctx), errCut) && err != nil {
		err = errCut
	}
	if err != nil {
		e.closeLane(l)
	}
	return tc, err
}

// admitLane checks that an inbound connection through a circuit is with the
// peer that the relay has named, now that the handshake has proved its
// identity.
func (e *endpoint) admitLane(addr netip.AddrPort, id identity.RemoteIdentity) error {
	if !carrier.IsVirtual(addr.Addr()) {
		return nil
	}
	l := e.lanes.at(addr)
	if l == nil {
		return errUnwanted
	}
	if l.to != id {
		e.closeLane(l)
		return ErrOtherPeer
	}
	return nil
}

// Relayed reports whether the connection runs through a circuit now.
func (c *conn) Relayed() bool { return carrier.IsVirtual(c.remote().Addr()) }

// confined reports whether the connection has to stay in circuits, so that
// neither side learns the other's addresses.
func (c *conn) confined() bool {
	a := c.endpoint.listener.routed()
	return a != nil && (a.router.Only() || !c.Candid()) && c.Relayed()
}

// Look tells the node if the connection's path has changed since the last look.
func (c *conn) Look() {
	now := c.Path()
	c.mu.Lock()
	before := c.seen
	c.seen = now
	c.mu.Unlock()
	if before == now || before == (p2p.Path{}) {
		return
	}
	_ = c.endpoint.scope.Moved(c.id, c, before)
	if a := c.endpoint.listener.routed(); a != nil && now.Kind == p2p.Relay {
		a.connected(c)
	}
}
