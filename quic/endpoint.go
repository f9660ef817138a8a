package quic

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// An endpoint is one run of a listener: its sockets, its swarm, its connections.
type endpoint struct {
	listener *Listener
	scope    *p2p.Scope
	log      *slog.Logger
	port     uint16
	sockets  sockets
	reuse    *quicreuse.ConnManager
	dialer   *dialer
	book     *addressBook
	swarm    *swarm.Swarm
	limits   *limits

	tasks sync.WaitGroup // goroutines of the endpoint; added to under mu, while it is not closing

	mu       sync.Mutex
	closing  bool
	disabled families
	conns    map[network.Conn]*conn
	added    chan struct{}   // closed, and replaced, when conns gets one more
	said     map[string]bool // what has been logged
}

// newEndpoint composes the swarm, in the one order that works, and listens.
func newEndpoint(l *Listener, scope *p2p.Scope) (e *endpoint, err error) {
	e = &endpoint{
		listener: l, scope: scope, log: scope.Logger(),
		limits: newLimits(l.cfg.MaxConnections, l.cfg.MaxConnectionsPerPeer),
		conns:  map[network.Conn]*conn{}, added: make(chan struct{}), said: map[string]bool{},
	}
	if e.sockets, err = bind(l.cfg.Port); err != nil {
		return nil, err
	}
	e.port = e.sockets.port
	undo := []func(){e.sockets.close}
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
			e, err = nil, fmt.Errorf("quic: %w", err)
		}
	}()

	private, err := crypto.UnmarshalEd25519PrivateKey(scope.Identity().PrivateKey())
	if err != nil {
		return e, err
	}
	self := peerID(scope.Identity().Remote())
	e.book = &addressBook{dials: map[peer.ID]*dials{}}

	// Random keys: with zero ones, anybody on the network could forge a stateless reset.
	var resetKey quicgo.StatelessResetKey
	var tokenKey quicgo.TokenGeneratorKey
	rand.Read(resetKey[:])
	rand.Read(tokenKey[:])
	e.reuse, err = quicreuse.NewConnManager(resetKey, tokenKey, quicreuse.OverrideListenUDP(e.sockets.lend), quicreuse.ConnContext(e.admit))
	if err != nil {
		return e, err
	}
	undo = append(undo, func() { e.reuse.Close() })
	// The smaller time-out of both ends counts, and a listener's cannot be set: the dialler's does for both.
	e.reuse.ClientConfig().MaxIdleTimeout = vanishTimeout
	e.reuse.ClientConfig().KeepAlivePeriod = keepAlive

	e.swarm, err = swarm.NewSwarm(self, e.book, silentBus{},
		swarm.WithResourceManager(e.limits), swarm.WithDialRanker(rank),
		swarm.WithDialTimeout(l.cfg.DialTimeout), swarm.WithDialTimeoutLocal(l.cfg.DialTimeout),
		swarm.WithUDPBlackHoleSuccessCounter(nil), swarm.WithIPv6BlackHoleSuccessCounter(nil))
	if err != nil {
		return e, err
	}
	undo = append(undo, func() { e.swarm.Close() })
	transport, err := libp2pquic.NewTransport(private, e.reuse, nil, nil, e.limits)
	if err != nil {
		return e, err
	}
	e.dialer = &dialer{Transport: transport, endpoint: e}
	if err := e.swarm.AddTransport(e.dialer); err != nil {
		return e, err
	}
	e.swarm.Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { e.connected(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) { e.disconnected(c) },
	})
	for _, socket := range []*net.UDPConn{e.sockets.ipv4, e.sockets.ipv6} {
		if socket == nil {
			continue
		}
		if err := e.swarm.AddListenAddr(multiaddr(socket.LocalAddr().(*net.UDPAddr).AddrPort())); err != nil {
			return e, err
		}
	}
	hintBuffers(e.log, cmp.Or(e.sockets.ipv4, e.sockets.ipv6)) // now as large as they become
	return e, nil
}

// close ends all connections, with the reason, and then everything else.
func (e *endpoint) close() {
	e.mu.Lock()
	e.closing = true
	all := slices.Collect(maps.Values(e.conns))
	e.mu.Unlock()
	var last time.Time
	for _, c := range all {
		if ended := c.lastStreamEnded(); ended.After(last) {
			last = ended
		}
	}
	time.Sleep(time.Until(last.Add(linger)))
	var closing sync.WaitGroup
	for _, c := range all {
		closing.Go(func() { c.swarm.CloseWithError(network.ConnShutdown) })
	}
	closing.Wait() // the swarm would give no reason
	e.swarm.Close()
	e.tasks.Wait()
	e.reuse.Close()
	e.sockets.close()
}

// start runs f in a goroutine that close waits for, unless the endpoint is closing.
func (e *endpoint) start(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return false
	}
	e.tasks.Go(f)
	return true
}

// hold keeps close waiting until tasks.Done is called, and reports false if the endpoint is closing.
func (e *endpoint) hold() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.tasks.Add(1)
	}
	return !e.closing
}

// once reports true the first time that it is called for key, so that a peer cannot fill the log.
func (e *endpoint) once(key string) bool {
	const enough = 1024
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.said[key] || len(e.said) >= enough {
		return false
	}
	e.said[key] = true
	return true
}

