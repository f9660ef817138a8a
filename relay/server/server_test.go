package server

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	tptu "github.com/libp2p/go-libp2p/p2p/net/upgrader"
	relayclient "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

// stock turns a client into one of go-libp2p's own: circuit v2, Noise and
// yamux.
func (c *client) stock() peer.AddrInfo {
	c.host.RemoveStreamHandler(circuit.StopProtocol)
	private := c.host.Peerstore().PrivKey(c.host.ID())
	secure, err := noise.New(noise.ID, private, nil)
	require.NoError(c.t, err)
	up, err := tptu.New([]sec.SecureTransport{secure}, []tptu.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}, nil, nil, nil)
	require.NoError(c.t, err)
	require.NoError(c.t, relayclient.AddTransport(c.host, up))
	return peer.AddrInfo{ID: c.relay, Addrs: c.host.Peerstore().Addrs(c.relay)}
}

// go-libp2p's clients, which do not know tokens, are served if they are known
// by name.
func TestStockClients(t *testing.T) {
	known := map[identity.RemoteIdentity]token.Token{}
	one, two, stranger := identity.New(), identity.New(), identity.New()
	for _, id := range []identity.Identity{one, two} {
		known[id.Remote()] = token.Token{Account: uuid.UUID{9}, Rights: token.Reserve | token.Connect}
	}
	r := newRelay(t, func(cfg *Config) {
		cfg.Known = func(id identity.RemoteIdentity) (token.Token, bool) { x, ok := known[id]; return x, ok }
	})
	caller, callee, other := newClientOf(t, r, one), newClientOf(t, r, two), newClientOf(t, r, stranger)
	callee.host.SetStreamHandler("/echo", func(s network.Stream) {
		io.Copy(s, s)
		s.Close()
	})
	via := callee.stock()
	reservation, err := relayclient.Reserve(within(t), callee.host, via)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), reservation.Expiration, time.Minute)
	require.NotZero(t, reservation.LimitData, "without a limit, a client would take the circuit for a direct connection")
	require.NoError(t, callee.host.Network().Listen(ma.StringCast("/p2p-circuit")))
	answer, _ := callee.show()
	require.Equal(t, token.OK, answer.Status, "a known client of ours needs no token either")
	_, err = relayclient.Reserve(within(t), other.host, other.stock())
	require.ErrorContains(t, err, "PERMISSION_DENIED")

	caller.stock()
	through, err := ma.NewMultiaddr("/p2p/" + via.ID.String() + "/p2p-circuit")
	require.NoError(t, err)
	caller.host.Peerstore().AddAddr(callee.host.ID(), via.Addrs[0].Encapsulate(through), peerstore.PermanentAddrTTL)
	s, err := caller.host.NewStream(network.WithAllowLimitedConn(within(t), "test"), callee.host.ID(), "/echo")
	require.NoError(t, err)
	require.True(t, s.Conn().Stat().Limited)
	carry(t, s, s, 100_000, 100_000)
	require.Greater(t, r.metrics.relayed.Load(), int64(200_000))
}

// Without a token, everything is refused with "permission denied", even on
// another connection of a node that has shown one.
func TestAuthentication(t *testing.T) {
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	c := newClient(t, r)
	require.Equal(t, circuit.PermissionDenied, c.reserve())
	status, _, _ := c.call(callee)
	require.Equal(t, circuit.PermissionDenied, status)

	a, _ := c.show()
	require.Equal(t, token.Malformed, a.Status)
	local, err := udpAddr(c.conn().LocalMultiaddr())
	require.NoError(t, err)
	require.Equal(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), local.Port()), a.Observed)
	another := identity.New()
	for name, bad := range map[string]struct {
		token token.Token
		want  token.Status
	}{
		"another node's":  {r.token(t, another.Remote(), 1), token.AnotherNode},
		"another relay's": {r.token(t, c.id.Remote(), 1, func(x *token.Token) { x.Relay = another.Remote() }), token.AnotherRelay},
		"expired":         {expired(r, t, c), token.Expired},
		"not yet":         {r.token(t, c.id.Remote(), 1, func(x *token.Token) { x.NotBefore = time.Now().Add(7 * time.Minute) }), token.Expired},
	} {
		a, _ := c.show(bad.token)
		require.Equal(t, bad.want, a.Status, name)
		require.Equal(t, circuit.PermissionDenied, c.reserve(), name)
	}
	// If several tokens are shown, the first valid one counts.
	a, _ = c.show(r.token(t, another.Remote(), 1), r.token(t, c.id.Remote(), 1), r.token(t, c.id.Remote(), 2))
	require.Equal(t, token.OK, a.Status)
	require.InDelta(t, time.Hour, a.Again, float64(2*time.Minute))
	require.Equal(t, circuit.OK, c.reserve())
	status, _, _ = c.call(callee)
	require.Equal(t, circuit.OK, status)

	same := newClientOf(t, r, c.id)
	require.Equal(t, circuit.PermissionDenied, same.reserve())
	status, _, _ = same.call(callee)
	require.Equal(t, circuit.PermissionDenied, status)
	require.Equal(t, circuit.OK, c.reserve(), "the first connection goes on")
}

