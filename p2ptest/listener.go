package p2ptest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A ListenerConfig tunes a listener of a [Network]. The zero value is ready to
// use.
type ListenerConfig struct {
	// Version is the version of the wire protocol that the listener speaks; a
	// stream has the lower version of its two sides. If zero, 2 is used. With
	// 1, the listener imitates a node of the first implementation.
	Version int
}

// Listener returns a new listener, which accepts connections at an address of
// its own and dials the addresses of other nodes; both sides are authenticated.
// A connection is made by the first Dial, carries all streams of the two nodes,
// in both directions, and lasts until one of them ends or [Link.Cut]. Each side
// sends its metadata to the other when they connect, and whenever it changes.
//
// Dial uses the candidates of the kinds [p2p.Direct] and [p2p.Manual] and tries
// them all at once.
func (n *Network) Listener(cfg ListenerConfig) p2p.Listener {
	if cfg.Version == 0 {
		cfg.Version = 2
	}
	return &listener{network: n, version: cfg.Version, addr: n.newAddr()}
}

type listener struct {
	network *Network
	version int
	addr    netip.AddrPort

	contacts *Contacts // nil if it hides nothing
}

// A host is one run of a listener.
type host struct {
	network    *Network
	addr       netip.AddrPort
	id         identity.RemoteIdentity
	version    int
	contacts   *Contacts // nil if it hides nothing
	scope      *p2p.Scope
	done       <-chan struct{} // closed when Run is asked to end
	deliveries sync.WaitGroup  // timers that deliver something here

	ends []*end // network.mu; the newest last
}

var errRunning = errors.New("p2ptest: the listener is running already")

// Name returns the network's name.
func (l *listener) Name() string { return l.network.cfg.Name }

// Run accepts connections until ctx is done.
func (l *listener) Run(ctx context.Context, s *p2p.Scope) error {
	node := s.Node()
	events := node.Subscribe()
	defer events.Close()
	h := &host{
		network: l.network, addr: l.addr, id: node.Identity(), version: l.version, contacts: l.contacts,
		scope: s, done: ctx.Done(),
	}
	if !h.open() {
		return errRunning
	}
	defer h.close()
	if err := s.AddAddr(l.addr); err != nil {
		return err
	}
	s.Ready()
	queue := events.C
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-queue:
			if !ok {
				queue = nil
			}
			switch e.(type) {
			case p2p.Resync, p2p.MetadataModified:
				h.state()
			}
		}
	}
}

// pathIn returns the path of connections that the host dialed, as its peers see
// it.
func (h *host) pathIn() p2p.Path { return p2p.Path{Kind: p2p.Direct, Remote: h.addr} }

// reachable reports whether the host runs. The caller holds network.mu.
func (h *host) reachable() bool { return h.network.hosts[h.addr] == h }

// open makes the host reachable, unless another host has its address.
func (h *host) open() bool {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[h.addr] != nil {
		return false
	}
	n.hosts[h.addr] = h
	return true
}

// close ends the connections and waits for deliveries that might still use the
// scope.
func (h *host) close() {
	n := h.network
	n.mu.Lock()
	delete(n.hosts, h.addr)
	ends := slices.Clone(h.ends)
	n.mu.Unlock()
	for _, e := range ends {
		e.close("shutting down")
	}
	h.deliveries.Wait()
}

// state sends the node's metadata over all connections.
func (h *host) state() {
	n := h.network
	n.mu.Lock()
	metadata := h.scope.Node().Metadata() // under the lock: later connections get nothing older
	ends := slices.Clone(h.ends)
	n.mu.Unlock()
	for _, e := range ends {
		r := e.remote
		r.in.send(func() { r.host.scope.Stated(h.id, metadata) })
	}
}

// endTo returns the end of the newest connection with a node, or nil. The
// caller holds network.mu.
func (h *host) endTo(id identity.RemoteIdentity) *end {
	for _, e := range slices.Backward(h.ends) {
		if e.remote.host.id == id {
			return e
		}
	}
	return nil
}
