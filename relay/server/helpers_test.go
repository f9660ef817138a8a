package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

var loopback = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}

// within limits how long a test waits.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 30*time.Second, time.Millisecond, what)
}

// A relayTest is a relay with an issuer that it trusts.
type relayTest struct {
	*Server
	issuer identity.Identity
	ledger *FileLedger

	mu      sync.Mutex
	revoked map[uint32]bool
	serial  uint32
}

func newRelay(t testing.TB, alter func(*Config)) *relayTest {
	r := &relayTest{issuer: identity.New(), ledger: NewMemoryLedger(Monthly), revoked: map[uint32]bool{}}
	cfg := Config{
		Identity: identity.New(), Listen: loopback, Ledger: r.ledger,
		Trusted: func(id identity.RemoteIdentity) bool { return id == r.issuer.Remote() },
		Revoked: func(_ identity.RemoteIdentity, serial uint32) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.revoked[serial]
		},
		Limits: Limits{Leave: -1, Rate: -1},
	}
	if alter != nil {
		alter(&cfg)
	}
	s, err := New(cfg)
	require.NoError(t, err)
	r.Server = s
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return r
}

// token returns a token of the relay's issuer.
func (r *relayTest) token(t testing.TB, node identity.RemoteIdentity, account byte, alter ...func(*token.Token)) token.Token {
	r.mu.Lock()
	r.serial++
	made := token.Token{
		Node: node, Account: uuid.UUID{account}, Rights: token.Reserve | token.Connect,
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour), Serial: r.serial,
	}
	r.mu.Unlock()
	for _, f := range alter {
		f(&made)
	}
	made, err := made.Sign(r.issuer)
	require.NoError(t, err)
	return made
}

func (r *relayTest) payer(account byte) token.Account {
	return token.Account{Issuer: r.issuer.Remote(), Number: uuid.UUID{account}}
}

// A client speaks to a relay like a node, message by message.
type client struct {
	t     testing.TB
	id    identity.Identity
	host  host.Host
	relay peer.ID
	calls chan network.Stream // accepted circuits
	froms chan identity.RemoteIdentity
}

func newClient(t testing.TB, r *relayTest) *client { return newClientOf(t, r, identity.New()) }

func newClientOf(t testing.TB, r *relayTest, id identity.Identity) *client {
	h, closeHost, err := newHost(id, listening{}, &room{most: 1 << 20}, func(net.Addr) bool { return false })
	require.NoError(t, err)
	t.Cleanup(func() { closeHost() })
	c := &client{t: t, id: id, host: h, calls: make(chan network.Stream, 64), froms: make(chan identity.RemoteIdentity, 64)}
	c.relay = peerOf(t, r.Identity())
	addr, err := ma.NewMultiaddrBytes(circuit.AppendMultiaddr(nil, r.Addrs()[0]))
	require.NoError(t, err)
	h.Peerstore().AddAddr(c.relay, addr, peerstore.PermanentAddrTTL)
	h.SetStreamHandler(circuit.StopProtocol, c.stop)
	return c
}

func peerOf(t testing.TB, id identity.RemoteIdentity) peer.ID {
	p, err := peer.IDFromBytes(circuit.AppendPeerID(nil, id))
	require.NoError(t, err)
	return p
}

// stop accepts a circuit.
func (c *client) stop(s network.Stream) {
	m, err := circuit.ReadStop(s)
	if err != nil || m.Type != circuit.StopConnect {
		s.Reset()
		return
	}
	s.Write(circuit.Stop{Type: circuit.StopStatus, Status: circuit.OK}.Append(nil))
	c.froms <- m.Peer
	c.calls <- s
}

// conn returns the connection with the relay.
func (c *client) conn() network.Conn {
	c.t.Helper()
	conn, err := c.host.Network().DialPeer(within(c.t), c.relay)
	require.NoError(c.t, err)
	return conn
}

// open opens a stream for one of the relay's protocols.
func (c *client) open(protocol string) network.Stream {
	c.t.Helper()
	s, err := c.conn().NewStream(within(c.t))
	require.NoError(c.t, err)
	require.NoError(c.t, multistream.SelectProtoOrFail(protocol, s))
	s.SetReadDeadline(time.Now().Add(60 * time.Second))
	return s
}

