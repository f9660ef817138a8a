package quic

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	tpt "github.com/libp2p/go-libp2p/core/transport"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/netmon"
)

// An endpoint is one run of a listener: its socket, its connections, its dials.
//
// The endpoint owns the socket and quic-go's transport on it. go-libp2p's QUIC
// transport borrows them to dial and to listen (see lent), and authenticates
// peers; the endpoint manages the connections.
type endpoint struct {
	listener *Listener
	scope    *p2p.Scope
	log      *slog.Logger
	port     uint16
	limits   Limits

	handshakes *handshakes
	budget     *budget
	circle     *circle
	mirrors    mirrors
	traces     traces
	worked     worked
	looks      looks
	veil       *veil // nil if the node shows its identity

	socket    *carrier.Socket
	main      outlet // by socket
	spares    spares
	lanes     lanes
	sessions  sessions
	quic      *quicgo.Transport
	reuse     *quicreuse.ConnManager
	transport tpt.Transport
	inbound   tpt.Listener
	refusing  sync.Once

	hearing   atomic.Bool   // the same, at packets that are not QUIC's
	attending atomic.Bool   // a goroutine watches the connections that this node dialed
	resting   atomic.Bool   // it does so only at the keep-alives
	stirred   chan struct{} // of size 1: it has to check sooner

	network *netmon.Subscription // nil until there can be connections

	unnamed chan struct{} // places for strangers' streams that have not named their protocol

	tasks sync.WaitGroup // goroutines of the endpoint; added to under mu, while it is not closing

	fewer     chan struct{} // of size 1: a connection has ended
	told      chan struct{} // of size 1: see Veiled.Move
	abandoned chan struct{} // see drain
	givenUp   sync.Once

	ctx    context.Context // done when the endpoint closes
	cancel context.CancelFunc

	mu         sync.Mutex
	suspicions map[identity.RemoteIdentity]*suspicion
	closing    bool
	disabled   families
	conns      map[*conn]struct{}
	added      chan struct{} // closed and replaced when conns grows
	races      map[identity.RemoteIdentity]*race
	visits     map[identity.RemoteIdentity]*visit // by host
	said       map[string]bool                    // keys that were logged
}

// newEndpoint binds the socket and listens.
func newEndpoint(l *Listener, scope *p2p.Scope, contacts junction.Veil) (*endpoint, error) {
	port, veil, err := l.cfg.Port, (*veil)(nil), error(nil)
	if contacts != nil {
		port = 0
		if veil, err = l.hides().veil(contacts, scope.Node().App()); err != nil {
			return nil, fmt.Errorf("quic: %w", err)
		}
	}
	udp, err := bind(port)
	if err != nil {
		return nil, err
	}
	port = localPort(udp)
	socket := carrier.New(udp, carrier.Config{Logger: scope.Logger(), Rebind: func() (*net.UDPConn, error) { return bind(port) }})
	e := &endpoint{
		listener: l, scope: scope, log: scope.Logger(), port: port, socket: socket,
		limits: l.cfg.Limits.withDefaults(), circle: newCircle(scope.Node(), l.manual),
		conns: map[*conn]struct{}{}, added: make(chan struct{}),
		races: map[identity.RemoteIdentity]*race{}, visits: map[identity.RemoteIdentity]*visit{}, said: map[string]bool{},
		suspicions: map[identity.RemoteIdentity]*suspicion{}, veil: veil,
		stirred: make(chan struct{}, 1), fewer: make(chan struct{}, 1), told: make(chan struct{}, 1), abandoned: make(chan struct{}),
	}
	e.main.socket, e.traces.log = socket, l.cfg.QLog
	e.circle.named = e.lanes.familiar(scope)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.unnamed = make(chan struct{}, places(e.limits.OpeningInAll))
	e.budget = &budget{limits: e.limits}
	e.handshakes = newHandshakes(e.limits, e.circle.knows)
	if err := e.listen(); err != nil {
		e.release()
		return nil, fmt.Errorf("quic: %w", err)
	}
	hintBuffers(e.log, socket) // the buffers have their final sizes now
	e.log.Debug("listening", "port", e.port)
	e.tasks.Go(e.accept)
	return e, nil
}

// listen makes the transport: our own, lent to go-libp2p's.
func (e *endpoint) listen() error {
	e.quic = e.newTransport()
	// The keys are for transports that the manager would make itself, which it
	// never does.
	reuse, err := quicreuse.NewConnManager(quicgo.StatelessResetKey{}, quicgo.TokenGeneratorKey{}, quicreuse.OverrideListenUDP(lendNone))
	if err != nil {
		return err
	}
	e.reuse = reuse
	ours := &lent{Transport: e.quic, server: serverConfig(), client: clientConfig(), mirrors: &e.mirrors, traces: &e.traces, veil: e.veil, hides: e.listener.hides}
	ours.server.MaxIdleTimeout += e.listener.cfg.faith
	ours.client.MaxIdleTimeout += e.listener.cfg.faith
	ours.server.Tracer = e.traces.with(e.mirrors.accepting)
	for _, family := range []string{"udp4", "udp6"} {
		if _, err := reuse.LendTransport(family, ours, e.socket); err != nil {
			return err
		}
	}
	private, err := crypto.UnmarshalEd25519PrivateKey(e.scope.Identity().PrivateKey())
	if err != nil {
		return err
	}
	template, err := certificateTemplate()
	if err != nil {
		return err
	}
	e.transport, err = libp2pquic.NewTransport(private, reuse, nil, nil, e.budget,
		libp2pquic.WithTLSIdentityOption(libp2ptls.WithCertTemplate(template)))
	if err != nil {
		return err
	}
	e.inbound, err = e.transport.Listen(multiaddr(e.socket.LocalAddr().(*net.UDPAddr).AddrPort()))
	return err
}

