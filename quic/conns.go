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
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/labels"
)

// errUnwanted is the error of a connection that was not admitted.
var errUnwanted = errors.New("quic: the connection is not wanted")

// accept accepts the connections that peers dial until the endpoint closes. It
// must not wait for any of them, since go-libp2p queues 16 and closes the rest.
func (e *endpoint) accept() {
	for {
		c, err := e.inbound.Accept()
		if err != nil {
			return
		}
		take := func() { _, _ = e.connected(c, p2p.Path{Kind: p2p.Direct}) }
		if e.veil != nil && !carrier.IsVirtual(addrPort(c.RemoteMultiaddr()).Addr()) {
			take = func() { e.listener.hides().receive(e, c) }
		}
		if !e.start(take) {
			c.CloseWithError(network.ConnShutdown)
		}
	}
}

// connected takes over a connection after its handshake: it reports the
// connection, and serves its streams until it is gone. path has the fields that
// are known without the connection. The error says why the connection was
// closed instead.
func (e *endpoint) connected(tc tpt.CapableConn, path p2p.Path) (*conn, error) {
	id, err := e.identityOf(tc)
	if err != nil {
		tc.CloseWithError(network.ConnGated) // a key of another kind, or an unsafe one
		return nil, err
	}
	if id == e.scope.Node().Identity() { // it only asks who is here
		tc.CloseWithError(network.ConnGated)
		return nil, p2p.ErrSelf
	}
	path.Remote = addrPort(tc.RemoteMultiaddr())
	if err := e.admitLane(path.Remote, id); err != nil {
		tc.CloseWithError(network.ConnGated)
		return nil, err
	}
	c := newConn(e, tc, id, path)
	if err = e.add(c); err == nil && !c.welcome() {
		err = errStranger // it stopped being a contact just now
	}
	if err == nil {
		err = e.report(c)
	}
	if err != nil {
		e.disconnected(c)
		code := network.ConnGated
		if errors.Is(err, p2p.ErrBusy) {
			code = network.ConnResourceLimitExceeded
		}
		tc.CloseWithError(code)
		e.log.Debug("connection refused", "peer", id, "path", path, "cause", err)
		return nil, err
	}
	return c, nil
}

// identityOf returns the identity at the other end of a connection. On a
// connection between masks, that is the contact that has proved its identity,
// and nobody before.
func (e *endpoint) identityOf(tc tpt.CapableConn) (identity.RemoteIdentity, error) {
	if p, ok := tc.(proven); ok {
		return p.id, nil
	}
	if e.veil != nil && !carrier.IsVirtual(addrPort(tc.RemoteMultiaddr()).Addr()) {
		return identity.RemoteIdentity{}, errStranger
	}
	return remoteIdentity(tc.RemotePeer())
}

// greet records whether the peer is a stranger. One that is not learns more,
// and takes its memory from another budget.
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
	if !c.endpoint.scope.Stranger(c.id) { // and is not only dialed
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

// familiar returns the address at which to expect the peer next time. If it is
// the peer that moves the connection, that is the address at which the
// connection was made, since any host on the way can later make it run over an
// address of its own.
func (c *conn) familiar() netip.Addr {
	if c.mover == nil {
		return c.path.Remote.Addr()
	}
	return c.remote().Addr()
}

// reckon determines again which peers are strangers.
func (e *endpoint) reckon() {
	e.mu.Lock()
	all := slices.Collect(maps.Keys(e.conns))
	e.mu.Unlock()
	for _, c := range all {
		c.greet()
	}
}

// add records a connection if there is room for it.
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
		goes.goes = true // so that the next call finds another
		e.tasks.Go(func() { goes.close(network.ConnResourceLimitExceeded) })
	}
	e.conns[c] = struct{}{}
	if e.network != nil {
		e.network.Attend(true)
	}
	return nil
}

// report reports a connection to the node, and begins to serve it if the node
// accepts it.
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
	e.opened(c)
	c.greet()
	c.Look()
	c.begin()
	if a := e.listener.routed(); a != nil && c.Relayed() {
		a.connected(c)
	}
	return nil
}

// admitted reports a connection to the node. The connection is usable as soon
// as anybody can know of it.
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

// disconnected removes a connection. Calls after the first have no effect.
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
	signal(e.fewer)
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

// serve accepts the streams that the peer opens, and returns when the
// connection is gone.
func (e *endpoint) serve(c *conn) {
	labels.With(c.ctx, e.listener.Name(), c.id, "")
	for {
		counted := c.awaitPlace()
		s, err := c.quic.AcceptStream(context.Background())
		if err != nil || counted && !c.awaitTurn() {
			break // together with everything that counts its streams
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
	c.Close() // for go-libp2p's accounting
	e.disconnected(c)
}

// awaitPlace waits until another stream of the peer may be accepted. The stream
// takes a place until it has named its protocol; awaitPlace reports whether it
// took one. Only strangers wait.
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

// awaitTurn waits until one more stream of all strangers may be opened.
func (c *conn) awaitTurn() bool {
	select {
	case c.endpoint.unnamed <- struct{}{}:
		return true
	case <-c.quic.Context().Done():
		return false
	}
}

// givePlace gives back the places that awaitPlace and awaitTurn took.
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

// tellMetadata sends this node's metadata to every peer that has received it
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

// Limits of a stranger's streams that nobody serves, since they cost something
// too: at once, and per second after that. Beyond them new streams wait.
const (
	refusalPace  = 32
	refusalBurst = 256
)

// refusals counts the streams of a stranger that were not served.
type refusals struct {
	mu   sync.Mutex
	pace pace
}

// add counts a stream.
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
