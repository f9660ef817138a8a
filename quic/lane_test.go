package quic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
)

// An exchange is a relay without a network: it joins circuits. It can be
// hostile.
type exchange struct {
	identity identity.RemoteIdentity
	only     atomic.Bool
	begun    atomic.Int32 // number of circuits

	mu     sync.Mutex
	seams  map[identity.RemoteIdentity]junction.Endpoint
	callee func(identity.RemoteIdentity) identity.RemoteIdentity // the node that is really called
	caller func(identity.RemoteIdentity) identity.RemoteIdentity // the node named as the caller
	cut    int                                                   // bytes from the callee until the end; negative: no end
	meddle func(io.Reader) io.Reader                             // alters what is read; may be nil
}

func newExchange() *exchange {
	same := func(id identity.RemoteIdentity) identity.RemoteIdentity { return id }
	return &exchange{identity: identity.New().Remote(), seams: map[identity.RemoteIdentity]junction.Endpoint{}, callee: same, caller: same, cut: -1}
}

// A desk is the exchange as one node sees it.
type desk struct {
	*exchange
	self    identity.RemoteIdentity
	another func(context.Context) error // waits for another circuit; if nil, there is one at once
	punched atomic.Int32
	moved   atomic.Int32 // times that a peer has said it is elsewhere
}

// open gives a node circuits through the exchange.
func (x *exchange) open(node *p2p.P2P, l *Listener) *desk {
	d := &desk{exchange: x, self: node.Identity()}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seams[d.self] = l.Circuits(d)
	return d
}

// limited is a connection with another reader.
type limited struct {
	net.Conn
	r io.Reader
}

func (l limited) Read(b []byte) (int, error) { return l.r.Read(b) }

func (d *desk) Circuit(_ context.Context, _ identity.RemoteIdentity, _ netip.AddrPort, to identity.RemoteIdentity, _ int) (junction.Circuit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return junction.Circuit{}, err
	}
	defer l.Close()
	one, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return junction.Circuit{}, err
	}
	other, err := l.Accept()
	if err != nil {
		return junction.Circuit{}, err
	}
	d.begun.Add(1)
	addr := netip.MustParseAddrPort("192.0.2.9:7374")
	ours, theirs := limited{one, one}, limited{other, other}
	if d.cut >= 0 {
		ours.r = io.LimitReader(one, int64(d.cut))
	}
	if d.meddle != nil {
		ours.r, theirs.r = d.meddle(one), d.meddle(other)
	}
	err = d.seams[d.callee(to)].Accept(junction.Circuit{ReadWriteCloser: theirs, Relay: d.identity, Addr: addr, Peer: d.caller(d.self)})
	if err != nil {
		return junction.Circuit{}, err
	}
	return junction.Circuit{ReadWriteCloser: ours, Relay: d.identity, Addr: addr, Peer: to}, nil
}

func (d *desk) Another(ctx context.Context, to, former identity.RemoteIdentity, version int) (junction.Circuit, error) {
	if d.another != nil {
		if err := d.another(ctx); err != nil {
			return junction.Circuit{}, err
		}
	}
	return d.Circuit(ctx, d.identity, netip.AddrPort{}, to, version)
}

func (d *desk) Connected(junction.Conn)      {}
func (d *desk) Moved(junction.Conn)          { d.moved.Add(1) }
func (d *desk) Heard([]byte, netip.AddrPort) {}
func (d *desk) Only() bool                   { return d.only.Load() }
func (d *desk) Punch(_ junction.Conn, s junction.Stream) {
	d.punched.Add(1)
	s.Close()
}

// awayNodes are two nodes that reach each other through an exchange.
type awayNodes struct {
	*exchange
	a, b   *p2p.P2P
	la, lb *Listener
	da, db *desk
}

func newAwayNodes(t *testing.T, tracked bool) *awayNodes {
	t.Helper()
	return newPatientNodes(t, tracked, 0)
}

// newPatientNodes returns such nodes, which wait longer for answers.
func newPatientNodes(t *testing.T, tracked bool, slack time.Duration) *awayNodes {
	t.Helper()
	n := &awayNodes{exchange: newExchange()}
	cfg := WithSlack(Config{DialTimeout: time.Minute, Limits: Limits{StrangerIdle: -1}}, slack)
	n.a, n.la, _ = startServing(t, cfg, echo)
	n.b, n.lb, _ = startServing(t, cfg, echo)
	n.da, n.db = n.open(n.a, n.la), n.open(n.b, n.lb)
	if tracked {
		n.la.running().scope.Track(n.b.Identity())
		n.lb.running().scope.Track(n.a.Identity())
	}
	return n
}

