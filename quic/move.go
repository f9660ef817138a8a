package quic

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/carrier"
)

// Moving a connection is the dialer's part (RFC 9000 §9): it probes another path,
// and switches to it once the peer has answered there. The peer follows by itself.
// It sees another path only where packets come from another address: so a move
// needs another address of this node, or another port, which is that of a spare
// outlet.
const (
	probeFirst = 50 * time.Millisecond // until a probe is repeated; doubles, so that an answer that takes longer counts
	probeTotal = time.Second           // until another address is tried
	moveTime   = vanishTimeout         // until a connection that cannot be moved is left to its idle time-out
	moveRest   = 250 * time.Millisecond
	jamTime    = probeTotal / 4  // until what is on its way is sent to the peer's other address
	unjamTime  = 5 * time.Second // until what is on its way is sent again
)

var (
	errPinned  = errors.New("quic: the connection does not move")
	errNoRoute = errors.New("quic: this host has no route to the peer")
	errFollows = errors.New("quic: the peer has followed by itself")
	errNotHere = errors.New("quic: the peer is elsewhere")
	errNoPath  = errors.New("quic: no other path to the peer is left")
)

// A track is where a connection runs, as far as the peer can tell paths apart.
type track struct {
	outlet *outlet    // nil: the endpoint's socket
	source netip.Addr // of this node
}

// A mover moves one connection that this node dialed.
type mover struct {
	turn chan struct{} // of size 1: held while the connection is moved

	mu   sync.Mutex // guards what follows; taken after endpoint.mu, which is not taken under it
	at   track
	to   netip.AddrPort // the peer's address
	path *quicgo.Path   // since the last move
	exit exit           // what it leaves by

	heading  netip.AddrPort          // where it is being moved to
	turnBack context.CancelCauseFunc // nil: nowhere

	following, again bool // after a change of the network; and there was another one

	said                []netip.AddrPort // where the peer has said that it is
	visiting, unvisited bool             // it is looked for there; and that has not begun
	ways                [2]*way          // from the endpoint's socket; nil before they are needed
	ended               bool             // the connection is gone: nothing may be left of what it took
}

// An exit is what a path leaves by.
type exit struct {
	transport *quicgo.Transport
	way       *way   // nil: by a spare outlet
	undo      func() // nothing is sent by it any more
}

// A way is one from the endpoint's socket. quic-go needs its transport for as long
// as the connection lasts.
type way struct {
	*carrier.Way
	transport *quicgo.Transport
}

func newMover(to netip.AddrPort) *mover {
	return &mover{turn: make(chan struct{}, 1), to: to, at: track{source: sourceTo(to)}, exit: exit{undo: func() {}}}
}

// addr returns the peer's address.
func (m *mover) addr() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.to
}

// moves reports whether this node can move the connection.
func (c *conn) moves() bool {
	return c.mover != nil && !c.endpoint.listener.cfg.DisableMigration
}

// move has the connection run to an address of the peer, on another path than so
// far. It fails if the peer does not answer there within [probeTotal].
func (c *conn) move(ctx context.Context, to netip.AddrPort) error {
	if !c.moves() {
		return errPinned
	}
	m := c.mover
	ctx, end, err := m.begin(ctx, to)
	if err != nil {
		return err
	}
	defer end()
	next := track{source: sourceTo(to)}
	if !next.source.IsValid() {
		return errNoRoute
	}
	by, err := c.leave(&next, to)
	if err != nil {
		return err
	}
	path, err := c.quic.AddPath(by.transport)
	if err != nil {
		by.undo()
		return errors.Join(errPinned, err)
	}
	former := c.remote()
	if err = c.change(ctx, path, former, to); err != nil {
		path.Close()
		by.undo()
	}
	if errors.Is(err, errFollows) {
		m.mu.Lock()
		m.at.source = next.source
		m.mu.Unlock()
		c.endpoint.log.Debug("followed", "peer", c.id, "to", to, "source", next.source)
		return nil
	}
	if err != nil {
		return err
	}
	return c.moved(former, next, to, path, by)
}

// moved takes down where the connection runs from now on, and lets go of what it used
// before.
func (c *conn) moved(former netip.AddrPort, next track, to netip.AddrPort, path *quicgo.Path, by exit) error {
	m := c.mover
	m.mu.Lock()
	last, left, ended := m.path, m.exit, m.ended
	m.at, m.to, m.path, m.exit = next, to, path, by
	m.mu.Unlock()
	if last != nil {
		last.Close() // else connection IDs run out
	}
	left.undo()
	if ended {
		by.undo()
		return errLost
	}
	if !c.endpoint.enabled(to.Addr()) { // since then
		c.Close()
		return ErrDisabled
	}
	if !isLane(to) {
		c.endpoint.worked.note(c.id, to)
	}
	c.tellMetadata(true) // quic-go switches when it has something to do, and the peer when it hears of it
	c.endpoint.log.Debug("moved", "peer", c.id, "from", former, "to", to, "source", next.source)
	c.Look()
	return nil
}

