package p2p

import (
	"cmp"
	"container/list"
	"maps"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// table holds the peers that a node knows.
//
// A discovered peer stands in one of two queues while it is not connected. When
// the table is full, the peer that has stood longest is evicted: one that was
// never connected before one that was, so that a flood of forged announcements
// drives out only peers that nobody has talked to.
type table struct {
	max     int // ≤ 0: no limit
	newPeer func(identity.RemoteIdentity) *Peer

	known        map[identity.RemoteIdentity]*peerState // the available peers
	tracked      map[identity.RemoteIdentity]*tracked
	revoked      map[identity.RemoteIdentity]struct{}
	revokedStamp uint64    // of the last change of revoked
	trackedStamp uint64    // of the last change of the set of tracked peers
	unmet        list.List // of *peerState: may be evicted, never connected
	met          list.List // of *peerState: may be evicted, connected before
}

// peerState is the record of an available peer.
type peerState struct {
	peer        *Peer
	discoveries []*discovery // in the order in which their hooks were registered
	connections []*connection
	statements  []*statement

	metadata map[string]string // never modified, only replaced
	verified bool              // metadata is the peer's own, from a connection
	stamp    uint64            // of the last change of metadata or verified
	ways     uint64            // stamp of the last change of discoveries
	number   uint64            // stamp of when it became available
	changed  chan struct{}     // if not nil, closed when verified becomes true or the peer unavailable

	wasConnected bool
	queue        *list.List // unmet or met; nil if the peer is not to be evicted
	place        *list.Element
}

// A discovery is one hook's report of a peer.
type discovery struct {
	by         *registration
	metadata   map[string]string
	candidates []Candidate
	stamp      uint64 // of the last change of candidates
}

// A connection is a connection that a listener reported.
type connection struct {
	by   *registration
	conn RawConn
	path Path // as it was last reported

	sent, received uint64 // bytes that are booked
}

// A statement is the metadata that the peer itself sent over its connections
// with a listener.
type statement struct {
	by       *registration
	metadata map[string]string
}

// A tracked peer is one that hooks or the app keep in view even while it is
// unavailable.
type tracked struct {
	peer *Peer
	by   map[*registration]struct{} // nil: the app
}

// peer returns the one *Peer of an identity that is available or tracked.
func (t *table) peer(id identity.RemoteIdentity) (*Peer, bool) {
	if st := t.known[id]; st != nil {
		return st.peer, true
	}
	if tr := t.tracked[id]; tr != nil {
		return tr.peer, true
	}
	return nil, false
}

// inOrder returns the available peers in the order of becoming available.
func (t *table) inOrder() []*peerState {
	return slices.SortedFunc(maps.Values(t.known), func(a, b *peerState) int { return cmp.Compare(a.number, b.number) })
}

// stranger reports whether a peer is neither tracked nor behind a Manual
// candidate.
func (t *table) stranger(id identity.RemoteIdentity) bool {
	st := t.known[id]
	return t.tracked[id] == nil && (st == nil || !st.manual())
}

// full reports whether another peer fits only if one is evicted.
func (t *table) full() bool { return t.max > 0 && len(t.known) >= t.max }

// staying returns the number of peers that may not be evicted.
func (t *table) staying() int { return len(t.known) - t.unmet.Len() - t.met.Len() }

// evictee returns the peer that is to be evicted next. There must be one.
func (t *table) evictee() *peerState {
	first := t.unmet.Front()
	if first == nil {
		first = t.met.Front()
	}
	return first.Value.(*peerState)
}

// lineUp puts a peer into the eviction queue where it belongs. Peers that are
// connected, tracked, or behind a [Manual] candidate belong in none.
func (t *table) lineUp(st *peerState) {
	q := &t.unmet
	switch {
	case len(st.connections) > 0 || t.tracked[st.peer.id] != nil || st.manual():
		q = nil
	case st.wasConnected:
		q = &t.met
	}
	if q != st.queue {
		st.enqueue(q)
	}
}

// enqueue moves a peer to the end of an eviction queue, or out of the queues if
// q is nil.
func (st *peerState) enqueue(q *list.List) {
	if st.queue != nil {
		st.queue.Remove(st.place)
		st.place = nil
	}
	if st.queue = q; q != nil {
		st.place = q.PushBack(st)
	}
}

// manual reports whether the user gave an address of the peer.
func (st *peerState) manual() bool {
	for _, d := range st.discoveries {
		if slices.ContainsFunc(d.candidates, func(c Candidate) bool { return c.Kind == Manual }) {
			return true
		}
	}
	return false
}

func (st *peerState) connectedBy(by *registration) bool {
	return slices.ContainsFunc(st.connections, func(c *connection) bool { return c.by == by })
}

func (st *peerState) has(by *registration, conn RawConn) bool {
	return slices.ContainsFunc(st.connections, func(c *connection) bool { return c.by == by && c.conn == conn })
}

// discoveredBy returns the hook's discovery of the peer, and whether it is new.
func (st *peerState) discoveredBy(by *registration) (d *discovery, first bool) {
	i, found := slices.BinarySearchFunc(st.discoveries, by, func(d *discovery, by *registration) int { return d.by.number - by.number })
	if !found {
		st.discoveries = slices.Insert(st.discoveries, i, &discovery{by: by})
	}
	return st.discoveries[i], !found
}

// candidates merges the candidates of all discoveries. st may be nil.
func (st *peerState) candidates() (merged []Candidate) {
	if st == nil {
		return nil
	}
	for _, d := range st.discoveries {
		for _, c := range d.candidates {
			i := slices.IndexFunc(merged, c.sameWay)
			if i < 0 {
				i = len(merged)
				merged = append(merged, c)
				merged[i].Sources = nil
			}
			merged[i].Version = max(merged[i].Version, c.Version)
			if last := len(merged[i].Sources) - 1; last < 0 || merged[i].Sources[last] != d.by.name {
				merged[i].Sources = append(merged[i].Sources, d.by.name)
			}
		}
	}
	return merged
}

// refresh works out the peer's metadata again and reports whether it has
// changed. Statements outrank discoveries.
func (st *peerState) refresh() bool {
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
	st.metadata, st.verified = metadata, verified
	if verified && st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
	return true
}
