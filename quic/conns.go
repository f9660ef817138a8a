package quic

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// errUnwanted is the error of a connection that was not admitted.
var errUnwanted = errors.New("quic: the connection is not wanted")

// accept takes the connections that peers dial, until the endpoint closes. It
// does not wait for anything about one of them: go-libp2p queues 16, and closes
// the rest.
func (e *endpoint) accept() {
	for {
		c, err := e.inbound.Accept()
		if err != nil {
			return
		}
		if !e.start(func() { e.connected(c, p2p.Path{Kind: p2p.Direct}) }) {
			c.CloseWithError(network.ConnShutdown)
		}
	}
}

// connected takes a connection whose handshake is over: it reports it, and
// serves its streams until it is gone. Of path, what is known without the
// connection is given. The error says why it was closed instead.
func (e *endpoint) connected(tc tpt.CapableConn, path p2p.Path) (*conn, error) {
	id, err := remoteIdentity(tc.RemotePeer())
	if err != nil {
		tc.CloseWithError(network.ConnGated) // another kind of key, or one that is not safe
		return nil, err
	}
	if id == e.scope.Node().Identity() { // it only wants to know who is here
		tc.CloseWithError(network.ConnGated)
		return nil, p2p.ErrSelf
	}
	path.Remote = addrPort(tc.RemoteMultiaddr())
	if err := e.admitLane(path.Remote, id); err != nil {
		tc.CloseWithError(network.ConnGated)
		return nil, err
	}
	c := newConn(e, tc, id, path)
	if err = e.add(c); err == nil {
		err = e.report(c)
	}
	if err != nil {
		e.disconnected(c)
		code := network.ConnGated
		if errors.Is(err, p2p.ErrBusy) {
			code = network.ConnResourceLimitExceeded
		}
		tc.CloseWithError(code)
		e.log.Debug("connection refused", "peer", id, "remote", path.Remote, "err", err)
		return nil, err
	}
	return c, nil
}

// greet notes whether the peer is a stranger: one that is not is told more, and
// takes its memory from another budget.
func (c *conn) greet() {
	known := !c.stranger()
	if c.greeted.Swap(known) == known {
		return
	}
	if c.charge != nil {
		c.charge.member.Store(known)
	}
	if !known {
		return
	}
	if !c.endpoint.scope.Stranger(c.id) { // and not only dialed
		c.endpoint.circle.saw(c.familiar())
	}
	if !c.path.Dialed {
		source := sourceTo(c.remote())
		c.mu.Lock()
		c.source = source
		c.mu.Unlock()
	}
	c.tellMetadata(false)
}

// familiar returns the address at which the peer is to be expected another time. Where
// the peer moves the connection, that is where the connection was made: any host on
// the way can have it run over an address of its own later.
func (c *conn) familiar() netip.Addr {
	if c.mover == nil {
		return c.path.Remote.Addr()
	}
	return c.remote().Addr()
}

// reckon looks again which peers are strangers.
func (e *endpoint) reckon() {
	e.mu.Lock()
	all := slices.Collect(maps.Keys(e.conns))
	e.mu.Unlock()
	for _, c := range all {
		c.greet()
	}
}

// add puts a connection on record, if there is a place for it.
func (e *endpoint) add(c *conn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing || e.disabled.of(c.remote().Addr()) {
		return errUnwanted
	}
	goes, err := e.room(c)
	if err != nil {
		return err
	}
	if goes != nil {
		goes.goes = true // once: the next one finds another
		e.tasks.Go(func() { goes.close(network.ConnResourceLimitExceeded) })
	}
	e.conns[c] = struct{}{}
	if e.network != nil {
		e.network.Attend(true)
	}
	return nil
}

// report tells the node of a connection, if that wants it, and begins to serve
// it.
func (e *endpoint) report(c *conn) error {
	if !c.path.Dialed {
		err := e.scope.Node().Allows(c.quic.Context(), p2p.Request{Action: p2p.Connect, Peer: c.id, Path: c.Path()})
		if err != nil {
			return err
		}
	}
	if err := c.meet(); err != nil {
		return err
	}
	if err := e.admitted(c); err != nil {
		return err
	}
	c.greet()
	c.Look()
	path := c.Path()
	e.log.Debug("connected", "peer", c.id, "remote", path.Remote, "kind", path.Kind, "dialed", path.Dialed)
	c.begin()
	if a := e.listener.routed(); a != nil && c.Relayed() {
		a.connected(c)
	}
	return nil
}