// dial returns both ends of a connection through the exchange.
func (n *awayNodes) dial(t *testing.T) (ours, theirs *conn) {
	t.Helper()
	s, err := n.la.Dial(t.Context(), n.b.Identity(), []p2p.Candidate{{Kind: p2p.Relay, Relay: n.identity}})
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	ours = n.la.running().best(n.b.Identity())
	require.Eventually(t, func() bool {
		theirs = n.lb.running().best(n.a.Identity())
		return theirs != nil
	}, time.Minute, time.Millisecond)
	<-ours.known
	<-theirs.known
	require.True(t, ours.Relayed() && theirs.Relayed())
	return ours, theirs
}

// unvisit keeps the node from looking for the peer where it says that it is.
func (m *mover) unvisit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said, m.visiting = nil, true
}

func (m *mover) heard() []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said
}

// If connections must stay in circuits, this node tells no address of its own
// on them, and visits none that the peer tells: a packet to such an address
// would show the sender's address there.
func TestConfined(t *testing.T) {
	t.Parallel()
	n := newPatientNodes(t, true, time.Minute) // for a busy machine
	ours, theirs := n.dial(t)
	ours.mover.unvisit()
	n.only.Store(true)
	tell2 := func(at string) {
		b, err := (&moved{addrs(at)}).AppendBinary([]byte(multistream.Question(protocolMove)))
		require.NoError(t, err)
		s, err := theirs.quic.OpenStream()
		require.NoError(t, err)
		_, err = s.Write(b)
		require.NoError(t, err)
		_, err = io.ReadAll(s)
		require.Error(t, err, "the stream is reset once its message was read")
	}
	for range 10 {
		tell2("127.0.0.2:1")
	}
	require.Never(t, func() bool { return ours.mover.heard() != nil }, 20*time.Millisecond, time.Millisecond)
	_, err := theirs.writeMove(addrs("127.0.0.3:1"))
	require.Error(t, err)
	require.Equal(t, []netip.AddrPort{ours.remote()}, ours.endpoint.ways(ours))
	n.la.running().shorten(n.b.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: n.direct()}})
	require.True(t, ours.Relayed())

	n.only.Store(false)
	tell2("127.0.0.3:1")
	require.Eventually(t, func() bool { return ours.mover.heard() != nil }, time.Minute, time.Millisecond)
	require.Equal(t, addrs("127.0.0.3:1"), ours.mover.heard())
	n.la.running().shorten(n.b.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: n.direct()}})
	require.False(t, ours.Relayed())
}

// A caller tells the peer that it is elsewhere, and the peer's router is told;
// not if neither side is to learn an address of the other.
func TestToldElsewhere(t *testing.T) {
	t.Parallel()
	n := newAwayNodes(t, true)
	ours, theirs := n.dial(t)
	n.only.Store(true)
	ours.Tell(addrs("127.0.0.2:1"))
	require.Eventually(t, func() bool { return !ours.elsewhere.Load() }, time.Minute, time.Millisecond)
	n.only.Store(false)
	for i := range int32(3) {
		ours.Tell(addrs("127.0.0.2:1"))
		require.Eventually(t, func() bool { return n.db.moved.Load() == i+1 && !ours.elsewhere.Load() }, time.Minute, time.Millisecond)
	}
	theirs.Tell(addrs("127.0.0.3:1"))
	require.Eventually(t, func() bool { return !theirs.elsewhere.Load() }, time.Minute, time.Millisecond)
	require.Zero(t, n.da.moved.Load(), "the caller is the one to begin, so its router is not told")
}

