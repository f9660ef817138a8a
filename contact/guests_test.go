package contact_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
)

// A device is a node with libraries, whose members are its contacts.
type device struct {
	*node
	libraries *library.Libraries
	pairing   *pairing.Pairing
	library   *library.Library
	asked     []pairing.Device
}

// device starts a device, in the mode for contacts only if private is set, and
// in the open otherwise.
func (l *lan) device(t *testing.T, name string, private bool) *device {
	t.Helper()
	d := &device{node: &node{listener: quic.New(quic.Config{DialTimeout: patience})}, libraries: library.New(library.Config{})}
	d.contacts = contact.New(contact.Config{Listener: d.listener, Also: contact.FromLibraries(d.libraries)})
	d.pairing = pairing.New(pairing.Config{Libraries: d.libraries, Contacts: d.contacts})
	d.contacts.Veil(private)
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, d.libraries)
	mux.Handle(pairing.Route, p2p.Anyone, d.pairing)
	mux.HandleFunc("echo", p2p.Anyone, echo)
	var err error
	d.P2P, err = p2p.Start(t.Context(), p2p.Config{
		App: "test", Name: name, Handler: &mux, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Hooks: []p2p.Hook{d.libraries, d.pairing, d.listener, d.contacts},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, d.Shutdown(ctx))
	})
	l.join(t, d.node)
	if private {
		shows(t, d.node)
	}
	return d
}

// invite makes a library on the device, if it has none, and a ticket for it.
func (d *device) invite(t *testing.T) *pairing.Invitation {
	t.Helper()
	if d.library == nil {
		var err error
		d.library, err = d.libraries.Found("Photos", library.RecoveryKey{})
		require.NoError(t, err)
	}
	i, err := d.pairing.Invite(d.library, pairing.InviteConfig{Confirm: d.yes, Addrs: []netip.AddrPort{d.addr(t)}})
	require.NoError(t, err)
	return i
}

func (d *device) yes(_ context.Context, other pairing.Device) bool {
	d.asked = append(d.asked, other)
	return true
}

func (d *device) joins(ctx context.Context, ticket pairing.Ticket) (err error) {
	d.library, err = d.pairing.Join(ctx, ticket, pairing.JoinConfig{Confirm: d.yes})
	return err
}

// reads returns the ticket as if another device had read it from a screen.
func reads(t *testing.T, ticket pairing.Ticket) pairing.Ticket {
	t.Helper()
	got, err := pairing.ParseTicket(ticket.Text())
	require.NoError(t, err)
	return got
}

// paired checks that two devices have paired, and waits until they have found
// each other.
func paired(t *testing.T, a, b *device, i *pairing.Invitation) {
	t.Helper()
	_, err := i.Wait(within(t))
	require.NoError(t, err)
	require.Equal(t, a.asked[0].Code, b.asked[0].Code)
	require.Equal(t, b.Identity(), a.asked[0].Node)
	require.Len(t, b.library.Roster().Members, 2)
}

// Two devices of which one or both are visible to contacts only pair by a
// ticket, and are contacts afterwards. The ticket remains valid while keys
// change.
func TestPair(t *testing.T) {
	t.Parallel()
	for name, private := range map[string][2]bool{"both": {true, true}, "inviting": {true, false}, "joining": {false, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &lan{}
			a, b := l.device(t, "Alice's", private[0]), l.device(t, "Bob's", private[1])
			i := a.invite(t)
			ticket := reads(t, i.Ticket())
			require.Equal(t, private[0], !ticket.Ephemeral.IsZero())
			if private[0] {
				for range 5 {
					require.NotEqual(t, ticket.Ephemeral, shows(t, a.node).Key, "the ticket's key must not be announced")
					a.contacts.Turn()
				}
			}
			require.NoError(t, b.joins(within(t), ticket))
			paired(t, a, b, i)
			for _, d := range []*device{a, b} {
				d.contacts.Veil(true)
			}
			a.finds(t, b.node)
			b.finds(t, a.node)
			i.Cancel() // this undoes nothing: the new contact stays
			require.NoError(t, a.contacts.Set(nil))
			peer, _ := a.Peer(b.Identity())
			s, err := peer.Open(within(t), "echo")
			require.NoError(t, err)
			s.Reset(p2p.ErrCanceled)
		})
	}
}

