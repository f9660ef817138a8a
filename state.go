package p2p

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// state is guarded by P2P.mu. Its methods, and those of its parts, run under
// that lock; methods of P2P do not. They change the state and publish each
// change, and they neither block nor call out.
type state struct {
	self  metadata
	hooks registry
	peers table
	bus   bus

	stamps  uint64
	counts  counts
	traffic traffic
	notes   notes
	time    time.Time // of the present change
	timed   bool      // the clock has been read for it
}

// metadata is the node's own.
type metadata struct {
	entries map[string]string // never modified, only replaced
	stamp   uint64            // of the last change
}

// stamp returns a number greater than any before, to tell states apart.
func (s *state) stamp() uint64 {
	s.stamps++
	return s.stamps
}

// now returns the time of the present change. The clock is read once for all
// that want to know.
func (s *state) now() time.Time {
	if !s.timed {
		s.time, s.timed = time.Now(), true
	}
	return s.time
}

// admit returns the state of a peer, making it available if it is not.
func (s *state) admit(id identity.RemoteIdentity) *peerState {
	st := s.peers.known[id]
	if st == nil {
		peer, known := s.peers.peer(id)
		if !known {
			peer = s.peers.newPeer(id)
		}
		st = &peerState{peer: peer, stamp: s.stamp()}
		st.number = st.stamp
		s.peers.known[id] = st
		s.bus.publish(PeerAvailable{st.peer})
	}
	return st
}

// makeRoom evicts peers until another one fits. It fails, without evicting any,
// if that cannot be achieved.
func (s *state) makeRoom() error {
	if s.peers.max > 0 && s.peers.staying() >= s.peers.max {
		return ErrTableFull
	}
	for s.peers.full() {
		st := s.peers.evictee()
		for len(st.discoveries) > 0 {
			s.expired(st.discoveries[0].by, st)
		}
	}
	return nil
}

// settle updates a peer after a discovery or a connection was removed: without
// any of either it becomes unavailable.
func (s *state) settle(st *peerState) {
	if len(st.discoveries) > 0 || len(st.connections) > 0 {
		s.peers.lineUp(st)
		s.refresh(st, true)
		return
	}
	st.enqueue(nil)
	delete(s.peers.known, st.peer.id)
	if st.changed != nil {
		close(st.changed)
	}
	s.bus.publish(PeerUnavailable{st.peer})
}

// refresh recomputes the peer's metadata. If it has changed and publish is set,
// it publishes the change.
func (s *state) refresh(st *peerState, publish bool) {
	if !st.refresh() {
		return
	}
	st.stamp = s.stamp()
	if publish {
		s.bus.publish(PeerMetadataModified{st.peer})
	}
}

// discovered records a hook's report of a peer.
func (s *state) discovered(by *registration, id identity.RemoteIdentity, metadata map[string]string, candidates []Candidate) error {
	introduced := s.peers.known[id] == nil
	if introduced {
		if err := s.makeRoom(); err != nil {
			return err
		}
	}
	st := s.admit(id)
	st.peer.past.seen = s.now()
	d, changed := st.discoveredBy(by)
	if !slices.EqualFunc(d.candidates, candidates, Candidate.same) {
		d.candidates = candidates
		changed = true
	}
	s.peers.lineUp(st)
	d.metadata = metadata
	if changed {
		d.stamp = s.stamp()
		st.ways = d.stamp
		s.bus.publish(PeerDiscoveredBy{Peer: st.peer, Hook: by.name})
		s.note(&note{what: kindFound, peer: id, in: by.in})
	}
	s.refresh(st, !introduced) // a peer's first metadata is not a modification
	return nil
}

// expired removes a hook's report of a peer.
func (s *state) expired(by *registration, st *peerState) {
	i := slices.IndexFunc(st.discoveries, func(d *discovery) bool { return d.by == by })
	if i < 0 {
		return
	}
	st.discoveries = slices.Delete(st.discoveries, i, i+1)
	st.ways = s.stamp()
	s.bus.publish(PeerExpiredBy{Peer: st.peer, Hook: by.name})
	s.note(&note{what: kindLost, peer: st.peer.id, in: by.in})
	s.settle(st)
}

// connected records a connection.
func (s *state) connected(by *registration, id identity.RemoteIdentity, conn RawConn, path Path) {
	if s.peers.known[id] == nil {
		_ = s.makeRoom() // without room, the peer is admitted all the same
	}
	st := s.admit(id)
	if st.has(by, conn) {
		return
	}
	first := !st.connectedBy(by)
	st.connections = append(st.connections, &connection{by: by, conn: conn, path: path})
	st.wasConnected = true
	st.peer.past.failed = nil
	s.counts.add(count{countConnections, path.word()}, 1)
	s.note(&note{what: kindConnected, peer: id, in: &circumstances{hook: by.name, path: path}})
	s.peers.lineUp(st)
	if first {
		s.bus.publish(PeerConnectedWith{Peer: st.peer, Listener: by.name})
	}
}

// disconnected removes a connection, and, with a listener's last connection,
// the metadata that the peer stated.
func (s *state) disconnected(by *registration, st *peerState, conn RawConn, stats ConnStats) {
	i := slices.IndexFunc(st.connections, func(c *connection) bool { return c.by == by && c.conn == conn })
	if i < 0 {
		return
	}
	s.ended(st, st.connections[i], stats)
	st.connections = slices.Delete(st.connections, i, i+1)
	st.peer.past.seen = s.now()
	if !st.connectedBy(by) {
		s.bus.publish(PeerDisconnectedWith{Peer: st.peer, Listener: by.name})
		st.statements = slices.DeleteFunc(st.statements, func(s *statement) bool { return s.by == by })
	}
	s.settle(st)
}