// direct returns the address of the node that is called.
func (n *awayNodes) direct() netip.AddrPort {
	port, _ := n.lb.Port()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// A stranger that calls through a relay cannot ask for an address: neither of
// the protocols that tell addresses is spoken with it.
func TestStrangerThroughRelay(t *testing.T) {
	t.Parallel()
	n := newAwayNodes(t, false)
	ours, theirs := n.dial(t)
	require.True(t, theirs.Stranger())
	for _, protocol := range []string{junction.Upgrade, protocolMove} {
		_, err := ours.Open(t.Context(), protocol)
		require.ErrorIs(t, err, multistream.ErrNotSupported, protocol)
		s, err := theirs.Open(t.Context(), protocol) // no stranger: this node dialed it
		require.NoError(t, err, protocol)
		s.Close()
	}
	require.Zero(t, n.db.punched.Load())
}

// If a relay forwards a call to another peer, or names another caller, no
// connection is made.
func TestLyingRelay(t *testing.T) {
	t.Parallel()
	n := newAwayNodes(t, true)
	via := []p2p.Candidate{{Kind: p2p.Relay, Relay: n.identity}}
	c, lc, _ := startAlone(t, Config{})
	n.open(c, lc)
	to := func(id identity.RemoteIdentity) func(identity.RemoteIdentity) identity.RemoteIdentity {
		return func(identity.RemoteIdentity) identity.RemoteIdentity { return id }
	}
	n.callee = to(c.Identity())
	_, err := n.la.Dial(t.Context(), n.b.Identity(), via)
	require.ErrorIs(t, err, ErrOtherPeer)
	n.callee, n.caller = to(n.b.Identity()), to(c.Identity())
	events := n.b.Subscribe()
	defer events.Close()
	_, err = n.la.Dial(t.Context(), n.b.Identity(), via)
	if err == nil { // the handshake was over, and the connection is closed later
		require.Eventually(t, func() bool { return n.la.running().best(n.b.Identity()) == nil }, time.Minute, time.Millisecond)
	}
	require.Nil(t, n.lb.running().best(n.a.Identity()))
	require.Nil(t, n.lb.running().best(c.Identity()))
	n.laneless(t)
}

// laneless waits until no circuit is left.
func (n *awayNodes) laneless(t *testing.T) {
	t.Helper()
	for _, l := range []*Listener{n.la, n.lb} {
		lanes := &l.running().lanes
		require.Eventually(t, func() bool {
			lanes.mu.Lock()
			defer lanes.mu.Unlock()
			return len(lanes.all) == 0
		}, time.Minute, 10*time.Millisecond)
	}
}

// A circuit may end at any byte of the handshake: in that case, the dial fails
// at once, and nothing is left of it. The callee's part of the handshake takes
// two packets of 1,200 bytes. After these, the connection stands, and would go
// on through other circuits.
func TestCutCircuit(t *testing.T) {
	t.Parallel()
	n := newAwayNodes(t, true)
	for cut := 0; cut < 2*initialPacketSize; cut += 173 {
		n.mu.Lock()
		n.cut = cut
		n.mu.Unlock()
		_, err := n.la.Dial(t.Context(), n.b.Identity(), []p2p.Candidate{{Kind: p2p.Relay, Relay: n.identity}})
		require.ErrorIs(t, err, errCut, cut)
	}
	n.mu.Lock()
	n.cut = -1
	n.mu.Unlock()
	ours, _ := n.dial(t)
	require.NoError(t, ours.Close())
	n.laneless(t)
}

// If the peer answers at an address, no relay is waited for.
func TestReachWithoutWaiting(t *testing.T) {
	t.Parallel()
	n := newPatientNodes(t, true, time.Minute) // for a busy machine
	s, err := n.la.Dial(t.Context(), n.b.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: n.direct()}})
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	ours := n.la.running().best(n.b.Identity())
	n.da.another = func(ctx context.Context) error { // a relay that does not answer
		<-ctx.Done()
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	to, err := n.la.running().reach(ctx, ours, []netip.AddrPort{n.direct()})
	require.NoError(t, err)
	require.NoError(t, ctx.Err())
	require.Equal(t, n.direct(), to)

	n.da.another = func(context.Context) error { return errors.New("no relay") }
	to, err = n.la.running().reach(ctx, ours, []netip.AddrPort{n.direct()})
	require.NoError(t, err)
	require.Equal(t, n.direct(), to)
	n.da.another = nil
	to, err = n.la.running().reach(ctx, ours, nil)
	require.NoError(t, err)
	require.True(t, isLane(to), "no address was given, so a relay is left")
	n.la.running().dropLane(to)
	n.laneless(t)
}