// newTransport makes the endpoint's transport on its socket.
//
// With a fixed port, a restarted node can tell peers at once that it has lost
// their connections, since its reset key is the same as before. Otherwise it
// returns on another port, where nobody asks, and uses a random key, which is
// one trait less by which a device can be recognized in another network.
func (e *endpoint) newTransport() *quicgo.Transport {
	var reset quicgo.StatelessResetKey
	var token quicgo.TokenGeneratorKey
	rand.Read(token[:])
	rand.Read(reset[:])
	if e.listener.cfg.Port != 0 && e.veil == nil {
		reset = e.scope.Identity().StatelessResetKey(!onlyIPv4(e.socket), e.port)
	}
	return &quicgo.Transport{
		Conn: &doorman{e.socket, e.handshakes.outOfPace}, ConnectionIDLength: connectionIDLength,
		StatelessResetKey: &reset, TokenGeneratorKey: &token, ConnContext: e.admit, VerifySourceAddress: e.handshakes.verify,
	}
}

// lendNone refuses to open sockets for the connection manager, which must use
// ours.
func lendNone(network string, _ *net.UDPAddr) (net.PacketConn, error) {
	return nil, fmt.Errorf("quic: no other socket of %s", network)
}

// close ends all connections, with the reason of the shutdown, and then
// everything else.
func (e *endpoint) close() {
	e.cancel()
	e.mu.Lock()
	e.closing = true
	all := make([]*conn, 0, len(e.conns))
	for c := range e.conns {
		all = append(all, c)
	}
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
		closing.Go(func() {
			c.part()
			c.close(network.ConnShutdown)
		})
	}
	closing.Wait()
	e.partFromRelays(func(*conn) {})
	e.refuse()
	e.tasks.Wait()
	e.spares.close()
	e.release()
	e.traces.end()
}

// refuse stops accepting connections. It closes go-libp2p's listener only once,
// since the listener panics if it is closed again too soon.
func (e *endpoint) refuse() {
	e.refusing.Do(func() {
		e.sessions.close()
		e.inbound.Close()
	})
}

// release frees whatever listen has acquired.
func (e *endpoint) release() {
	if e.reuse != nil {
		e.reuse.Close()
	}
	if e.quic != nil {
		e.quic.Close()
	}
	e.socket.Close()
}

// start runs f in a goroutine that close waits for, unless the endpoint is
// closing.
func (e *endpoint) start(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return false
	}
	e.tasks.Go(f)
	return true
}

// hold keeps close waiting until tasks.Done is called, and returns false if the
// endpoint is closing.
func (e *endpoint) hold() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.tasks.Add(1)
	}
	return !e.closing
}

// once returns true on the first call for a key, so that a peer cannot fill the
// log.
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

// announce reports the addresses of the enabled families, and closes the
// connections of the disabled ones.
func (e *endpoint) announce(disabled families) {
	disabled.ipv6 = disabled.ipv6 || onlyIPv4(e.socket)
	e.mu.Lock()
	e.disabled = disabled
	var cut []*conn
	for c := range e.conns {
		if disabled.of(c.remote().Addr()) {
			cut = append(cut, c)
		}
	}
	e.mu.Unlock()
	for _, f := range []struct {
		disabled bool
		any      netip.Addr
	}{{disabled.ipv4, netip.IPv4Unspecified()}, {disabled.ipv6, netip.IPv6Unspecified()}} {
		addr := netip.AddrPortFrom(f.any, e.port)
		if f.disabled || e.veil != nil {
			e.scope.RemoveAddr(addr)
		} else {
			e.scope.AddAddr(addr)
		}
	}
	for _, c := range cut {
		e.start(func() { c.Close() })
	}
}

// unannounce withdraws all reported addresses.
func (e *endpoint) unannounce() {
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		e.scope.RemoveAddr(netip.AddrPortFrom(any, e.port))
	}
}

// enabled reports whether connections with addr are allowed.
func (e *endpoint) enabled(addr netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.disabled.of(addr)
}

// admit decides about an inbound connection before its handshake.
func (e *endpoint) admit(ctx context.Context, client *quicgo.ClientInfo) (context.Context, error) {
	addr, ok := client.RemoteAddr.(*net.UDPAddr)
	if !ok || !e.enabled(addr.AddrPort().Addr()) {
		return nil, errors.New("quic: the address family is disabled")
	}
	ctx2, h, err := e.handshakes.enter(ctx, client)
	if err != nil {
		return nil, err
	}
	scope := e.budget.charge(inboundWindow, false)
	scope.handshake = func() bool { return e.handshakes.completed(h) }
	context.AfterFunc(ctx, scope.Done) // in case the handshake fails; otherwise go-libp2p also calls it
	return network.WithConnManagementScope(e.traces.prepare(ctx2), scope), nil
}