// Each right allows only what it names.
func TestRights(t *testing.T) {
	r := newRelay(t, nil)
	onlyReserve := r.member(t, 1, func(x *token.Token) { x.Rights = token.Reserve })
	onlyConnect := r.member(t, 1, func(x *token.Token) { x.Rights = token.Connect })
	require.Equal(t, circuit.OK, onlyReserve.reserve())
	require.Equal(t, circuit.PermissionDenied, onlyConnect.reserve())
	status, _, _ := onlyConnect.call(onlyReserve)
	require.Equal(t, circuit.OK, status)
	status, _, _ = onlyReserve.call(onlyConnect)
	require.Equal(t, circuit.PermissionDenied, status)
}

// A node that cannot be called looks the same whether it is absent, it belongs
// to another account, or the caller is not on its list.
func TestCallers(t *testing.T) {
	r := newRelay(t, nil)
	callee := newClient(t, r)
	_, auth := callee.show(r.token(t, callee.id.Remote(), 1))
	require.Equal(t, circuit.OK, callee.reserve())
	same, other := r.member(t, 1), r.member(t, 2)
	absent := &client{t: t, id: identity.New()}
	set := func(c circuit.Callers) {
		_, err := auth.Write(c.Append(circuit.Ping(1).Append(nil)))
		require.NoError(t, err)
		_, err = auth.Write(circuit.Ping(2).Append(nil))
		require.NoError(t, err)
		for _, want := range []circuit.Pong{1, 2} {
			m, err := circuit.ReadRelay(auth)
			require.NoError(t, err)
			require.Equal(t, want, m)
		}
	}
	key := other.id.Remote().Bytes()
	for _, c := range []struct {
		callers           *circuit.Callers
		sameMay, otherMay bool
	}{
		{nil, true, false},
		{&circuit.Callers{Rule: circuit.CallersAnyone}, true, true},
		{&circuit.Callers{Rule: circuit.CallersListed, Listed: []circuit.CallerPrefix{circuit.CallerPrefix(key[:8])}}, true, true},
		{&circuit.Callers{Rule: circuit.CallersAccount}, true, false},
		{&circuit.Callers{Rule: circuit.CallersListed}, true, false},
	} {
		if c.callers != nil {
			set(*c.callers)
		}
		r.pairs.forget()
		for who, may := range map[*client]bool{same: c.sameMay, other: c.otherMay} {
			want := circuit.NoReservation
			if may {
				want = circuit.OK
			}
			status, s, _ := who.call(callee)
			require.Equal(t, want, status, "%+v", c)
			if s != nil {
				s.Reset()
			}
		}
	}
	status, _, _ := same.call(absent)
	require.Equal(t, circuit.NoReservation, status)
}

// forget lets every pair try again at once.
func (ps *pairs) forget() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, s := range ps.all {
		s.last = time.Time{}
	}
}

// If a node shows a token on a new connection, it is called there; its previous
// connection is closed.
func TestNewerConnection(t *testing.T) {
	r := newRelay(t, nil)
	before := r.callee(t, 1)
	old := before.conn()
	after := newClientOf(t, r, before.id)
	a, _ := after.show(r.token(t, before.id.Remote(), 1))
	require.Equal(t, token.OK, a.Status)
	eventually(t, "the older connection is closed", old.IsClosed)
	require.Equal(t, circuit.OK, after.reserve())
	status, s, accepted := r.member(t, 1).call(after)
	require.Equal(t, circuit.OK, status)
	carry(t, s, accepted, 10, 10)
}

// If a node has two connections, a circuit uses the one with the reservation.
func TestCalledOnTheRightConnection(t *testing.T) {
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	same := newClientOf(t, r, callee.id)
	for range 8 { // go-libp2p prefers the connection with more streams
		s, err := same.conn().NewStream(within(t))
		require.NoError(t, err)
		require.NoError(t, multistream.SelectProtoOrFail(circuit.HopProtocol, s))
	}
	status, s, accepted := r.member(t, 1).call(callee)
	require.Equal(t, circuit.OK, status)
	carry(t, s, accepted, 10, 10)
}

