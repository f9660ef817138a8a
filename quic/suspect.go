package quic

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
)

// A restarted peer announces itself again while its old connections still exist
// at this node, where they only look silent, for 13 s. If an announcement does
// not include the address that a connection leads to, the connection is
// suspect. The node asks for a sign of life on it, and if none comes, dials the
// peer at its new address. It gives up the connection early only if the new
// address has proved the same identity and the connection has stayed silent:
// announcements can be forged, and a peer that also answers elsewhere need not
// have lost the connection.
const (
	signTime  = 200 * time.Millisecond // wait for a sign of life before the peer is dialed
	deadTime  = 750 * time.Millisecond // from the question until a silent connection is given up
	probeWait = 2 * time.Second        // from one check of a peer to the next, doubling while they fail
	probeMost = time.Minute
)

// A suspicion is a running check of the connections with a peer.
type suspicion struct {
	via     []p2p.Candidate // where the peer is announced
	running bool
	again   bool          // another announcement has arrived since
	known   chan struct{} // closed when it is clear which connection to use
	wait    backoff.Backoff
}

// announced checks the connections with a peer after a new announcement.
func (e *endpoint) announced(peer *p2p.Peer) {
	id := peer.Identity()
	if e.best(id) == nil {
		return
	}
	var via []p2p.Candidate
	for _, c := range peer.Info().Candidates {
		ours := len(c.Sources) == 1 && c.Sources[0] == e.listener.Name() // from a connection
		if !ours && c.Kind != p2p.Relay && e.dialable(c) == nil {
			via = append(via, c)
		}
	}
	if len(via) == 0 {
		return
	}
	if a := e.listener.routed(); a != nil && e.veil == nil {
		e.start(func() { a.shorten(e, id, via) })
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing || len(e.elsewhere(id, via)) == 0 {
		return
	}
	s := e.suspicions[id]
	if s == nil {
		s = &suspicion{wait: backoff.Backoff{Min: probeWait, Max: probeMost}}
		e.suspicions[id] = s
	}
	s.via = via
	if s.running {
		s.again = true
		return
	}
	s.running, s.known = true, make(chan struct{})
	e.tasks.Go(func() { e.find(id, s) })
}

// elsewhere returns the connections with a peer that do not lead to an
// announced address. A node has one port: if another one is announced besides
// that of a connection, the latter may come from a cache. The caller holds mu.
func (e *endpoint) elsewhere(id identity.RemoteIdentity, via []p2p.Candidate) (all []*conn) {
	for c := range e.conns {
		if c.id != id || !c.usable || c.gone() || c.Relayed() {
			continue
		}
		there := func(v p2p.Candidate) bool { return unmap(v.Addr) == c.remote() }
		otherPort := func(v p2p.Candidate) bool { return v.Addr.Port() != c.remote().Port() }
		if !slices.ContainsFunc(via, there) || slices.ContainsFunc(via, otherPort) {
			all = append(all, c)
		}
	}
	return all
}

// find checks which connections with a peer are alive, and again after further
// announcements, but not more often than the suspicion's wait allows.
func (e *endpoint) find(id identity.RemoteIdentity, s *suspicion) {
	for {
		e.mu.Lock()
		via, known := s.via, s.known
		suspects := e.elsewhere(id, via)
		e.mu.Unlock()
		clear := sync.OnceFunc(func() { close(known) })
		if !slices.ContainsFunc(suspects, (*conn).canAnswer) {
			clear() // waiting would be pointless
		}
		hold := time.AfterFunc(deadTime, clear)
		proved := e.check(id, via, suspects)
		hold.Stop()
		clear()
		if proved {
			s.wait.Reset()
		}
		timer := time.NewTimer(s.wait.Next())
		select {
		case <-timer.C:
		case <-e.ctx.Done():
			timer.Stop()
			return
		}
		e.mu.Lock()
		if !s.again || e.closing || len(e.elsewhere(id, s.via)) == 0 {
			s.running = false
			if e.bestLocked(id) == nil {
				delete(e.suspicions, id)
			}
			e.mu.Unlock()
			return
		}
		s.again, s.known = false, make(chan struct{})
		e.mu.Unlock()
	}
}

// check reports whether the suspects are alive or the peer answers at an
// announced address; in the latter case it gives up the suspects that have
// stayed silent.
func (e *endpoint) check(id identity.RemoteIdentity, via []p2p.Candidate, suspects []*conn) bool {
	asked := time.Now()
	for _, c := range suspects {
		c.askForSign()
	}
	if e.signs(suspects, asked.Add(e.patient(signTime))) {
		return true
	}
	e.log.Debug("connections are silent, and the peer was announced elsewhere: dialing", "peer", id)
	var elsewhere []p2p.Candidate
	for _, v := range via {
		if !slices.ContainsFunc(suspects, func(c *conn) bool { return c.remote() == unmap(v.Addr) }) {
			elsewhere = append(elsewhere, v)
		}
	}
	found, alive := e.probe(id, elsewhere, suspects)
	if found == nil {
		return alive
	}
	e.start(func() { e.tellOver(found, suspects) })
	e.start(func() {
		for _, c := range suspects {
			if c.moves() && c.remote().Addr() != found.remote().Addr() {
				c.mover.proved(found.remote())
				ctx, cancel := context.WithTimeout(e.ctx, moveTime)
				if err := c.move(ctx, found.remote()); err != nil { // it may have been restarted
					e.log.Debug("not moved", "peer", c.id, "to", found.remote(), "cause", err)
				}
				cancel()
			}
			e.giveUp(c, found, asked.Add(deadTime))
		}
	})
	return true
}

// giveUp closes a connection that stays silent until the time until, although
// the peer answers on another one. A node has one port: if the peer answers at
// another port of the same host, it was restarted, and giveUp does not wait.
func (e *endpoint) giveUp(c, found *conn, until time.Time) {
	if c.remote().Addr() == found.remote().Addr() {
		until = time.Now()
	}
	silent := func() bool { return !e.signs([]*conn{c}, until) }
	if !c.canAnswer() {
		silent = func() bool { return c.silent(e.ctx) }
	}
	if silent() && !c.gone() {
		e.log.Debug("a connection is given up: the peer answers elsewhere, and on it no more", "peer", c.id, "path", c.Path())
		c.Close()
	}
}

// patient returns how long to wait for an immediate answer: d, unless a test
// has more patience.
func (e *endpoint) patient(d time.Duration) time.Duration { return d + e.listener.cfg.slack }

// signs waits for a sign of life of one of the connections.
func (e *endpoint) signs(of []*conn, until time.Time) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if slices.ContainsFunc(of, (*conn).heard) {
			return true
		}
		if !time.Now().Before(until) || e.ctx.Err() != nil || !slices.ContainsFunc(of, func(c *conn) bool { return !c.gone() }) {
			return false
		}
		<-tick.C
	}
}