// show shows tokens, and returns the answer and the stream for further
// messages.
func (c *client) show(tokens ...token.Token) (circuit.Answer, network.Stream) {
	c.t.Helper()
	s := c.open(circuit.AuthProtocol)
	b, err := circuit.AppendHello(nil, tokens)
	require.NoError(c.t, err)
	_, err = s.Write(b)
	require.NoError(c.t, err)
	a, err := circuit.ReadAnswer(s)
	require.NoError(c.t, err)
	return a, s
}

// ask sends a hop message and returns the answer.
func (c *client) ask(m circuit.Hop) (circuit.Status, network.Stream) {
	c.t.Helper()
	s := c.open(circuit.HopProtocol)
	_, err := s.Write(m.Append(nil))
	require.NoError(c.t, err)
	answer, err := circuit.ReadHop(s)
	require.NoError(c.t, err)
	require.Equal(c.t, circuit.HopStatus, answer.Type)
	return answer.Status, s
}

func (c *client) reserve() circuit.Status {
	c.t.Helper()
	status, s := c.ask(circuit.Hop{Type: circuit.HopReserve})
	s.Close()
	return status
}

// call opens a circuit, and returns its two ends.
func (c *client) call(to *client) (circuit.Status, network.Stream, network.Stream) {
	c.t.Helper()
	status, s := c.ask(circuit.Hop{Type: circuit.HopConnect, Peer: to.id.Remote()})
	if status != circuit.OK {
		return status, nil, nil
	}
	ctx := within(c.t)
	select {
	case accepted := <-to.calls:
		require.Equal(c.t, c.id.Remote(), <-to.froms)
		return status, s, accepted
	case <-ctx.Done():
		require.Fail(c.t, "the callee was not called")
	}
	return status, nil, nil
}

// carry sends n bytes from one end to the other, in pieces, and checks them.
func carry(t testing.TB, from, to network.Stream, n, piece int) {
	t.Helper()
	sent := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	failed := make(chan error, 1)
	go func() {
		for b := sent; len(b) > 0; {
			k := min(piece, len(b))
			if _, err := from.Write(b[:k]); err != nil {
				failed <- err
				return
			}
			b = b[k:]
		}
		failed <- nil
	}()
	got := make([]byte, n)
	to.SetReadDeadline(time.Now().Add(60 * time.Second))
	_, err := io.ReadFull(to, got)
	require.NoError(t, err)
	require.NoError(t, <-failed)
	require.Equal(t, sent, got)
}

// member returns a client that has shown a token of an account.
func (r *relayTest) member(t testing.TB, account byte, alter ...func(*token.Token)) *client {
	t.Helper()
	c := newClient(t, r)
	a, _ := c.show(r.token(t, c.id.Remote(), account, alter...))
	require.Equal(t, token.OK, a.Status)
	return c
}

// callee returns a member that can be called.
func (r *relayTest) callee(t testing.TB, account byte) *client {
	t.Helper()
	c := r.member(t, account)
	require.Equal(t, circuit.OK, c.reserve())
	return c
}

// used returns the bytes that the ledger has booked for an account.
func (r *relayTest) used(t testing.TB, account byte) int64 {
	n, err := r.ledger.Used(context.Background(), r.payer(account), 0)
	require.NoError(t, err)
	return n
}

// requireEnded requires that a stream was reset, and not merely that the test's
// own time-out has passed.
func requireEnded(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// settle ends all circuits of an account, and gives back what they have not
// used.
func (r *relayTest) settle(t testing.TB, account byte) *account {
	t.Helper()
	r.accounts.mu.Lock()
	a := r.accounts.all[r.payer(account)]
	r.accounts.mu.Unlock()
	require.NotNil(t, a)
	eventually(t, "circuits have ended", func() bool { return a.circuits.Load() == 0 })
	eventually(t, "it is given back", func() bool { return a.purse.giveBack(0) })
	eventually(t, "it is settled", func() bool { return r.treasury.work(context.Background()) == 0 })
	return a
}

func closeBoth(a, b network.Stream) {
	a.CloseWrite()
	b.CloseWrite()
	io.Copy(io.Discard, a)
	io.Copy(io.Discard, b)
	a.Close()
	b.Close()
}