// admitted tells the node of a connection, which is usable from the moment when
// somebody can know of it.
func (e *endpoint) admitted(c *conn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.scope.Connected(c.id, c); err != nil {
		return err
	}
	c.usable = true
	close(e.added)
	e.added = make(chan struct{})
	if !c.Relayed() {
		e.worked.note(c.id, c.remote())
	}
	return nil
}

// disconnected takes a connection off the record. Calls after the first have no
// effect.
func (e *endpoint) disconnected(c *conn) {
	e.mu.Lock()
	_, known := e.conns[c]
	delete(e.conns, c)
	if e.network != nil {
		e.network.Attend(len(e.conns) > 0)
	}
	if s := e.suspicions[c.id]; s != nil && !s.running && e.bestLocked(c.id) == nil {
		delete(e.suspicions, c.id)
	}
	e.mu.Unlock()
	if !known {
		return
	}
	c.end()
	if !e.scope.Stranger(c.id) {
		e.circle.saw(c.familiar()) // until now
	}
	e.listener.manual.disconnected(c)
	e.scope.Disconnected(c.id, c)
	if c.vanished() {
		e.scope.Vanished(c.id)
	}
}

// serve takes the streams that the peer opens, and returns when the connection
// is gone.
func (e *endpoint) serve(c *conn) {
	for {
		counted := c.awaitPlace()
		s, err := c.quic.AcceptStream(context.Background())
		if err != nil || counted && !c.awaitTurn() {
			break // and with it all that counts the connection's streams
		}
		if !e.hold() {
			if counted {
				c.givePlace()
			}
			reset(s, network.StreamShutdown)
			continue
		}
		go func() {
			defer e.tasks.Done()
			c.serve(s, counted)
		}()
	}
	c.Close() // for go-libp2p's books
	e.log.Debug("disconnected", "peer", c.id, "remote", c.remote(), "cause", streamError(context.Cause(c.quic.Context())))
	e.disconnected(c)
}

// awaitPlace waits until another stream of the peer may be accepted, which
// takes a place until it has said what it is for: it reports whether one was
// taken. Only strangers wait.
func (c *conn) awaitPlace() bool {
	if !c.stranger() {
		return false
	}
	if wait := c.refusals.wait(); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.quic.Context().Done():
		}
	}
	select {
	case c.unnamed <- struct{}{}:
		return true
	case <-c.quic.Context().Done():
		return false
	}
}

// awaitTurn waits until one stream more of all strangers may be looked at.
func (c *conn) awaitTurn() bool {
	select {
	case c.endpoint.unnamed <- struct{}{}:
		return true
	case <-c.quic.Context().Done():
		return false
	}
}

// givePlace gives back what awaitPlace and awaitTurn took.
func (c *conn) givePlace() {
	<-c.endpoint.unnamed
	<-c.unnamed
}

// best returns the connection for new streams with a peer, or nil: direct
// before relayed, then the newest, since the peer may have dropped an older one
// already.
func (e *endpoint) best(id identity.RemoteIdentity) *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bestLocked(id)
}

func (e *endpoint) bestLocked(id identity.RemoteIdentity) (best *conn) {
	for c := range e.conns {
		if c.id != id || !c.usable || c.gone() {
			continue
		}
		relayed := c.Relayed()
		if best == nil {
			best = c
			continue
		}
		if than := best.Relayed(); than && !relayed || than == relayed && c.opened.After(best.opened) {
			best = c
		}
	}
	return best
}

// tellMetadata sends this node's metadata to every peer that has been told it
// before.
func (e *endpoint) tellMetadata() {
	e.mu.Lock()
	all := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		all = append(all, c)
	}
	e.mu.Unlock()
	for _, c := range all {
		c.tellMetadata(false)
	}
}

// quicOf returns quic-go's connection behind go-libp2p's.
func quicOf(c tpt.CapableConn) (q *quicgo.Conn) {
	c.As(&q)
	return q
}

// Streams that nobody serves cost something as well: a stranger may have so
// many a second, after some at once. Then new ones wait.
const (
	refusalPace  = 32
	refusalBurst = 256
)

// refusals are the streams of a stranger that were not served.
type refusals struct {
	mu   sync.Mutex
	pace pace
}

// add counts one more.
func (r *refusals) add() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pace = pace{r.pace.now(refusalPace) + 1, time.Now()}
}

// wait returns how long the next stream has to wait.
func (r *refusals) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(max(0, r.pace.now(refusalPace)-refusalBurst) / refusalPace * float64(time.Second))
}
