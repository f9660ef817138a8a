package tcp

import (
	"maps"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/metadata"
)

// A bond consists of all lanes with a peer. To the node it is the connection
// with the peer.
type bond struct {
	run    *run
	peer   identity.RemoteIdentity
	opened time.Time
	said   metadata.Heard

	// Under run.mu.
	lanes map[*lane]struct{}
	path  p2p.Path // of the first lane
	used  time.Time
	past  p2p.Bytes // of lanes that have ended
	end   string    // why the last one of those has

	again chan struct{} // of size 1: try the other listeners at once
}

// join adds a lane to its peer's bond.
func (r *run) join(l *lane) (*bond, error) {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return nil, p2p.ErrShuttingDown
	}
	if !l.path.Dialed { // many may have waited for their hellos
		if err := r.fits(l); err != nil {
			r.mu.Unlock()
			return nil, err
		}
	}
	b := r.bonds[l.peer]
	if b == nil {
		b = &bond{run: r, peer: l.peer, opened: time.Now(), lanes: map[*lane]struct{}{}, path: l.path, again: make(chan struct{}, 1)}
		b.said = metadata.Heard{Burst: 16, PerSecond: 4, State: func(m map[string]string) error { return r.scope.Stated(b.peer, m) }}
		r.bonds[l.peer] = b
	}
	b.lanes[l] = struct{}{}
	b.used = time.Now()
	if !r.tended {
		r.tended = true
		r.tasks.Go(r.tend)
	}
	r.mu.Unlock()
	if err := r.scope.Connected(l.peer, b); err != nil {
		return nil, err
	}
	return b, b.said.Say(l.hello.metadata)
}

// gone removes a lane that has ended.
func (r *run) gone(l *lane) {
	r.mu.Lock()
	b := r.bonds[l.peer]
	if b == nil {
		r.mu.Unlock()
		return
	}
	if _, ok := b.lanes[l]; ok {
		delete(b.lanes, l)
		b.used = time.Now()
		b.past.Sent += l.wire.written.Load()
		b.past.Received += l.wire.taken.Load()
		if why := l.why.Load(); why != nil {
			b.end = *why
		}
	}
	over := len(b.lanes) == 0
	if over {
		delete(r.bonds, l.peer)
	}
	r.mu.Unlock()
	if over {
		b.said.Stop()
		_ = r.scope.Disconnected(l.peer, b)
	}
}

// list returns the lanes.
func (b *bond) list() []*lane {
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	return slices.Collect(maps.Keys(b.lanes))
}

// kept returns a lane that keeps the peer connected, or nil.
func (b *bond) kept() *lane {
	for _, l := range b.list() {
		if l.hello.purpose == forPeer && !l.isOver() {
			return l
		}
	}
	return nil
}

// Path returns the path of the lane that is kept, or else of the first one.
func (b *bond) Path() p2p.Path {
	if l := b.kept(); l != nil {
		return l.path
	}
	return b.path
}

// RTT returns the round-trip time of a lane.
func (b *bond) RTT() (rtt time.Duration) {
	for _, l := range b.list() {
		if rtt = smoothedRTT(l.wire.TCPConn); rtt == 0 {
			rtt = l.rtt
		}
	}
	return rtt
}

// Opened returns when the first lane was made.
func (b *bond) Opened() time.Time { return b.opened }

// Close cuts all lanes.
func (b *bond) Close() error {
	for _, l := range b.list() {
		l.endedBy("closed")
		l.cut()
	}
	return nil
}

// tell sends the node's metadata to the peer, and once more if it changes
// meanwhile: for a peer that does not read, changes do not pile up.
func (b *bond) tell() {
	l, r := b.kept(), b.run
	if l == nil {
		return
	}
	r.mu.Lock()
	said := l.news > 0
	l.news = min(l.news+1, 2)
	r.mu.Unlock()
	if said {
		return
	}
	r.start(func() {
		for again := true; again; {
			if err := l.say(hello{forPeer, r.metadata()}); err != nil {
				l.cut() // the peer does not read, or the lane is lost
				return
			}
			r.mu.Lock()
			l.news--
			again = l.news > 0
			r.mu.Unlock()
		}
	})
}

// metadata returns the metadata to send to peers. It is complete, since only
// peers that the node knows have lanes.
func (r *run) metadata() map[string]string { return r.scope.Node().Metadata() }

// elsewhere reports whether any other listener is connected with a peer.
func (r *run) elsewhere(id identity.RemoteIdentity) bool { return len(r.others(id)) > 0 }

// others returns the connections with a peer that other listeners have.
func (r *run) others(id identity.RemoteIdentity) (all []p2p.RawConn) {
	for _, link := range r.scope.Links(id) {
		if link.Listener != r.listener.Name() {
			all = append(all, link.Conn)
		}
	}
	return all
}

// settle ends the lanes that this node keeps if the peer is connected without
// them.
func (b *bond) settle() {
	if !b.run.elsewhere(b.peer) {
		return
	}
	for _, l := range b.list() {
		if l.hello.purpose == forPeer && l.path.Dialed {
			l.Reset(p2p.ErrCanceled)
		}
	}
}

// hurry makes goBack try the other listeners at once.
func (b *bond) hurry() {
	select {
	case b.again <- struct{}{}:
	default:
	}
}

var _ p2p.MeasuredConn = (*bond)(nil)
