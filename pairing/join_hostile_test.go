package pairing_test

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/tunnel"
)

// An inviter is a node that serves pairing with code written by hand.
type inviter struct {
	*p2p.P2P
	id     identity.Identity
	ticket pairing.Ticket
	opened chan *tunnel.Conn
}

func newInviter(t *testing.T, network *p2ptest.Network) *inviter {
	id := identity.New()
	m := &inviter{id: id, opened: make(chan *tunnel.Conn, 1), ticket: craft(t, id.Remote(), [16]byte{7}, time.Now().Add(time.Hour))}
	var mux p2p.Mux
	with := tunnel.NewCredentialFor(purpose, id, pskOf(t, m.ticket))
	mux.HandleFunc(pairing.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		c, err := accept(s, m.P2P, with)
		if err != nil {
			return err
		}
		m.opened <- c
		<-c.Done()
		return nil
	})
	m.P2P = network.Start(t, p2p.Config{App: "pairing", Identity: id, Handler: &mux})
	return m
}

// agrees sends agreement, and waits for that of the other side.
func agrees(t *testing.T, c *tunnel.Conn) {
	c.Write(append(replyOf(0, "M"), 0))
	require.Equal(t, []byte{0}, expect(t, c, 1))
}

// TestOtherLibrary: a ticket admits a device to the library that it names, and
// to no other.
func TestOtherLibrary(t *testing.T) {
	for _, same := range []bool{true, false} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			m := newInviter(t, network)
			b := newDevice().start(t, "Bob's", network.Hooks()...)
			pass(time.Second)
			r := libraryOf(t, m.id, library.RoleAdmin)
			m.ticket.Library = uuid.New()
			if same {
				m.ticket.Library = r.ID
			}
			later(t, 0, func() {
				c := <-m.opened
				expect(t, c, 3+len("Bob's"))
				agrees(t, c)
				c.Write(welcomeOf(t, r))
				c.CloseWrite()
				io.Copy(io.Discard, c)
				c.Abort(io.EOF)
			})
			err := b.join(t.Context(), m.ticket, b.yes)
			if same {
				require.ErrorIs(t, err, pairing.ErrUnfinished, "the tunnel ended instead of the last message")
				return
			}
			require.ErrorIs(t, err, pairing.ErrProtocol)
			require.Empty(t, b.kept)
		})
	}
}

