package p2p

import (
	"container/list"
	"errors"
	"maps"
	"slices"
	"sort"

	"github.com/sdp2p/p2p/identity"
)

// ErrTableFull is returned to a hook that discovers another peer when [Config.MaxPeers] are known and all of them are
// connected or tracked, or were given an address by the user.
var ErrTableFull = errors.New("p2p: the peer table is full")

// The peer table. Everything in this file is called with n.mu held, changes the state, and publishes what it changed.
//
// A peer that a discovery found stands in one of two queues while it is not connected, in which the longest-standing one
// is first to be evicted when the table is full: strangers, which have never been connected, leave before acquaintances,
// so that a flood of forged announcements drives out only peers that nobody has talked to.

// stamp returns a number that is greater than any before it, to tell states apart.
func (n *P2P) stamp() uint64 {
	n.stamps++
	return n.stamps
}

// admit returns the state of a peer, making it available if it is not.
func (n *P2P) admit(id identity.RemoteIdentity) *peerState {
	st := n.peers[id]
	if st == nil {
		st = &peerState{peer: &Peer{node: n, id: id}, stamp: n.stamp()}
		st.number = st.stamp
		if t := n.tracked[id]; t != nil {
			st.peer = t.peer
		}
		n.peers[id] = st
		n.publish(PeerAvailable{st.peer})
	}
	return st
}

// enqueue puts a peer at the end of an eviction queue, or of none.
func (st *peerState) enqueue(q *list.List) {
	if st.queue != nil {
		st.queue.Remove(st.place)
		st.place = nil
	}
	if st.queue = q; q != nil {
		st.place = q.PushBack(st)
	}
}

// lineUp puts a peer into the eviction queue where it belongs. Connected peers are in none, nor are those that are tracked
// or that the user gave an address of.
func (n *P2P) lineUp(st *peerState) {
	q := &n.strangers
	switch {
	case len(st.connections) > 0 || n.tracked[st.peer.id] != nil || st.manual():
		q = nil
	case st.met:
		q = &n.acquaintances
	}
	if q != st.queue {
		st.enqueue(q)
	}
}

func (st *peerState) manual() bool {
	for _, d := range st.discoveries {
		if slices.ContainsFunc(d.candidates, func(c Candidate) bool { return c.Kind == Manual }) {
			return true
		}
	}
	return false
}

// settle draws the consequences of something that was taken away: the peer becomes unavailable once nobody discovers
// it and no connection is left; otherwise its metadata may have changed.
func (n *P2P) settle(st *peerState) {
	if len(st.discoveries) > 0 || len(st.connections) > 0 {
		n.lineUp(st)
		if n.refresh(st) {
			n.publish(PeerMetadataModified{st.peer})
		}
		return
	}
	st.enqueue(nil)
	delete(n.peers, st.peer.id)
	if st.changed != nil {
		close(st.changed)
	}
	n.publish(PeerUnavailable{st.peer})
}

// makeRoom evicts peers until another one fits, or nobody if it never would.
func (n *P2P) makeRoom() error {
	if staying := len(n.peers) - n.strangers.Len() - n.acquaintances.Len(); n.maxPeers > 0 && staying >= n.maxPeers {
		return ErrTableFull
	}
	for n.maxPeers > 0 && len(n.peers) >= n.maxPeers {
		first := n.strangers.Front()
		if first == nil {
			first = n.acquaintances.Front()
		}
		st := first.Value.(*peerState)
		for len(st.discoveries) > 0 {
			n.expired(st.discoveries[0].by, st)
		}
	}
	return nil
}

// discovered books what a hook reported of a peer.
func (n *P2P) discovered(by *registration, id identity.RemoteIdentity, metadata map[string]string, candidates []Candidate) error {
	if n.peers[id] == nil {
		if err := n.makeRoom(); err != nil {
			return err
		}
	}
	introduced := n.peers[id] == nil
	st := n.admit(id)
	var d *discovery
	for _, other := range st.discoveries {
		if other.by == by {
			d = other
		}
	}
	changed := d == nil
	if d == nil {
		d = &discovery{by: by}
		i, _ := slices.BinarySearchFunc(st.discoveries, by, func(d *discovery, by *registration) int { return d.by.number - by.number })
		st.discoveries = slices.Insert(st.discoveries, i, d)
	}
	if !slices.EqualFunc(d.candidates, candidates, Candidate.same) {
		d.candidates = candidates
		changed = true
	}
	n.lineUp(st)
	d.metadata = metadata
	if changed {
		d.stamp = n.stamp()
		st.ways = d.stamp
		n.publish(PeerDiscoveredBy{Peer: st.peer, Hook: by.name})
	}
	if n.refresh(st) && !introduced { // what a peer is introduced with is no modification
		n.publish(PeerMetadataModified{st.peer})
	}
	return nil
}