// probe dials a peer that is connected already, until one of the suspects
// proves alive.
func (e *endpoint) probe(id identity.RemoteIdentity, via []p2p.Candidate, suspects []*conn) (found *conn, alive bool) {
	if len(via) == 0 {
		return nil, false // a race without tries would not end
	}
	r, err := e.enter(id, via)
	if err != nil {
		return nil, false
	}
	defer r.leave()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.over:
			return r.conn, false
		case <-tick.C:
			if slices.ContainsFunc(suspects, (*conn).heard) {
				return nil, true
			}
		case <-e.ctx.Done():
			return nil, false
		}
	}
}

// clear waits until it is known which of a peer's connections to use.
func (e *endpoint) clear(ctx context.Context, id identity.RemoteIdentity) {
	e.mu.Lock()
	var known chan struct{}
	if s := e.suspicions[id]; s != nil && s.running {
		known = s.known
	}
	e.mu.Unlock()
	if known == nil {
		return
	}
	select {
	case <-known:
	case <-ctx.Done():
	}
}

// askForSign sends something that the peer has to acknowledge: this node's
// metadata once more, or the question for that stream if the peer has not
// answered it yet.
func (c *conn) askForSign() {
	c.received.Store(c.quic.ConnectionStats().PacketsReceived)
	c.tellMetadata(true)
}

// heard reports whether anything has arrived since.
func (c *conn) heard() bool { return c.quic.ConnectionStats().PacketsReceived > c.received.Load() }

// canAnswer reports whether the peer can be asked for a sign of life. A version
// 1 peer cannot: see [conn.silent].
func (c *conn) canAnswer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version != 1
}