// A node that knows the key of a ticket, which dials reveal, but not its
// secret, is refused in the same way as a stranger. So is a node that knows the
// secret but does not say who it is.
func TestPairStranger(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a := l.start(t, p2p.Config{})
	key, self, other, secret := identity.New(), identity.New(), identity.New(), [32]byte{1}
	by, _, over, ok := a.contacts.Invite(secret)
	require.True(t, ok)
	const invited = "sdp2p-invited-v1"
	says := func(what ...byte) func(c *quicgo.Conn, s *quicgo.Stream) {
		return func(c *quicgo.Conn, s *quicgo.Stream) {
			in, err := tunnelIn(t, c, s, self, key, invited, secret, a.Identity())
			require.NoError(t, err)
			_, err = in.Write(what)
			require.NoError(t, err)
			_ = in.CloseWrite() // the node may have been refused before this
		}
	}
	own, others := self.Remote().Bytes(), other.Remote().Bytes()
	want := attempt(t, a, key, prove(t, self, key, "sdp2p-contact-v1", [32]byte{}, a.Identity()))
	for name, do := range map[string]func(*quicgo.Conn, *quicgo.Stream){
		"stranger":         prove(t, self, key, invited, [32]byte{}, a.Identity()),
		"of contacts":      prove(t, self, key, "sdp2p-contact-v1", [32]byte{}, a.Identity()),
		"for another":      prove(t, self, key, invited, secret, other.Remote()),
		"pairing's tunnel": prove(t, self, key, "sdp2p-pairing-v1", secret, a.Identity()),
		"somebody else":    says(others[:]...),
		"nobody":           says(make([]byte, 32)...),
		"too little":       says(own[:31]...),
		"too much":         says(append(own[:], 0)...),
		"nothing":          func(*quicgo.Conn, *quicgo.Stream) {},
		"version 2":        ask("/sdp2p/2/stream"),
	} {
		require.Equal(t, want, attemptBy(t, a, by, key, do), name)
	}
	require.Equal(t, want, attempt(t, a, key, prove(t, self, key, invited, secret, a.Identity())), "by the announced key")
	require.Empty(t, a.Peers())
	ended := make(chan string)
	go func() { ended <- attemptBy(t, a, by, key, says(own[:]...)) }()
	until(t, "the guest is in", func() bool { return connected(a.P2P, self.Remote()) })
	over()
	require.Equal(t, "0", strings.TrimSpace(<-ended), "must not end for being idle")
	require.Equal(t, want, attemptBy(t, a, by, key, prove(t, self, key, invited, secret, a.Identity())), "afterwards")
}

// A ticket with another key or place in it leads nowhere: the node at that
// place does not learn who has scanned the ticket, and the inviting node does
// not pair.
func TestPairAltered(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b, mallory := l.device(t, "Alice's", true), l.device(t, "Bob's", true), l.device(t, "Mallory's", true)
	good, bad := a.invite(t).Ticket(), mallory.invite(t).Ticket()
	altered := map[string]func(*pairing.Ticket){
		"key":   func(t *pairing.Ticket) { t.Ephemeral = bad.Ephemeral },
		"place": func(t *pairing.Ticket) { t.Addrs = bad.Addrs },
		"both":  func(t *pairing.Ticket) { t.Ephemeral, t.Addrs = bad.Ephemeral, bad.Addrs },
		"node":  func(t *pairing.Ticket) { t.Node = mallory.Identity() },
	}
	for name, alter := range altered {
		ticket := reads(t, good)
		alter(&ticket)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() { failed <- b.joins(ctx, ticket) }()
		peerFails(t, b, ticket.Node)
		cancel()
		require.Error(t, <-failed, name)
		require.Empty(t, mallory.Peers(), name)
		require.Empty(t, a.Peers(), name)
		require.Empty(t, b.asked, name)
	}
}

// peerFails waits until a device fails to connect to a node that it looks for.
func peerFails(t *testing.T, d *device, id identity.RemoteIdentity) {
	t.Helper()
	until(t, "a dial that failed", func() bool {
		peer, ok := d.Peer(id)
		if !ok {
			return false
		}
		_, err := peer.Open(within(t), "echo")
		return err != nil
	})
}

// A second device with the same ticket learns that the ticket was used, and is
// disconnected. Once the invitation is over, its key is not accepted any more.
func TestPairOver(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b, c := l.device(t, "Alice's", true), l.device(t, "Bob's", true), l.device(t, "Carol's", true)
	i := a.invite(t)
	ticket := reads(t, i.Ticket())
	require.NoError(t, b.joins(within(t), ticket))
	require.ErrorIs(t, c.joins(within(t), ticket), pairing.ErrUsed)
	paired(t, a, b, i)
	until(t, "the other one is disconnected", func() bool { return !connected(a.P2P, c.Identity()) && !connected(c.P2P, a.Identity()) })
	i.Cancel()
	a.finds(t, b.node)
	until(t, "its key is gone", func() bool {
		conn, err := dial(t, a.node, credentials(t, identity.New(), nameFor(ticket.Ephemeral)))
		require.NoError(t, err)
		return keyOf(t, conn) != ticket.Ephemeral
	})
}