// If a token is revoked or expires, or its issuer is no longer trusted, the
// connection ends, together with its circuits.
func TestAccessEnds(t *testing.T) {
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	caller := newClient(t, r)
	shown := r.token(t, caller.id.Remote(), 1)
	_, _ = caller.show(shown)
	status, s, accepted := caller.call(callee)
	require.Equal(t, circuit.OK, status)
	carry(t, s, accepted, 1000, 100)
	now := time.Now()
	r.review(now)
	carry(t, accepted, s, 1000, 100)

	r.mu.Lock()
	r.revoked[shown.Serial] = true
	r.mu.Unlock()
	r.Review()
	eventually(t, "the caller's connection is closed", s.Conn().IsClosed)
	_, err := s.Read(make([]byte, 1))
	requireEnded(t, err)
	_, err = accepted.Read(make([]byte, 1))
	requireEnded(t, err)
	again := newClientOf(t, r, caller.id)
	a, _ := again.show(shown)
	require.Equal(t, token.Revoked, a.Status)

	conn := callee.conn()
	require.False(t, conn.IsClosed())
	r.review(now.Add(time.Hour + 4*time.Minute))
	require.False(t, conn.IsClosed(), "a few minutes are granted for differing clocks")
	r.review(now.Add(time.Hour + 6*time.Minute))
	eventually(t, "it is closed", conn.IsClosed)
}

// A node that shows a new token in time keeps its connection.
func TestShownAgain(t *testing.T) {
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	caller := newClient(t, r)
	short := r.token(t, caller.id.Remote(), 1, func(x *token.Token) { x.Expiry = x.NotBefore.Add(5 * time.Minute) })
	_, first := caller.show(short)
	status, s, accepted := caller.call(callee)
	require.Equal(t, circuit.OK, status)
	a, second := caller.show(r.token(t, caller.id.Remote(), 1))
	require.Equal(t, token.OK, a.Status)
	ping := func(s network.Stream) {
		_, err := s.Write(circuit.Ping(7).Append(nil))
		require.NoError(t, err)
		m, err := circuit.ReadRelay(s)
		require.NoError(t, err)
		require.Equal(t, circuit.Pong(7), m)
	}
	ping(first) // the client is the one to close it
	ping(second)
	a, third := caller.show(expired(r, t, caller))
	require.Equal(t, token.Expired, a.Status, "the access granted before stays")
	ping(third)
	_, err := first.Read(make([]byte, 1))
	requireEnded(t, err)
	r.review(time.Now().Add(30 * time.Minute))
	carry(t, s, accepted, 1000, 100)
}

// expired returns a token that has expired.
func expired(r *relayTest, t *testing.T, c *client) token.Token {
	return r.token(t, c.id.Remote(), 1, func(x *token.Token) {
		x.NotBefore, x.Expiry = time.Now().Add(-time.Hour), time.Now().Add(-6*time.Minute)
	})
}

// Strangers have few places, which they take from each other and not from
// members; their connections are closed after a while.
func TestStrangers(t *testing.T) {
	r := newRelay(t, func(cfg *Config) { cfg.Limits.Strangers = 8 })
	callee := r.callee(t, 1)
	for range 40 {
		newClient(t, r).conn()
		all, members := r.sessions.counts()
		require.LessOrEqual(t, all-members, 8)
	}
	eventually(t, "the others are evicted", func() bool { return r.metrics.evicted.Load() == 32 })
	eventually(t, "they are closed", func() bool { return r.room.open.Load() <= 9 })
	require.False(t, callee.conn().IsClosed())
	status, s, accepted := r.member(t, 1).call(callee)
	require.Equal(t, circuit.OK, status)
	carry(t, s, accepted, 10, 10)
	r.expel(time.Now().Add(r.cfg.Limits.Patience))
	eventually(t, "no stranger is left", func() bool { all, members := r.sessions.counts(); return all == members })
	require.Equal(t, circuit.OK, callee.reserve())
}

