package p2p

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// A view is the part of the state that a watcher has been told of. Its stamps
// tell versions of the contents apart.
type view struct {
	state     *state // to be read under P2P.mu
	metadata  uint64
	revoked   uint64
	tracked   uint64
	listeners []*listenerView
	stopped   []stoppedHook
	peers     map[*Peer]*peerView
}

type listenerView struct {
	name  string
	addrs []netip.AddrPort
}

type peerView struct {
	number       uint64 // orders peers by when they became available
	metadata     uint64
	ways         uint64 // of discoveries, as the watcher could read them when it was last told of the peer
	discoveredBy []discoveryView
	connected    []string // by listeners
}

type discoveryView struct {
	hook  string
	stamp uint64 // 0: it has expired since
}

func newView(s *state) *view { return &view{state: s, peers: map[*Peer]*peerView{}} }

// look returns a view of the present state.
func (s *state) look() *view {
	v := newView(s)
	v.metadata, v.revoked, v.tracked = s.self.stamp, s.peers.revokedStamp, s.peers.trackedStamp
	for _, r := range s.hooks.running {
		if r.listener != nil {
			v.listeners = append(v.listeners, &listenerView{r.name, slices.Clone(r.addrs)})
		}
	}
	v.stopped = slices.Clone(s.hooks.stopped)
	for _, st := range s.peers.known {
		v.peers[st.peer] = st.view()
	}
	return v
}

func (st *peerState) view() *peerView {
	p := &peerView{number: st.number, metadata: st.stamp, ways: st.ways}
	for _, d := range st.discoveries {
		p.discoveredBy = append(p.discoveredBy, discoveryView{d.by.name, d.stamp})
	}
	for _, c := range st.connections {
		if !slices.Contains(p.connected, c.by.name) {
			p.connected = append(p.connected, c.by.name)
		}
	}
	return p
}

// listener returns the view of a listener, or nil.
func (v *view) listener(name string) *listenerView {
	for _, l := range v.listeners {
		if l.name == name {
			return l
		}
	}
	return nil
}

// stoppedBy returns the stamp of the last stop of a hook, or 0.
func (v *view) stoppedBy(name string) uint64 {
	for _, s := range v.stopped {
		if s.name == name {
			return s.stamp
		}
	}
	return 0
}

// inOrder returns the peers in the order of becoming available.
func (v *view) inOrder() []*Peer {
	return slices.SortedFunc(maps.Keys(v.peers), func(a, b *Peer) int { return cmp.Compare(v.peers[a].number, v.peers[b].number) })
}

// discovery returns the index of a hook in p.discoveredBy, or -1.
func (p *peerView) discovery(hook string) int {
	return slices.IndexFunc(p.discoveredBy, func(d discoveryView) bool { return d.hook == hook })
}

// found returns the stamp of a hook's discovery, or 0.
func (p *peerView) found(hook string) uint64 {
	if i := p.discovery(hook); i >= 0 {
		return p.discoveredBy[i].stamp
	}
	return 0
}

// difference returns events that lead from v to now. Removals come first, since
// an identity that went and came back is another *Peer, unless it is tracked.
func (v *view) difference(now *view) (events []Event) {
	tell := func(e Event) { events = append(events, e) }
	if v.metadata != now.metadata {
		tell(MetadataModified{})
	}
	if v.tracked != now.tracked {
		tell(TrackedModified{})
	}
	if v.revoked != now.revoked {
		tell(RevocationsModified{})
	}
	for _, l := range v.listeners {
		l.goneIn(now.listener(l.name), tell)
	}
	for _, s := range now.stopped {
		if v.stoppedBy(s.name) != s.stamp {
			tell(HookStopped{s.name, s.err})
		}
	}
	for _, l := range now.listeners {
		l.newSince(v.listener(l.name), tell)
	}
	gone := &peerView{}
	for _, peer := range v.inOrder() {
		if now.peers[peer] == nil {
			v.peers[peer].difference(peer, gone, tell)
			tell(PeerUnavailable{peer})
		}
	}
	for _, peer := range now.inOrder() {
		before, p := v.peers[peer], now.peers[peer]
		if before == nil {
			tell(PeerAvailable{peer})
			before = &peerView{metadata: p.metadata, ways: p.ways}
		}
		n := len(events)
		before.difference(peer, p, tell)
		// If the watcher may have read a discovery that came and went, it has
		// to read again.
		if before.metadata != p.metadata || before.ways != p.ways && len(events) == n {
			tell(PeerMetadataModified{peer})
		}
	}
	return events
}

// goneIn yields the removal of l, or of some of its addresses. now is nil if l
// is gone.
func (l *listenerView) goneIn(now *listenerView, tell func(Event)) {
	for _, addr := range l.addrs {
		if now == nil || !slices.Contains(now.addrs, addr) {
			tell(ListenerAddrRemoved{l.name, addr})
		}
	}
	if now == nil {
		tell(ListenerUnregistered{l.name})
	}
}

// newSince yields the addition of l, or of some of its addresses. before is nil
// if l is new.
func (l *listenerView) newSince(before *listenerView, tell func(Event)) {
	if before == nil {
		tell(ListenerRegistered{l.name})
	}
	for _, addr := range l.addrs {
		if before == nil || !slices.Contains(before.addrs, addr) {
			tell(ListenerAddrAdded{l.name, addr})
		}
	}
}

// difference yields the events that lead from p to now, apart from metadata.
func (p *peerView) difference(peer *Peer, now *peerView, tell func(Event)) {
	for _, listener := range p.connected {
		if !slices.Contains(now.connected, listener) {
			tell(PeerDisconnectedWith{peer, listener})
		}
	}
	for _, d := range p.discoveredBy {
		if now.discovery(d.hook) < 0 {
			tell(PeerExpiredBy{peer, d.hook})
		}
	}
	for _, d := range now.discoveredBy {
		if p.found(d.hook) != d.stamp {
			tell(PeerDiscoveredBy{peer, d.hook})
		}
	}
	for _, listener := range now.connected {
		if !slices.Contains(p.connected, listener) {
			tell(PeerConnectedWith{peer, listener})
		}
	}
}