// expired takes away what a hook reported of a peer.
func (n *P2P) expired(by *registration, st *peerState) {
	i := slices.IndexFunc(st.discoveries, func(d *discovery) bool { return d.by == by })
	if i < 0 {
		return
	}
	st.discoveries = slices.Delete(st.discoveries, i, i+1)
	st.ways = n.stamp()
	n.publish(PeerExpiredBy{Peer: st.peer, Hook: by.name})
	n.settle(st)
}

// connected books a connection.
func (n *P2P) connected(by *registration, id identity.RemoteIdentity, conn RawConn) {
	if n.peers[id] == nil {
		n.makeRoom() // where there is none, the peer is known all the same
	}
	st := n.admit(id)
	if slices.ContainsFunc(st.connections, func(c *connection) bool { return c.by == by && c.conn == conn }) {
		return
	}
	first := !st.connectedBy(by)
	st.connections = append(st.connections, &connection{by: by, conn: conn})
	st.met = true
	n.lineUp(st)
	if first {
		n.publish(PeerConnectedWith{Peer: st.peer, Listener: by.name})
	}
}

func (st *peerState) connectedBy(by *registration) bool {
	return slices.ContainsFunc(st.connections, func(c *connection) bool { return c.by == by })
}

// disconnected takes a connection away, and with a listener's last one what the peer said over it.
func (n *P2P) disconnected(by *registration, st *peerState, conn RawConn) {
	i := slices.IndexFunc(st.connections, func(c *connection) bool { return c.by == by && c.conn == conn })
	if i < 0 {
		return
	}
	st.connections = slices.Delete(st.connections, i, i+1)
	if !st.connectedBy(by) {
		n.publish(PeerDisconnectedWith{Peer: st.peer, Listener: by.name})
		st.statements = slices.DeleteFunc(st.statements, func(s *statement) bool { return s.by == by })
	}
	n.settle(st)
}

// stated books the metadata that a connected peer sent.
func (n *P2P) stated(by *registration, st *peerState, metadata map[string]string) {
	i := slices.IndexFunc(st.statements, func(s *statement) bool { return s.by == by })
	if i < 0 {
		i = len(st.statements)
		st.statements = append(st.statements, &statement{by: by})
	}
	st.statements[i].metadata = metadata
	if n.refresh(st) {
		n.publish(PeerMetadataModified{st.peer})
	}
}

// refresh works out the peer's metadata again and reports whether it has changed. What came over a connection outranks
// what discoveries said.
func (n *P2P) refresh(st *peerState) bool {
	var sources []map[string]string
	verified := len(st.statements) > 0
	if verified {
		for _, s := range st.statements {
			sources = append(sources, s.metadata)
		}
	} else {
		for _, d := range st.discoveries {
			sources = append(sources, d.metadata)
		}
	}
	metadata := mergeMetadata(sources)
	if verified == st.verified && maps.Equal(metadata, st.metadata) {
		return false
	}
	st.metadata, st.verified, st.stamp = metadata, verified, n.stamp()
	if verified && st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
	return true
}

// withdraw takes away all that a hook reported, of the peers that are known longest first: in that order they may be evicted
// from now on.
func (n *P2P) withdraw(by *registration) {
	all := slices.Collect(maps.Values(n.peers))
	sort.Slice(all, func(i, j int) bool { return all[i].number < all[j].number })
	for _, st := range all {
		n.expired(by, st)
		for {
			i := slices.IndexFunc(st.connections, func(c *connection) bool { return c.by == by })
			if i < 0 {
				break
			}
			n.disconnected(by, st, st.connections[i].conn)
		}
	}
	for id := range n.tracked {
		n.untrack(by, id)
	}
	for len(by.addrs) > 0 {
		n.removeAddr(by, by.addrs[len(by.addrs)-1])
	}
}
