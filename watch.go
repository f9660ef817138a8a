package p2p

import (
	"context"
	"iter"
	"net/netip"
	"slices"
)

// Available yields each peer that is available now or becomes so, until ctx is done, the node shuts down, or the loop
// is left. A peer that went and came back is yielded again.
func (n *P2P) Available(ctx context.Context) iter.Seq[*Peer] {
	return func(yield func(*Peer) bool) {
		for e := range n.Watch(ctx) {
			if e, ok := e.(PeerAvailable); ok && !yield(e.Peer) {
				return
			}
		}
	}
}

// Watch yields the node's events until ctx is done, the node shuts down, or the loop is left. It begins with events that
// describe the state as it is. A loop body may take its time: what happens meanwhile is summed up, so that a peer which
// came and went may not be told of, but the events yielded always add up to the state. There is no [Resync].
func (n *P2P) Watch(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		s := n.Subscribe()
		defer s.Close()
		v := n.newView()
		for {
			// ctx first: a queue that never runs empty must not hide that it is done.
			if ctx.Err() != nil {
				return
			}
			var e Event
			var ok bool
			select {
			case <-ctx.Done():
				return
			case e, ok = <-s.C:
				if !ok {
					return
				}
			}
			told := []Event{e}
			_, resync := e.(Resync)
			if resync {
				told = v.difference(n.look())
			}
			for _, e := range told {
				if v.apply(&e, resync) && (ctx.Err() != nil || !yield(e)) {
					return
				}
			}
		}
	}
}

// A view is the state that a watcher has been told of. Stamps tell which version of a thing that was.
type view struct {
	node      *P2P
	metadata  uint64
	revoked   uint64
	listeners map[string][]netip.AddrPort
	stopped   map[string]stoppedHook
	peers     map[*Peer]*peerView
}

type peerView struct {
	metadata     uint64
	ways         uint64 // of discoveries, as the watcher could read them when it was last told of the peer
	discoveredBy map[string]uint64
	connected    []string
}

func (n *P2P) newView() *view {
	return &view{
		node: n, listeners: map[string][]netip.AddrPort{}, stopped: map[string]stoppedHook{}, peers: map[*Peer]*peerView{},
	}
}

// look returns a view of the state as it is.
func (n *P2P) look() *view {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.newView()
	v.metadata, v.revoked = n.state.self.stamp, n.state.peers.revokedStamp
	for _, r := range n.state.hooks.running {
		if r.listener != nil {
			v.listeners[r.name] = slices.Clone(r.addrs)
		}
	}
	for _, s := range n.state.hooks.stopped {
		v.stopped[s.name] = s
	}
	for _, st := range n.state.peers.known {
		v.peers[st.peer] = st.view()
	}
	return v
}

func (st *peerState) view() *peerView {
	p := &peerView{metadata: st.stamp, ways: st.ways, discoveredBy: map[string]uint64{}}
	for _, d := range st.discoveries {
		p.discoveredBy[d.by.name] = d.stamp
	}
	for _, c := range st.connections {
		if !slices.Contains(p.connected, c.by.name) {
			p.connected = append(p.connected, c.by.name)
		}
	}
	return p
}

// difference returns events that lead from v to now. What is gone comes first, since an identity that went and came back
// is another *Peer, unless it is tracked.
func (v *view) difference(now *view) (events []Event) {
	tell := func(e Event) { events = append(events, e) }
	if v.metadata != now.metadata {
		tell(MetadataModified{})
	}
	if v.revoked != now.revoked {
		tell(RevocationsModified{})
	}
	for name, addrs := range v.listeners {
		still, ok := now.listeners[name]
		for _, addr := range addrs {
			if !slices.Contains(still, addr) {
				tell(ListenerAddrRemoved{name, addr})
			}
		}
		if !ok {
			tell(ListenerUnregistered{name})
		}
	}
	for name, s := range now.stopped {
		if v.stopped[name].stamp != s.stamp {
			tell(HookStopped{name, s.err})
		}
	}
	for name, addrs := range now.listeners {
		before, ok := v.listeners[name]
		if !ok {
			tell(ListenerRegistered{name})
		}
		for _, addr := range addrs {
			if !slices.Contains(before, addr) {
				tell(ListenerAddrAdded{name, addr})
			}
		}
	}
	gone := &peerView{}
	for peer, before := range v.peers {
		if now.peers[peer] == nil {
			before.difference(peer, gone, tell)
			tell(PeerUnavailable{peer})
		}
	}
	for peer, p := range now.peers {
		before := v.peers[peer]
		if before == nil {
			tell(PeerAvailable{peer})
			before = &peerView{metadata: p.metadata, ways: p.ways}
		}
		n := len(events)
		before.difference(peer, p, tell)
		switch {
		case before.metadata != p.metadata:
			tell(PeerMetadataModified{peer})
		case before.ways != p.ways && len(events) == n:
			// The watcher may have read what a discovery said that has come and gone: it has to read again.
			tell(PeerMetadataModified{peer})
		}
	}
	return events
}

