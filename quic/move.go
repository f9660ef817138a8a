package quic

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/carrier"
)

// Moving a connection is the dialer's task (RFC 9000 §9): it probes another
// path, and switches to it once the peer has answered there. The peer follows
// by itself. Since it recognizes another path only by packets from another
// address, a move needs another address or port of this node; the port is that
// of a spare outlet.
const (
	probeFirst = 50 * time.Millisecond // until a probe is repeated; doubles, so that an answer that takes longer counts
	probeTotal = time.Second           // until another address is tried
	moveTime   = vanishTimeout         // until a connection that cannot be moved is left to its idle timeout
	moveRest   = 250 * time.Millisecond
	jamTime    = probeTotal / 4  // until packets in flight are redirected to the peer's other address
	unjamTime  = 5 * time.Second // until packets in flight are sent again
)

var (
	errPinned  = errors.New("quic: the connection does not move")
	errNoRoute = errors.New("quic: this host has no route to the peer")
	errFollows = errors.New("quic: the peer has followed by itself")
	errNotHere = errors.New("quic: the peer is elsewhere")
	errNoPath  = errors.New("quic: no other path to the peer is left")
)

// A track is the part of a path by which the peer can tell it from others.
type track struct {
	outlet *outlet    // nil for the endpoint's socket
	source netip.Addr // of this node
}

// A mover moves one connection that this node dialed.
type mover struct {
	turn chan struct{} // of size 1: held while the connection is moved

	mu   sync.Mutex // guards the following fields; must not be held when taking endpoint.mu
	at   track
	to   netip.AddrPort // the peer's address
	path *quicgo.Path   // since the last move
	exit exit           // where its packets leave

	heading  netip.AddrPort          // the address that it is being moved to
	turnBack context.CancelCauseFunc // nil while it is not being moved

	following, again bool // follow is running; and has to run again

	said                []netip.AddrPort // addresses that the peer has sent
	visiting, unvisited bool             // they are being tried; and that has not begun yet
	ways                [2]*way          // from the endpoint's socket; nil until they are needed
	ended               bool             // the connection is gone: everything has to be released
}

// An exit is where the packets of a path leave.
type exit struct {
	transport *quicgo.Transport
	way       *way   // nil for a spare outlet
	undo      func() // releases the exit once it is no longer used
}

// A way leaves from the endpoint's socket. quic-go needs its transport for as
// long as the connection lasts.
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
	if c.endpoint.veil != nil && !c.Relayed() { // its connection IDs could be recognized elsewhere
		return false
	}
	return c.mover != nil && !c.endpoint.listener.cfg.DisableMigration
}

// move moves the connection to another path, to an address of the peer. It
// fails if the peer does not answer there within [probeTotal].
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

// moved records the path that the connection takes now, and releases the
// previous one.
func (c *conn) moved(former netip.AddrPort, next track, to netip.AddrPort, path *quicgo.Path, by exit) error {
	m := c.mover
	m.mu.Lock()
	last, left, ended := m.path, m.exit, m.ended
	m.at, m.to, m.path, m.exit = next, to, path, by
	m.mu.Unlock()
	if last != nil {
		last.Close() // or connection IDs would run out
	}
	left.undo()
	if ended {
		by.undo()
		return errLost
	}
	if !c.endpoint.enabled(to.Addr()) { // disabled meanwhile
		c.Close()
		return ErrDisabled
	}
	if !isLane(to) {
		c.endpoint.worked.note(c.id, to)
	}
	c.tellMetadata(true) // quic-go switches when it has something to send, and the peer when that arrives
	c.left(former, to, path)
	c.Look()
	if to == former { // of other moves the node knows
		c.endpoint.log.Debug("moved", "peer", c.id, "path", c.Path(), "source", next.source)
	}
	return nil
}

// change switches to a path once the peer has answered on it.
func (c *conn) change(ctx context.Context, path *quicgo.Path, former, to netip.AddrPort) error {
	patience := probeTotal
	switch {
	case isLane(to) && !isLane(former):
		// The former path is dead: the answer to the peer's own probe would get
		// lost on it.
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

// begin waits for the turn to move the connection. The returned context is
// canceled when the peer is found elsewhere.
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

// proved aborts a move to an address other than at, where the peer has
// answered.
func (m *mover) proved(at netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.redirect([]netip.AddrPort{at})
}

// leave finds an exit for the connection with which the peer sees another path.
func (c *conn) leave(next *track, to netip.AddrPort) (exit, error) {
	m := c.mover
	m.mu.Lock()
	at, former := m.at, m.to
	m.mu.Unlock()
	// From the endpoint's socket, quic-go answers the peer's own probe at the
	// former address. That works if the address stays the same, or if one of
	// the two leads through a relay.
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
		if undo, ok := o.turn(from, to); ok { // not the present one, which leads elsewhere
			next.outlet = o
			return exit{o.transport, nil, undo}, nil
		}
	}
	return exit{}, errNoPath
}

// main returns the way from the endpoint's socket to an address; nil if the
// connection is gone.
func (m *mover) main(from *carrier.Socket, to netip.AddrPort) *way {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return nil
	}
	i := 0
	if m.exit.way != nil && m.exit.way == m.ways[0] && m.to != to {
		i = 1 // packets in flight still use the first
	}
	if m.ways[i] == nil {
		m.ways[i] = &way{Way: from.Way(to)}
		m.ways[i].transport = &quicgo.Transport{Conn: m.ways[i].Way, ConnectionIDLength: connectionIDLength}
	}
	m.ways[i].Turn(to)
	return m.ways[i]
}

func isLane(addr netip.AddrPort) bool { return carrier.IsVirtual(addr.Addr()) }

// probe checks whether the peer answers on a path. A peer whose address has not
// changed follows packets from this node's new one and then no longer answers
// the probe, so it is also asked for a sign of life.
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

// unjam redirects packets for the peer's former address to its new one, and
// probes again. While the congestion window is full, quic-go sends no probe,
// and if the peer has moved, the packets in flight never arrive. Nor does
// quic-go answer a probe from the address at which it believes the other side
// to be already, for instance after two moves in a row of which it has noticed
// one.
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

// lead redirects the connection's packets on its present path to another
// address until back is called.
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

// dialedAt returns the peer's address at which the connection was dialed, to
// which quic-go still sends.
func (c *conn) dialedAt() netip.AddrPort {
	return unmap(c.path.Remote)
}

// end releases the resources of moving, after the connection is gone.
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