// change switches to a path once the peer has answered on it.
func (c *conn) change(ctx context.Context, path *quicgo.Path, former, to netip.AddrPort) error {
	patience := probeTotal
	switch {
	case isLane(to) && !isLane(former):
		// The former path is dead: the answer to the peer's own probe would be lost on it.
		back, _ := c.lead(to)
		defer back()
	case to != former && !isLane(to):
		patience = jamTime // it has answered a handshake there
	}
	err := c.probe(ctx, path, patience, to == former)
	if errors.Is(err, context.DeadlineExceeded) {
		err = c.unjam(ctx, path, to)
	}
	if err != nil {
		return err
	}
	return path.Switch()
}

// begin waits for the turn to move the connection. What it returns is canceled when
// the peer is found to be elsewhere.
func (m *mover) begin(ctx context.Context, to netip.AddrPort) (_ context.Context, end func(), err error) {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heading, m.turnBack = to, cancel
	return ctx, func() {
		cancel(nil)
		m.mu.Lock()
		m.turnBack = nil
		m.mu.Unlock()
		<-m.turn
	}, nil
}

// proved ends a move to an address other than the one at which the peer is.
func (m *mover) proved(at netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.redirect([]netip.AddrPort{at})
}

// leave finds what the connection may leave by so that the peer sees another path.
func (c *conn) leave(next *track, to netip.AddrPort) (exit, error) {
	m := c.mover
	m.mu.Lock()
	at, former := m.at, m.to
	m.mu.Unlock()
	// By the endpoint's socket, quic-go answers the peer's own probe at the former
	// address: that will do where it is the same, and where one of the two leads
	// through a relay.
	if *next != at && (to == former || isLane(to) || isLane(former)) {
		w := m.main(c.endpoint.socket, to)
		if w == nil {
			return exit{}, errLost
		}
		return exit{w.transport, w, func() {}}, nil
	}
	from := c.dialedAt()
	for i := range maxSpares {
		o, err := c.endpoint.spares.get(i)
		if err != nil {
			return exit{}, err
		}
		if undo, ok := o.turn(from, to); ok { // not by the one that it leaves by: that leads elsewhere
			next.outlet = o
			return exit{o.transport, nil, undo}, nil
		}
	}
	return exit{}, errNoPath
}

// main returns the way from the endpoint's socket, to an address; nil if the
// connection is gone.
func (m *mover) main(from *carrier.Socket, to netip.AddrPort) *way {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return nil
	}
	i := 0
	if m.exit.way != nil && m.exit.way == m.ways[0] && m.to != to {
		i = 1 // what is on its way goes on by the first
	}
	if m.ways[i] == nil {
		m.ways[i] = &way{Way: from.Way(to)}
		m.ways[i].transport = &quicgo.Transport{Conn: m.ways[i].Way, ConnectionIDLength: connectionIDLength}
	}
	m.ways[i].Turn(to)
	return m.ways[i]
}

func isLane(addr netip.AddrPort) bool { return carrier.IsVirtual(addr.Addr()) }

// probe asks whether the peer answers on a path. A peer whose address is the same
// follows what comes from this node's new one, and does not answer there any more
// then: so it is asked for a sign of life as well.
func (c *conn) probe(ctx context.Context, path *quicgo.Path, patience time.Duration, follows bool) error {
	ctx, cancel := context.WithTimeout(ctx, max(c.endpoint.patient(patience), 4*c.RTT()))
	defer cancel()
	defer context.AfterFunc(c.quic.Context(), cancel)()
	for wait := max(c.endpoint.patient(probeFirst), 2*c.RTT()); ; wait *= 2 {
		once, stop := context.WithTimeout(ctx, wait)
		err := path.Probe(once)
		stop()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if follows && c.signWithin(ctx, wait) == nil {
			return errFollows
		}
	}
}

// unjam has what is on its way to the peer's former address arrive at its new one,
// and asks again. quic-go sends no probe of a path while as much is on its way as
// the peer's network takes, and where the peer has moved, nothing of that ever
// arrives. Nor does it answer a probe from where it thinks that the other side is
// already, as after two moves in a row of which it has noticed one.
func (c *conn) unjam(ctx context.Context, path *quicgo.Path, to netip.AddrPort) error {
	if c.mover.addr() == to {
		return context.DeadlineExceeded
	}
	back, ok := c.lead(to)
	defer back()
	if !ok {
		return context.DeadlineExceeded
	}
	ctx, cancel := context.WithTimeout(ctx, unjamTime)
	defer cancel()
	if err := c.sign(ctx); err != nil {
		return err
	}
	return c.probe(ctx, path, probeTotal, false)
}

