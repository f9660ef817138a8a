package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// accept accepts connections until the socket is closed.
func (r *run) accept(s *net.TCPListener) {
	for {
		c, err := s.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, for instance
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-r.ending:
				return
			}
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		if !r.shows(from.Addr()) {
			c.Close()
			continue
		}
		e, ok := r.door.enter(c, from.Addr())
		if !ok || !r.start(func() { r.take(c, from, e) }) {
			c.Close()
		}
	}
}

// handshakeWindow limits the bytes that a peer can send before it has proved
// its identity.
const handshakeWindow = 256 << 10

// maxWindow lifts that limit, which leaves only the system's own.
const maxWindow = 1 << 30

// take makes a lane from a connection that a peer has dialed, and serves it.
func (r *run) take(c *net.TCPConn, from netip.AddrPort, e *entry) {
	defer r.door.leave(e)
	c.SetDeadline(time.Now().Add(handshakeTime))
	setWindow(c, handshakeWindow)
	w := &wire{TCPConn: c}
	t, id, err := r.keeper.server(r.ctx, w)
	if err != nil {
		c.Close()
		r.log.Debug("no lane", "path", from, "cause", err)
		return
	}
	l := r.open(w, t, id, p2p.Path{Kind: p2p.Direct, Remote: unmapped(from)})
	if err := r.welcome(l); err != nil {
		r.log.Debug("lane refused", "peer", id, "path", from, "cause", err)
		l.turnAway(err)
		return
	}
	r.door.leave(e)
	r.serve(l)
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// open makes a lane from a secure connection, and tunes the connection for
// speed.
func (r *run) open(w *wire, t *tls.Conn, id identity.RemoteIdentity, path p2p.Path) *lane {
	w.buffer()
	tune(w.TCPConn, path.Remote.Addr(), r.listener.cfg.patience)
	w.SetDeadline(time.Now().Add(firstFrame))
	return newLane(r, w, t, id, path)
}

// tune sets the options of a connection.
func tune(c *net.TCPConn, remote netip.Addr, patience time.Duration) {
	c.SetNoDelay(true)
	setUserTimeout(c, patience)
	setWindow(c, maxWindow)
	if !near(remote) {
		setFar(c)
	}
}

var (
	errStranger = fmt.Errorf("tcp: a peer that this node does not know: %w", p2p.ErrRefused)
	errFull     = fmt.Errorf("tcp: too many lanes: %w", p2p.ErrBusy)
)

// welcome decides whether to accept a lane that a peer has dialed, and adds it
// to the peer's.
func (r *run) welcome(l *lane) error {
	if err := r.room(l); err != nil {
		return err
	}
	if err := r.permit(l); err != nil {
		return err
	}
	h, err := l.hear()
	if err != nil {
		return err
	}
	l.hello = h
	if _, err := r.join(l); err != nil {
		return err
	}
	return l.say(hello{h.purpose, r.metadata()})
}

// turnAway refuses a lane with the code for err.
func (l *lane) turnAway(err error) {
	code := p2p.ErrRefused
	errors.As(err, &code)
	if l.sealReset(code) == nil {
		l.wire.flush()
	}
	l.cut()
}

// known reports whether a peer may have lanes because the node tracks it or has
// dialed it.
func (r *run) known(id identity.RemoteIdentity) bool {
	if !r.scope.Stranger(id) {
		return true
	}
	for _, c := range r.others(id) {
		if c.Path().Dialed {
			return true
		}
	}
	b := r.bond(id)
	if b == nil {
		return false
	}
	for _, l := range b.list() {
		if l.path.Dialed {
			return true
		}
	}
	return false
}

// room reports whether there is room for a lane that a peer has dialed.
func (r *run) room(l *lane) error {
	l.stranger = !r.known(l.peer)
	if l.stranger && !r.listener.expects() {
		return errStranger
	}
	var known []*bond // by now
	for _, b := range r.all() {
		if l.stranger && !r.scope.Stranger(b.peer) {
			known = append(known, b)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range known {
		for o := range b.lanes {
			o.stranger = false
		}
	}
	return r.fits(l)
}

// fits compares the lanes that peers have dialed with the limits. The caller
// holds mu.
func (r *run) fits(l *lane) error {
	of, all, strangers := 0, 0, 0
	for _, b := range r.bonds {
		for o := range b.lanes {
			switch {
			case o.path.Dialed:
				continue
			case o.stranger:
				strangers++
			}
			if all++; b.peer == l.peer {
				of++
			}
		}
	}
	if full(of, r.limits.LanesPerPeer) || full(all, r.limits.Lanes) || l.stranger && full(strangers, r.limits.Expected) {
		return errFull
	}
	return nil
}

// A question is a call of [p2p.P2P.Allows] about a peer.
type question struct {
	answered chan struct{}
	err      error // readable once answered
}

// permit asks the node about a peer that has no lanes, once for all lanes that
// it dials meanwhile.
func (r *run) permit(l *lane) error {
	r.mu.Lock()
	if r.bonds[l.peer] != nil {
		r.mu.Unlock()
		return nil
	}
	q := r.asked[l.peer]
	if q != nil {
		r.mu.Unlock()
		<-q.answered // takes at most 2 s
		return q.err
	}
	q = &question{answered: make(chan struct{})}
	r.asked[l.peer] = q
	r.mu.Unlock()
	q.err = r.scope.Node().Allows(r.ctx, p2p.Request{Action: p2p.Connect, Peer: l.peer, Path: l.path})
	r.mu.Lock()
	delete(r.asked, l.peer)
	r.mu.Unlock()
	close(q.answered)
	return q.err
}

// serve serves a lane that a peer has dialed, to its end.
func (r *run) serve(l *lane) {
	l.wire.SetDeadline(time.Time{})
	if l.hello.purpose == forPeer {
		r.keep(l)
		return
	}
	accepted := false
	l.pump(func() {
		accepted = true
		r.scope.Accept(l.peer, l)
	})
	if !accepted {
		l.cut()
	}
}

// keep reads a peer's messages on a lane that is kept, to its end.
func (r *run) keep(l *lane) {
	defer close(l.read)
	defer l.cut()
	b := r.bond(l.peer)
	for b != nil {
		k, size, err := l.header()
		switch {
		case err != nil:
			return
		case k == frameNone:
		case k == frameHello:
			h, err := l.readHello(size)
			if err != nil || b.said.Say(h.metadata) != nil {
				return
			}
		default:
			return
		}
	}
}

// within returns a context for a dial that also ends with the run.
func (r *run) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