func TestAccountLimits(t *testing.T) {
	r := newRelay(t, func(cfg *Config) {
		cfg.Limits.AccountReservations, cfg.Limits.AccountCircuits, cfg.Limits.AccountConnects = 2, 2, 4
	})
	one, two := r.callee(t, 1), r.callee(t, 1)
	third := r.member(t, 1)
	require.Equal(t, circuit.ReservationRefused, third.reserve())
	require.Equal(t, circuit.OK, one.reserve(), "a renewal")
	r.callee(t, 2) // of another account
	require.NoError(t, one.conn().Close())
	eventually(t, "a place is free", func() bool { return third.reserve() == circuit.OK })

	caller := r.member(t, 1)
	status, s, _ := caller.call(two)
	require.Equal(t, circuit.OK, status)
	status, _, _ = caller.call(two)
	require.Equal(t, circuit.ResourceLimit, status, "a second time within a second")
	status, _, _ = caller.call(third)
	require.Equal(t, circuit.OK, status)
	r.pairs.forget()
	status, _, _ = caller.call(two)
	require.Equal(t, circuit.ResourceLimit, status, "a third circuit")
	s.Reset()
	payer := r.accounts.get(r.token(t, caller.id.Remote(), 1))
	eventually(t, "the circuit has ended", func() bool { return payer.circuits.Load() == 1 })
	payer.connects.set(0, 4)
	r.pairs.forget()
	status, _, _ = caller.call(two)
	require.Equal(t, circuit.OK, status)
	payer.connects.set(0.000001, 0)
	r.pairs.forget()
	status, _, _ = caller.call(third)
	require.Equal(t, circuit.ResourceLimit, status, "too many in a second")
}

func TestMalformedRequests(t *testing.T) {
	r := newRelay(t, nil)
	c := r.member(t, 1)
	for name, m := range map[string][]byte{"a status": circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK}.Append(nil), "no message": {2, 0xFF, 0xFF}, "too long": {0xFF, 0xFF, 0x7F}} {
		s := c.open(circuit.HopProtocol)
		_, err := s.Write(m)
		require.NoError(t, err)
		answer, err := circuit.ReadHop(s)
		require.NoError(t, err, name)
		require.Equal(t, circuit.MalformedMessage, answer.Status, name)
	}
	s := c.open(circuit.AuthProtocol)
	_, err := s.Write([]byte{7, 0})
	require.NoError(t, err)
	_, err = io.ReadAll(s)
	requireEnded(t, err)
	_, auth := c.show(r.token(t, c.id.Remote(), 1))
	_, err = auth.Write([]byte{99})
	require.NoError(t, err)
	_, err = io.ReadAll(auth)
	requireEnded(t, err)
	require.Equal(t, circuit.OK, c.reserve(), "the connection stays open")
}

// A client that keeps sending requests is cut off.
func TestFlood(t *testing.T) {
	r := newRelay(t, nil)
	c := newClient(t, r)
	_, auth := c.show(r.token(t, c.id.Remote(), 1))
	var b []byte
	for i := range 5000 {
		b = circuit.Ping(i).Append(b)
	}
	auth.Write(b)
	_, err := io.ReadAll(auth)
	requireEnded(t, err)
}

func TestLeave(t *testing.T) {
	var directory MemoryDirectory
	other := Entry{Relay: identity.New().Remote(), Zone: "b"}
	require.NoError(t, directory.Publish(context.Background(), other, time.Hour))
	r := newRelay(t, func(cfg *Config) {
		cfg.Directory, cfg.Entry.Zone, cfg.Limits.Leave = &directory, "a", 20*time.Second
	})
	eventually(t, "it is announced", func() bool { all, _ := directory.List(context.Background(), "a"); return len(all) == 1 })
	callee := newClient(t, r)
	_, auth := callee.show(r.token(t, callee.id.Remote(), 1))
	require.Equal(t, circuit.OK, callee.reserve())
	caller := r.member(t, 1)
	status, s, accepted := caller.call(callee)
	require.Equal(t, circuit.OK, status)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	cancel()
	m, err := circuit.ReadRelay(auth)
	require.NoError(t, err)
	require.Equal(t, circuit.Leave{After: 20 * time.Second, Instead: []identity.RemoteIdentity{other.Relay}}, m)
	carry(t, s, accepted, 1000, 100)
	require.Equal(t, circuit.ReservationRefused, caller.reserve())
	all, err := directory.List(context.Background(), "a")
	require.NoError(t, err)
	require.Empty(t, all)
	select {
	case <-ended:
		t.Fatal("it did not wait")
	default:
	}
	require.NoError(t, callee.conn().Close())
	require.NoError(t, caller.conn().Close())
	require.NoError(t, <-ended, "it must wait no longer than there are clients")
}