// An inviter may send anything: the joiner stores nothing of it, and its error
// says why.
func TestHostileInviter(t *testing.T) {
	me := newDevice()
	bad := func(alter func(r *library.Record, m *inviter)) func(t *testing.T, m *inviter, c *tunnel.Conn) {
		return func(t *testing.T, m *inviter, c *tunnel.Conn) {
			r := libraryOf(t, m.id, library.RoleAdmin)
			alter(&r, m)
			agrees(t, c)
			c.Write(welcomeOf(t, r))
		}
	}
	yes := append(replyOf(0, "M"), 0)
	for name, test := range map[string]struct {
		says  func(t *testing.T, m *inviter, c *tunnel.Conn)
		want  error
		asked int
		kept  int
		takes time.Duration
	}{
		"nothing":            {func(t *testing.T, m *inviter, c *tunnel.Conn) {}, pairing.ErrUnfinished, 0, 0, 10 * time.Second},
		"the end":            {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Close() }, pairing.ErrUnfinished, 0, 0, 0},
		"version 1":          {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write([]byte{1}) }, pairing.ErrProtocol, 0, 0, 0},
		"an unknown status":  {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(replyOf(5, "")) }, pairing.ErrProtocol, 0, 0, 0},
		"used":               {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(replyOf(1, "")) }, pairing.ErrUsed, 0, 0, 0},
		"declined":           {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(replyOf(2, "")) }, pairing.ErrPeerDeclined, 0, 0, 0},
		"silence":            {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(replyOf(0, "")) }, pairing.ErrNoAnswer, 1, 0, pairing.ConfirmTime},
		"no":                 {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(append(replyOf(0, "M"), 2)) }, pairing.ErrPeerDeclined, 1, 0, 0},
		"no secret":          {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(yes) }, pairing.ErrUnfinished, 1, 0, 10 * time.Second},
		"no after yes":       {func(t *testing.T, m *inviter, c *tunnel.Conn) { c.Write(append(yes, 2)) }, pairing.ErrPeerDeclined, 1, 0, 0},
		"not in the library": {bad(func(r *library.Record, m *inviter) { r.Statements = nil }), pairing.ErrProtocol, 1, 0, 0},
		"elsewhere":          {bad(func(r *library.Record, m *inviter) { *r = libraryOf(t, identity.New(), library.RoleAdmin) }), pairing.ErrProtocol, 1, 0, 0},
		"no admin":           {bad(func(r *library.Record, m *inviter) { *r = libraryOf(t, m.id, library.RoleMember) }), pairing.ErrProtocol, 1, 0, 0},
		"no UUID":            {bad(func(r *library.Record, m *inviter) { r.ID = uuid.Nil }), pairing.ErrProtocol, 1, 0, 0},
		"another library":    {bad(func(r *library.Record, m *inviter) { r.ID = uuid.New() }), pairing.ErrProtocol, 1, 0, 0},
		"another founder":    {bad(func(r *library.Record, m *inviter) { r.Founder = identity.New().Remote() }), pairing.ErrProtocol, 1, 0, 0},
		"another secret":     {bad(func(r *library.Record, m *inviter) { r.Secret = library.NewSecret() }), pairing.ErrProtocol, 1, 0, 0},
		"forged":             {bad(func(r *library.Record, m *inviter) { r.Statements[1].Time++ }), pairing.ErrProtocol, 1, 0, 0},
		"out of order":       {bad(func(r *library.Record, m *inviter) { slices.Reverse(r.Statements) }), pairing.ErrProtocol, 1, 0, 0},
		"admits nobody": {func(t *testing.T, m *inviter, c *tunnel.Conn) {
			agrees(t, c)
			c.Write(append(welcomeOf(t, libraryOf(t, m.id, library.RoleAdmin)), 0, 0))
		}, pairing.ErrProtocol, 1, 1, 0},
		"no last word": {bad(func(*library.Record, *inviter) {}), pairing.ErrUnfinished, 1, 1, 10 * time.Second},
		"fails after all": {func(t *testing.T, m *inviter, c *tunnel.Conn) {
			agrees(t, c)
			c.Write(append(welcomeOf(t, libraryOf(t, m.id, library.RoleAdmin)), 4))
		}, pairing.ErrPeerFailed, 1, 1, 0},
		"the end instead of the last word": {func(t *testing.T, m *inviter, c *tunnel.Conn) {
			agrees(t, c)
			c.Write(welcomeOf(t, libraryOf(t, m.id, library.RoleAdmin)))
			c.CloseWrite()
		}, pairing.ErrUnfinished, 1, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				m := newInviter(t, network)
				b := me
				b.asked, b.kept = nil, nil
				b.start(t, "Bob's", network.Hooks()...)
				pass(time.Second)
				later(t, 0, func() {
					c := <-m.opened
					expect(t, c, 3+len("Bob's"))
					test.says(t, m, c)
					io.Copy(io.Discard, c)
					c.Abort(io.EOF)
				})
				began := time.Now()
				require.ErrorIs(t, b.join(t.Context(), m.ticket, b.yes), test.want)
				require.Equal(t, test.takes, time.Since(began))
				pass(0)
				require.Len(t, b.asked, test.asked)
				require.Len(t, b.kept, test.kept)
				require.Empty(t, b.libraries.All())
			})
		})
	}
}

// A node that shows another node's ticket as its own, and forwards all bytes to
// that node, gets nowhere: the handshake covers the keys.
func TestInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		relayed := 0
		var m *p2p.P2P
		var mux p2p.Mux
		mux.HandleFunc(pairing.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
			relayed++
			peer, _ := m.Peer(a.Identity())
			on, err := peer.Open(ctx, pairing.Route)
			if err != nil {
				return err
			}
			go func() { io.Copy(on, s); on.CloseWrite() }()
			_, err = io.Copy(s, on)
			return err
		})
		m = network.Start(t, p2p.Config{App: "pairing", Handler: &mux})
		pass(time.Second)
		i := a.invite(t, pairing.InviteConfig{})
		ticket := i.Ticket()
		ticket.Node = m.Identity()
		require.ErrorIs(t, b.join(t.Context(), ticket, b.yes), pairing.ErrRefused)
		require.Equal(t, 1, relayed)
		require.Empty(t, a.asked)
		require.Empty(t, b.asked)
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes), "the ticket is still good")
	})
}

// A node cannot use another node's name, and a tunnel for another purpose is no
// pairing.
func TestOtherKeys(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.invite(t, pairing.InviteConfig{})
		for name, with := range map[string]*tunnel.Credential{
			"another key":     tunnel.NewCredentialFor(purpose, identity.New(), pskOf(t, i.Ticket())),
			"another purpose": tunnel.NewCredentialFor([16]byte{}, b.id, pskOf(t, i.Ticket())),
			"a library's":     tunnel.NewCredential(uuid.UUID{}, b.id, pskOf(t, i.Ticket())),
			"no secret":       tunnel.NewCredentialFor(purpose, b.id, [32]byte{}),
		} {
			session, err := library.Session(b.P2P, b.open(t, a.Identity(), pairing.Route))
			require.NoError(t, err)
			_, err = tunnel.Open(t.Context(), session, with, tunnel.Member{Instance: a.Identity(), Node: a.Identity()})
			require.ErrorIs(t, err, p2p.ErrTunnelRefused, name)
			pass(time.Second)
		}
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
	})
}