// stated records the metadata that a connected peer sent.
func (s *state) stated(by *registration, st *peerState, metadata map[string]string) {
	i := slices.IndexFunc(st.statements, func(s *statement) bool { return s.by == by })
	if i < 0 {
		i = len(st.statements)
		st.statements = append(st.statements, &statement{by: by})
	}
	st.statements[i].metadata = metadata
	s.refresh(st, true)
}

// withdraw removes everything a hook reported, beginning with the peers known
// longest, so that they come first in the eviction queues too.
func (s *state) withdraw(by *registration) {
	for _, st := range s.peers.inOrder() {
		s.expired(by, st)
		for {
			i := slices.IndexFunc(st.connections, func(c *connection) bool { return c.by == by })
			if i < 0 {
				break
			}
			s.disconnected(by, st, st.connections[i].conn, ConnStats{End: "shutting down"})
		}
	}
	for id := range s.peers.tracked {
		s.untrack(by, id)
	}
	for len(by.addrs) > 0 {
		s.removeAddr(by, by.addrs[len(by.addrs)-1])
	}
}

// track keeps a peer in view for a hook, or the app if by is nil, and returns
// the peer.
func (s *state) track(by *registration, id identity.RemoteIdentity) *Peer {
	t := s.peers.tracked[id]
	if t == nil {
		peer, known := s.peers.peer(id)
		if !known {
			peer = s.peers.newPeer(id)
		}
		t = &tracked{peer: peer, by: map[*registration]struct{}{}}
		s.peers.tracked[id] = t
		s.trackedModified()
	}
	t.by[by] = struct{}{}
	if st := s.peers.known[id]; st != nil {
		s.peers.lineUp(st)
	}
	return t.peer
}

func (s *state) trackedModified() {
	s.peers.trackedStamp = s.stamp()
	s.bus.publish(TrackedModified{})
}

// untrack undoes track.
func (s *state) untrack(by *registration, id identity.RemoteIdentity) {
	t := s.peers.tracked[id]
	if t == nil {
		return
	}
	delete(t.by, by)
	if len(t.by) > 0 {
		return
	}
	delete(s.peers.tracked, id)
	s.trackedModified()
	if st := s.peers.known[id]; st != nil {
		s.peers.lineUp(st)
	}
}

// dialFailed records a failed dial of p, unless p is connected by now.
func (s *state) dialFailed(p *Peer, failed *DialError, canceled bool) {
	if now, ok := s.peers.peer(p.id); ok {
		p = now
	}
	if st := s.peers.known[p.id]; !canceled && (st == nil || len(st.connections) == 0) {
		p.past.failed = failed
	}
	for _, a := range failed.Attempts {
		s.counts.add(count{countAttempts, causeOf(a.Err)}, 1)
	}
	s.counts.add(count{countDials, failed.Cause()}, 1)
	p.past.tried, p.past.triedAt = failed, s.now()
	s.note(&note{what: kindDialFailed, peer: p.id, in: &circumstances{cause: failed}})
}

// revoke records a revocation and returns the connections to be closed.
func (s *state) revoke(id identity.RemoteIdentity) (open []RawConn) {
	if _, already := s.peers.revoked[id]; !already {
		s.peers.revoked[id] = struct{}{}
		s.peers.revokedStamp = s.stamp()
		s.bus.publish(RevocationsModified{})
		s.note(&note{what: kindRevoked, peer: id})
	}
	if st := s.peers.known[id]; st != nil {
		for _, c := range st.connections {
			open = append(open, c.conn)
		}
	}
	return open
}

// reinstate undoes revoke.
func (s *state) reinstate(id identity.RemoteIdentity) {
	if _, revoked := s.peers.revoked[id]; revoked {
		delete(s.peers.revoked, id)
		s.peers.revokedStamp = s.stamp()
		s.bus.publish(RevocationsModified{})
		s.note(&note{what: kindReinstated, peer: id})
	}
}

func (s *state) addAddr(r *registration, addr netip.AddrPort) {
	if !slices.Contains(r.addrs, addr) {
		r.addrs = append(r.addrs, addr)
		s.bus.publish(ListenerAddrAdded{Listener: r.name, Addr: addr})
	}
}

func (s *state) removeAddr(r *registration, addr netip.AddrPort) {
	if i := slices.Index(r.addrs, addr); i >= 0 {
		r.addrs = slices.Delete(r.addrs, i, i+1)
		s.bus.publish(ListenerAddrRemoved{Listener: r.name, Addr: addr})
	}
}

// plan returns the listeners to dial a peer with, or an error that says why
// dialing is pointless. The listeners that are connected with the peer are to
// be tried before the others; both are in the order of their registration.
func (s *state) plan(id identity.RemoteIdentity, candidates bool) (connected, others []Listener, err error) {
	if s.hooks.closing {
		return nil, nil, ErrClosed
	}
	if _, revoked := s.peers.revoked[id]; revoked {
		return nil, nil, &DialError{Peer: id, Err: ErrRevoked}
	}
	st := s.peers.known[id]
	for _, r := range s.hooks.running {
		if r.listener == nil {
			continue
		}
		if st != nil && st.connectedBy(r) {
			connected = append(connected, r.listener)
		} else {
			others = append(others, r.listener)
		}
	}
	if len(connected)+len(others) == 0 {
		return nil, nil, &DialError{Peer: id, Err: ErrNoListener}
	}
	if len(connected) == 0 && !candidates {
		return nil, nil, &DialError{Peer: id, Err: ErrNoCandidate}
	}
	return connected, others, nil
}