// lead has what the connection sends on its path go to another address, until back
// is called.
func (c *conn) lead(to netip.AddrPort) (back func(), ok bool) {
	m := c.mover
	m.mu.Lock()
	by, outlet, former := m.exit, m.at.outlet, m.to
	m.mu.Unlock()
	if by.way != nil {
		by.way.Turn(to)
		return func() { by.way.Turn(former) }, true
	}
	if outlet == nil {
		outlet = &c.endpoint.main
	}
	from := c.dialedAt()
	by.undo()
	undo, ok := outlet.turn(from, to)
	return func() {
		if ok {
			undo()
		}
		if outlet == &c.endpoint.main && from == former {
			return
		}
		if undo, ok := outlet.turn(from, former); ok {
			m.mu.Lock()
			m.exit.undo = undo
			ended := m.ended
			m.mu.Unlock()
			if ended {
				undo()
			}
		}
	}, ok
}

// dialedAt returns the peer's address as the connection was dialed, to which
// quic-go still sends.
func (c *conn) dialedAt() netip.AddrPort {
	return unmap(c.path.Remote)
}

// end frees what moving has taken. The connection is gone.
func (m *mover) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	m.exit.undo()
	for _, w := range m.ways {
		if w != nil {
			w.transport.Close()
			w.Close()
		}
	}
}

// follow keeps a connection going after the network has changed, or where nothing is
// heard: it moves, unless the peer is heard on the path that it has. It tries for as
// long as the connection would live without hearing anything.
//
// A path that is probed in vain costs one of the few connection IDs that the peer
// has given, and without an answer no others come: only after this node's own
// address has changed is one probed that has not been seen to lead to the peer.
func (e *endpoint) follow(c *conn) {
	ctx, cancel := context.WithTimeout(c.ctx, moveTime)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	if l := e.lanes.at(c.remote()); l != nil {
		if c.signWithin(ctx, signTime) != nil {
			l.renew()
		}
		return
	}
	for first := true; ctx.Err() == nil; first = false {
		c.mover.mu.Lock()
		at, to := c.mover.at, c.mover.to
		c.mover.mu.Unlock()
		source := sourceTo(to)
		if source == at.source && c.alive(ctx) {
			return
		}
		if source == at.source && !c.canAnswer() {
			e.replace(c)
			return
		}
		var err error
		if !first || source == at.source {
			via := e.ways(c)
			if !first { // others than before, if not all of them may be looked at
				rand.Shuffle(len(via)-1, func(i, j int) { via[1+i], via[1+j] = via[1+j], via[1+i] })
			}
			if a := e.listener.routed(); a != nil {
				to, err = a.reach(e, ctx, c, via)
			} else {
				to, err = e.locate(ctx, c, via)
			}
		} else if !source.IsValid() {
			err = errNoRoute
		}
		if err == nil {
			err = c.move(ctx, to)
		}
		switch {
		case err == nil:
			return
		case errors.Is(err, errPinned):
			e.supersede(c, at.source)
			return
		}
		e.log.Debug("not moved", "peer", c.id, "to", to, "err", err)
		select {
		case <-time.After(moveRest):
		case <-ctx.Done():
		}
	}
}

// locate finds out at which of several addresses the peer answers. But for the one
// that it has, it looks at no more of them than it may: if at none, it fails with
// [errTooOften].
func (e *endpoint) locate(ctx context.Context, c *conn, via []netip.AddrPort) (netip.AddrPort, error) {
	patience := max(seekTime, 4*c.RTT())
	ctx, cancel := context.WithTimeout(ctx, e.patient(patience))
	defer cancel()
	found := make(chan netip.AddrPort)
	var asking sync.WaitGroup
	nowhere := errNobodyThere
	for i, to := range via {
		if !sourceTo(to).IsValid() {
			continue
		}
		end, ok := func(bool) {}, true
		if to != c.remote() {
			end, ok = e.looks.begin(c.id, patience)
		}
		if !ok {
			if i == 0 {
				nowhere = errTooOften
			}
			continue
		}
		asking.Go(func() {
			err := e.shake(ctx, to, c.id)
			end(err == nil)
			if err == nil {
				select {
				case found <- to:
				case <-ctx.Done():
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { asking.Wait(); close(over) }()
	defer func() { cancel(); <-over }()
	select {
	case to := <-found:
		return to, nil
	case <-over:
	}
	return netip.AddrPort{}, nowhere
}

// ways returns where the peer of a connection may be, its present address first.
func (e *endpoint) ways(c *conn) []netip.AddrPort {
	all := []netip.AddrPort{c.remote()}
	if c.confined() {
		return all
	}
	if peer, known := e.scope.Node().Peer(c.id); known {
		for _, v := range peer.Info().Candidates {
			if v.Kind != p2p.Relay && e.dialable(v) == nil && !slices.Contains(all, unmap(v.Addr)) {
				all = append(all, unmap(v.Addr))
			}
		}
	}
	return all
}

// signWithin waits for a sign of life of the connection.
func (c *conn) signWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(d, 2*c.RTT()))
	defer cancel()
	return c.sign(ctx)
}
