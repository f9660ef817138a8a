package p2p

import "slices"

// Where an event says that something has other contents, it is news if they
// differ from those that the watcher could read when it was last told.

func (e Resync) told(*view, bool) Event { return nil } // Watch yields the difference instead

func (e MetadataModified) told(v *view, _ bool) Event {
	return ifNews(e, replace(&v.metadata, v.state.self.stamp))
}

func (e TrackedModified) told(v *view, _ bool) Event {
	return ifNews(e, replace(&v.tracked, v.state.peers.trackedStamp))
}

func (e RevocationsModified) told(v *view, _ bool) Event {
	return ifNews(e, replace(&v.revoked, v.state.peers.revokedStamp))
}

func (e NetworkModified) told(*view, bool) Event { return e }

func (e ListenerRegistered) told(v *view, _ bool) Event {
	if v.listener(e.Listener) != nil {
		return nil
	}
	v.listeners = append(v.listeners, &listenerView{name: e.Listener})
	return e
}

func (e ListenerUnregistered) told(v *view, _ bool) Event {
	n := len(v.listeners)
	v.listeners = slices.DeleteFunc(v.listeners, func(l *listenerView) bool { return l.name == e.Listener })
	return ifNews(e, len(v.listeners) < n)
}

func (e ListenerAddrAdded) told(v *view, _ bool) Event {
	l := v.listener(e.Listener)
	if l == nil || slices.Contains(l.addrs, e.Addr) {
		return nil
	}
	l.addrs = append(l.addrs, e.Addr)
	return e
}

func (e ListenerAddrRemoved) told(v *view, _ bool) Event {
	l := v.listener(e.Listener)
	if l == nil || !slices.Contains(l.addrs, e.Addr) {
		return nil
	}
	i := slices.Index(l.addrs, e.Addr)
	l.addrs = slices.Delete(l.addrs, i, i+1)
	return e
}

// told brings the event up to date: the hook may have stopped again since.
func (e HookStopped) told(v *view, _ bool) Event {
	i := slices.IndexFunc(v.state.hooks.stopped, func(s stoppedHook) bool { return s.name == e.Hook })
	if i < 0 {
		return e // it was registered again
	}
	s := v.state.hooks.stopped[i]
	if v.stoppedBy(e.Hook) == s.stamp {
		return nil
	}
	v.stopped = append(slices.DeleteFunc(v.stopped, func(old stoppedHook) bool { return old.name == e.Hook }), s)
	return HookStopped{s.name, s.err}
}

// told drops the event if the peer has gone since: the watcher may already know
// its identity as another *Peer.
func (e PeerAvailable) told(v *view, _ bool) Event {
	st := v.state.peers.known[e.Peer.id]
	if v.peers[e.Peer] != nil || st == nil || st.peer != e.Peer {
		return nil
	}
	v.peers[e.Peer] = &peerView{number: st.number, metadata: st.stamp}
	return e
}

func (e PeerUnavailable) told(v *view, _ bool) Event {
	known := v.peers[e.Peer] != nil
	delete(v.peers, e.Peer)
	return ifNews(e, known)
}

func (e PeerMetadataModified) told(v *view, resync bool) Event {
	p, st := v.peers[e.Peer], v.state.peers.known[e.Peer.id]
	if p == nil || st == nil {
		return nil
	}
	modified := replace(&p.metadata, st.stamp)
	return ifNews(e, modified || resync && replace(&p.ways, st.ways))
}

func (e PeerDiscoveredBy) told(v *view, _ bool) Event {
	p := v.peers[e.Peer]
	if p == nil {
		return nil
	}
	stamp := p.catchUp(v.state.peers.known[e.Peer.id]).found(e.Hook)
	if i := p.discovery(e.Hook); i >= 0 {
		return ifNews(e, replace(&p.discoveredBy[i].stamp, stamp))
	}
	p.discoveredBy = append(p.discoveredBy, discoveryView{e.Hook, stamp})
	return e
}

func (e PeerExpiredBy) told(v *view, _ bool) Event {
	p := v.peers[e.Peer]
	if p == nil {
		return nil
	}
	p.catchUp(v.state.peers.known[e.Peer.id])
	i := p.discovery(e.Hook)
	if i < 0 {
		return nil
	}
	p.discoveredBy = slices.Delete(p.discoveredBy, i, i+1)
	return e
}

func (e PeerConnectedWith) told(v *view, _ bool) Event {
	p := v.peers[e.Peer]
	if p == nil || slices.Contains(p.connected, e.Listener) {
		return nil
	}
	p.connected = append(p.connected, e.Listener)
	return e
}

func (e PeerDisconnectedWith) told(v *view, _ bool) Event {
	p := v.peers[e.Peer]
	if p == nil || !slices.Contains(p.connected, e.Listener) {
		return nil
	}
	p.connected = slices.DeleteFunc(p.connected, func(l string) bool { return l == e.Listener })
	return e
}

func (e PeerPathChanged) told(v *view, _ bool) Event {
	return ifNews(e, v.peers[e.Peer] != nil)
}

// catchUp records that the watcher can now read the peer's present candidates,
// and returns the present view of the peer. st is nil if the peer is not
// available.
func (p *peerView) catchUp(st *peerState) *peerView {
	if st == nil {
		return &peerView{}
	}
	p.ways = st.ways
	return st.view()
}

// ifNews returns e if it is news, and nil otherwise.
func ifNews(e Event, news bool) Event {
	if !news {
		return nil
	}
	return e
}

// replace sets *told to stamp and reports whether that made a difference.
func replace(told *uint64, stamp uint64) bool {
	changed := *told != stamp
	*told = stamp
	return changed
}