// announce reports the families that are not disabled, and closes the connections of those that are.
func (e *endpoint) announce(disabled families) {
	e.mu.Lock()
	e.disabled = disabled
	var cut []*conn
	for _, c := range e.conns {
		if disabled.of(c.path.Remote.Addr()) {
			cut = append(cut, c)
		}
	}
	e.mu.Unlock()
	for _, f := range []struct {
		socket   *net.UDPConn
		disabled bool
		any      netip.Addr
	}{{e.sockets.ipv4, disabled.ipv4, netip.IPv4Unspecified()}, {e.sockets.ipv6, disabled.ipv6, netip.IPv6Unspecified()}} {
		addr := netip.AddrPortFrom(f.any, e.port)
		if f.socket == nil || f.disabled {
			e.scope.RemoveAddr(addr)
		} else {
			e.scope.AddAddr(addr)
		}
	}
	for _, c := range cut {
		e.start(func() { c.Close() })
	}
}

// enabled tells whether connections with addr are allowed.
func (e *endpoint) enabled(addr netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.disabled.of(addr)
}

// admit decides on an inbound connection before its handshake.
func (e *endpoint) admit(ctx context.Context, client *quicgo.ClientInfo) (context.Context, error) {
	addr, ok := client.RemoteAddr.(*net.UDPAddr)
	if !ok || !e.enabled(addr.AddrPort().Addr()) {
		return nil, errors.New("quic: the address family is disabled")
	}
	scope, err := e.limits.OpenConnection(network.DirInbound, false, nil)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, scope.Done) // if the handshake fails; the transport calls it too
	return network.WithConnManagementScope(ctx, scope), nil
}

// connected is called for each connection, before any of its streams.
func (e *endpoint) connected(nc network.Conn) {
	id, err := remoteIdentity(nc.RemotePeer())
	if err != nil {
		nc.Close() // another kind of key, or one that is not safe
		return
	}
	var l *link
	if !nc.As(&l) {
		nc.Close()
		return
	}
	c := newConn(e, nc, l.quic, id)
	e.mu.Lock()
	allowed := !e.closing && !e.disabled.of(c.path.Remote.Addr())
	if allowed {
		e.conns[nc] = c
		close(e.added)
		e.added = make(chan struct{})
	}
	e.mu.Unlock()
	if !allowed {
		nc.Close()
		return
	}
	if nc.Stat().Direction == network.DirInbound {
		err = e.scope.Node().Allows(c.quic.Context(), p2p.Request{Action: p2p.Connect, Peer: id, Path: c.path})
	}
	if err == nil {
		err = e.scope.Connected(id, c)
	}
	if err != nil {
		nc.Close()
		return
	}
	l.conn.Store(c)
	c.begin()
}

// disconnected is called for each connection that is gone.
func (e *endpoint) disconnected(nc network.Conn) {
	e.mu.Lock()
	c := e.conns[nc]
	delete(e.conns, nc)
	e.mu.Unlock()
	if c == nil {
		return
	}
	c.end()
	e.listener.manual.disconnected(c)
	e.scope.Disconnected(c.id, c)
	if c.vanished() {
		e.scope.Vanished(c.id)
	}
}

// await returns the record of a connection that the swarm has, and that this endpoint may be about to hear of; or nil if it
// is gone.
func (e *endpoint) await(ctx context.Context, nc network.Conn) *conn {
	var q *quicgo.Conn
	if !nc.As(&q) {
		return nil
	}
	for {
		e.mu.Lock()
		c, added := e.conns[nc], e.added
		e.mu.Unlock()
		if c != nil {
			return c
		}
		select {
		case <-added:
		case <-q.Context().Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// best returns the connection for new streams with a peer, or nil: a direct one before a relayed one, and the newest: of an older
// one, the peer may know nothing any more.
func (e *endpoint) best(id identity.RemoteIdentity) (best *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		if c.id != id || c.swarm.IsClosed() {
			continue
		}
		if best == nil || best.path.Relayed && !c.path.Relayed || best.path.Relayed == c.path.Relayed && c.opened.After(best.opened) {
			best = c
		}
	}
	return best
}

// tellMetadata sends this node's metadata to every peer that has been told it before.
func (e *endpoint) tellMetadata() {
	e.mu.Lock()
	all := make([]*conn, 0, len(e.conns))
	for _, c := range e.conns {
		all = append(all, c)
	}
	e.mu.Unlock()
	for _, c := range all {
		c.tellMetadata()
	}
}

// rank orders a peer's addresses, and gives each one a lead over the next: those on a local network first, where a peer
// that was discovered there most likely answers.
func rank(addrs []ma.Multiaddr) []network.AddrDelay {
	ranked := make([]network.AddrDelay, 0, len(addrs))
	for _, group := range [][]ma.Multiaddr{filter(addrs, isLocal), filter(addrs, func(a ma.Multiaddr) bool { return !isLocal(a) })} {
		for _, a := range group {
			ranked = append(ranked, network.AddrDelay{Addr: a, Delay: time.Duration(len(ranked)) * candidateLead})
		}
	}
	return ranked
}

func isLocal(a ma.Multiaddr) bool {
	ip := addrPort(a).Addr()
	return ip.IsPrivate() || ip.IsLoopback()
}

func filter(addrs []ma.Multiaddr, keep func(ma.Multiaddr) bool) (kept []ma.Multiaddr) {
	for _, a := range addrs {
		if keep(a) {
			kept = append(kept, a)
		}
	}
	return kept
}