func (p *peerView) difference(peer *Peer, now *peerView, tell func(Event)) {
	for _, listener := range p.connected {
		if !slices.Contains(now.connected, listener) {
			tell(PeerDisconnectedWith{peer, listener})
		}
	}
	for hook := range p.discoveredBy {
		if _, ok := now.discoveredBy[hook]; !ok {
			tell(PeerExpiredBy{peer, hook})
		}
	}
	for hook, stamp := range now.discoveredBy {
		if p.discoveredBy[hook] != stamp {
			tell(PeerDiscoveredBy{peer, hook})
		}
	}
	for _, listener := range now.connected {
		if !slices.Contains(p.connected, listener) {
			tell(PeerConnectedWith{peer, listener})
		}
	}
}

// apply books e as told, and reports whether it says anything that the watcher has not been told: events that a Resync
// has overtaken do not. Where an event says that something has other contents, what counts is whether that differs from
// what the watcher could read when it was last told. A HookStopped is brought up to date.
func (v *view) apply(told *Event, resync bool) bool {
	n := v.node
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e := (*told).(type) {
	case MetadataModified:
		return replace(&v.metadata, n.state.self.stamp)
	case RevocationsModified:
		return replace(&v.revoked, n.state.peers.revokedStamp)
	case ListenerRegistered:
		if _, known := v.listeners[e.Listener]; known {
			return false
		}
		v.listeners[e.Listener] = nil
	case ListenerUnregistered:
		if _, known := v.listeners[e.Listener]; !known {
			return false
		}
		delete(v.listeners, e.Listener)
	case ListenerAddrAdded:
		addrs, known := v.listeners[e.Listener]
		if !known || slices.Contains(addrs, e.Addr) {
			return false
		}
		v.listeners[e.Listener] = append(addrs, e.Addr)
	case ListenerAddrRemoved:
		addrs := v.listeners[e.Listener]
		i := slices.Index(addrs, e.Addr)
		if i < 0 {
			return false
		}
		v.listeners[e.Listener] = slices.Delete(addrs, i, i+1)
	case HookStopped:
		for _, s := range n.state.hooks.stopped {
			if s.name == e.Hook {
				if v.stopped[e.Hook].stamp == s.stamp {
					return false
				}
				v.stopped[e.Hook] = s
				*told = HookStopped{s.name, s.err}
			}
		}
	case PeerAvailable:
		// A peer that has gone since is not told of: the watcher may know its identity as another *Peer already.
		st := n.state.peers.known[e.Peer.id]
		if v.peers[e.Peer] != nil || st == nil || st.peer != e.Peer {
			return false
		}
		v.peers[e.Peer] = &peerView{metadata: st.stamp, discoveredBy: map[string]uint64{}}
	case PeerUnavailable:
		if v.peers[e.Peer] == nil {
			return false
		}
		delete(v.peers, e.Peer)
	case PeerMetadataModified:
		p, st := v.peers[e.Peer], n.state.peers.known[e.Peer.id]
		if p == nil || st == nil {
			return false
		}
		modified := replace(&p.metadata, st.stamp)
		return modified || resync && replace(&p.ways, st.ways)
	case PeerDiscoveredBy:
		p := v.peers[e.Peer]
		if p == nil {
			return false
		}
		stamp := uint64(0) // if it has expired since
		if st := n.state.peers.known[e.Peer.id]; st != nil {
			stamp = st.view().discoveredBy[e.Hook]
			p.ways = st.ways
		}
		told, known := p.discoveredBy[e.Hook]
		p.discoveredBy[e.Hook] = stamp
		return !known || told != stamp
	case PeerExpiredBy:
		p := v.peers[e.Peer]
		if p == nil {
			return false
		}
		_, known := p.discoveredBy[e.Hook]
		delete(p.discoveredBy, e.Hook)
		if st := n.state.peers.known[e.Peer.id]; st != nil {
			p.ways = st.ways
		}
		return known
	case PeerConnectedWith:
		p := v.peers[e.Peer]
		if p == nil || slices.Contains(p.connected, e.Listener) {
			return false
		}
		p.connected = append(p.connected, e.Listener)
	case PeerDisconnectedWith:
		p := v.peers[e.Peer]
		if p == nil || !slices.Contains(p.connected, e.Listener) {
			return false
		}
		p.connected = slices.DeleteFunc(p.connected, func(l string) bool { return l == e.Listener })
	}
	return true
}

// replace sets *told to stamp and reports whether that made a difference.
func replace(told *uint64, stamp uint64) bool {
	changed := *told != stamp
	*told = stamp
	return changed
}
