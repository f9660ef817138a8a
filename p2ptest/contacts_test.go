package p2ptest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

func ids(nodes ...*p2p.P2P) (all []identity.RemoteIdentity) {
	for _, n := range nodes {
		all = append(all, n.Identity())
	}
	return all
}

// sees checks that a node sees the other given nodes, and nobody else.
func sees(t *testing.T, n *p2p.P2P, others ...*p2p.P2P) {
	t.Helper()
	synctest.Wait()
	seen := []identity.RemoteIdentity{}
	for _, p := range n.Peers() {
		seen = append(seen, p.Identity())
	}
	require.ElementsMatch(t, ids(others...), seen)
}

// In the mode for contacts only, two contacts see each other, but a node that
// has a contact whose contact it is not sees nobody. Nodes that are not in the
// mode see each other. The mode can be switched in any order.
func TestContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		only := p2ptest.ContactsConfig{Only: true}
		ca, cb, cm := network.Contacts(only), network.Contacts(only), network.Contacts(only)
		a, b, m := ca.Start(t, p2p.Config{Name: "a"}), cb.Start(t, p2p.Config{Name: "b", Handler: echo}), cm.Start(t, p2p.Config{})
		public := network.Start(t, p2p.Config{})
		for _, n := range []*p2p.P2P{a, b, m, public} {
			sees(t, n)
		}
		require.NoError(t, ca.Set(ids(b, a)))
		require.NoError(t, cm.Set(ids(a, b, public)))
		sees(t, a)
		require.NoError(t, cb.Set(ids(a)))
		sees(t, a, b)
		sees(t, b, a)
		sees(t, m)
		peer, _ := a.Peer(b.Identity())
		require.True(t, peer.Info().Tracked)
		s := open(t, peer)
		require.NoError(t, exchange(s))

		cb.SetOnly(false)
		require.ErrorIs(t, exchange(s), p2p.ErrConnectionLost)
		sees(t, a)
		sees(t, b, public)
		sees(t, public, b)
		cb.SetOnly(false)
		ca.SetOnly(false)
		sees(t, b, public, a)
		peer, _ = a.Peer(b.Identity())
		s = open(t, peer)
		require.NoError(t, exchange(s))
		ca.SetOnly(true)
		cb.SetOnly(true)
		sees(t, public)
		sees(t, a, b)
		require.NoError(t, exchange(open(t, peer)))
		require.NoError(t, cb.Set(nil))
		sees(t, a)
		sees(t, b)
		require.Empty(t, b.Tracked())
	})
}

// Once a node is in the mode, it cannot be reached at an address that somebody
// knows.
func TestContactsAtAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		contacts := network.Contacts(p2ptest.ContactsConfig{})
		a := contacts.Start(t, p2p.Config{Handler: echo})
		addr := a.Listeners()[0].Addrs[0]
		l := network.Listener(p2ptest.ListenerConfig{})
		node, err := p2p.Start(t.Context(), p2p.Config{App: "x", Hooks: []p2p.Hook{l}})
		require.NoError(t, err)
		defer node.Shutdown(context.Background())
		dial := func() error {
			s, err := l.Dial(t.Context(), a.Identity(), []p2p.Candidate{{Kind: p2p.Manual, Addr: addr}})
			if err == nil {
				s.Reset(p2p.ErrCanceled)
			}
			return err
		}
		require.NoError(t, dial())
		contacts.SetOnly(true)
		synctest.Wait()
		began := time.Now()
		require.ErrorIs(t, dial(), p2ptest.ErrUnreachable)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}

// Invalid contacts are refused, as in package contact.
func TestContactsRefused(t *testing.T) {
	c := p2ptest.NewNetwork(p2ptest.Config{}).Contacts(p2ptest.ContactsConfig{})
	many := make([]identity.RemoteIdentity, p2ptest.MaxContacts+1)
	for i := range many {
		many[i] = identity.New().Remote()
	}
	require.ErrorIs(t, c.Set(many), p2ptest.ErrTooManyContacts)
	require.NoError(t, c.Set(many[1:]))
	a := many[0].Bytes()
	a[31] ^= 0x80
	minus, err := identity.FromBytes(a[:])
	require.NoError(t, err)
	require.ErrorIs(t, c.Set([]identity.RemoteIdentity{many[0], minus}), p2ptest.ErrSameForm)
	require.Error(t, c.Set(make([]identity.RemoteIdentity, 1)))
}

// Two nodes in the mode pair by a ticket, and then see each other as members of
// a library; a third node does not see them.
func TestContactsPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		type device struct {
			*p2p.P2P
			libraries *library.Libraries
			pairing   *pairing.Pairing
		}
		begin := func() *device {
			d := &device{libraries: library.New(library.Config{})}
			contacts := network.Contacts(p2ptest.ContactsConfig{Only: true, Also: func() (all []identity.RemoteIdentity) {
				for _, l := range d.libraries.All() {
					for _, m := range l.Members() {
						all = append(all, m.Member.Node)
					}
				}
				return all
			}})
			d.pairing = pairing.New(pairing.Config{Libraries: d.libraries, Contacts: contacts})
			var mux p2p.Mux
			mux.Handle(library.Route, p2p.Anyone, d.libraries)
			mux.Handle(pairing.Route, p2p.Anyone, d.pairing)
			d.P2P = contacts.Start(t, p2p.Config{Handler: &mux, Hooks: []p2p.Hook{d.libraries, d.pairing}})
			return d
		}
		a, b, m := begin(), begin(), begin()
		sees(t, a.P2P)
		photos, err := a.libraries.Found("Photos", library.RecoveryKey{})
		require.NoError(t, err)
		yes := func(context.Context, pairing.Device) bool { return true }
		i, err := a.pairing.Invite(photos, pairing.InviteConfig{Confirm: yes, Addrs: a.Listeners()[0].Addrs})
		require.NoError(t, err)
		other := i.Ticket()
		other.Ephemeral = identity.New().Remote()
		brief, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = m.pairing.Join(brief, other, pairing.JoinConfig{Confirm: yes})
		require.Error(t, err)
		_, err = b.pairing.Join(t.Context(), i.Ticket(), pairing.JoinConfig{Confirm: yes})
		require.NoError(t, err)
		_, err = i.Wait(t.Context())
		require.NoError(t, err)
		i.Cancel()
		sees(t, a.P2P, b.P2P)
		sees(t, b.P2P, a.P2P)
		sees(t, m.P2P)
	})
}