// Streams and tunnels are opened while a connection switches between a circuit
// and an address.
func TestSwitchedMeanwhile(t *testing.T) {
	t.Parallel()
	n := newAwayNodes(t, true)
	ours, _ := n.dial(t)
	e := n.la.running()
	peer, ok := n.a.Peer(n.b.Identity())
	require.True(t, ok)
	switched := make(chan error, 1)
	var over atomic.Bool
	go func() {
		var err error
		for i := 0; !over.Load() && err == nil; i++ {
			to := n.direct()
			if i%2 == 1 {
				var c junction.Circuit
				var l *lane
				if c, err = n.da.Another(t.Context(), n.b.Identity(), n.identity, 2); err != nil {
					break
				}
				if l, err = e.openLane(c, nil); err != nil {
					break
				}
				to = l.addr
			}
			// At some hundred switches a second, quic-go leaves a probe
			// unanswered now and then, or the peer tells where it is while the
			// connection leaves for a circuit: the connection stays on its path,
			// and is moved again.
			err = ours.move(t.Context(), to)
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNotHere) {
				err = nil
			}
		}
		switched <- err
	}()
	for range 100 {
		s, err := peer.NewStream(t.Context())
		require.NoError(t, err)
		_, ok := s.Exporter("label") // as a tunnel
		require.True(t, ok)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		s.SetDeadline(time.Now().Add(time.Minute))
		_, err = io.ReadAll(s)
		require.NoError(t, err)
		s.Close()
	}
	over.Store(true)
	require.NoError(t, <-switched)
	require.False(t, ours.gone())
}

// dialAs calls through the exchange as another node, with its own key, from the
// first node's socket.
func (n *awayNodes) dialAs(t *testing.T, key identity.Identity) error {
	e := n.la.running()
	l, err := e.openLane(n.circuitOf(t, key), nil)
	require.NoError(t, err)
	if err = n.dialOver(t, key, l.addr); err != nil {
		e.closeLane(l)
	}
	return err
}

// circuitOf opens a circuit to b as another node.
func (n *awayNodes) circuitOf(t *testing.T, key identity.Identity) junction.Circuit {
	d := &desk{exchange: n.exchange, self: key.Remote()}
	c, err := d.Circuit(t.Context(), n.identity, netip.AddrPort{}, n.b.Identity(), 2)
	require.NoError(t, err)
	return c
}

// dialOver dials b as another node, at a virtual address.
func (n *awayNodes) dialOver(t *testing.T, key identity.Identity, addr netip.AddrPort) error {
	private, err := crypto.UnmarshalEd25519PrivateKey(key.PrivateKey())
	require.NoError(t, err)
	tr, err := libp2pquic.NewTransport(private, n.la.running().reuse, nil, nil, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = tr.Dial(ctx, multiaddr(addr), peerID(n.b.Identity()))
	return err
}

// All calls through one relay count as calls from one address, and each relay
// as another address: a caller that uses up the share of one relay leaves that
// of the others alone.
func TestRelayIsAnAddress(t *testing.T) {
	t.Parallel()
	_, l, _ := startAlone(t, Config{})
	e := l.running()
	relays := []identity.RemoteIdentity{identity.New().Remote(), identity.New().Remote()}
	seen, counted := map[netip.AddrPort]bool{}, map[netip.Addr]bool{}
	for i := range 100 {
		one, other := net.Pipe()
		defer other.Close()
		lane, err := e.openLane(junction.Circuit{ReadWriteCloser: one, Relay: relays[i%2], Peer: identity.New().Remote()}, nil)
		require.NoError(t, err)
		require.False(t, seen[lane.addr])
		seen[lane.addr], counted[addrOf(lane.addr.Addr())] = true, true
		require.Equal(t, netip.MustParsePrefix("100::/48"), netOf(lane.addr.Addr()))
		require.Equal(t, addrOf(lane.addr.Addr()), e.handshakes.paced(lane.addr.Addr())[0].Addr())
	}
	require.Len(t, counted, 2)
	for range 3 * e.limits.HandshakesPerSecond { // more than are allowed
		e.handshakes.mu.Lock()
		e.handshakes.pass(e.lanes.someOf(relays[0]))
		e.handshakes.mu.Unlock()
	}
	require.True(t, e.handshakes.outOfPace(e.lanes.someOf(relays[0])))
	require.False(t, e.handshakes.outOfPace(e.lanes.someOf(relays[1])))
}

// someOf returns the virtual address of a circuit through a relay.
func (l *lanes) someOf(relay identity.RemoteIdentity) netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, lane := range l.all {
		if lane.circuit.Relay == relay {
			return addr.Addr()
		}
	}
	return netip.Addr{}
}
