package pairing_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// crowded founds a library with some members, each of which has signed 16
// statements.
func (d *device) crowded(t testing.TB, members int) {
	t.Helper()
	d.instance = identity.New()
	r := library.Record{ID: uuid.New(), Name: "Photos", Founder: d.instance.Remote(), Secret: library.NewSecret(), Number: 1}
	all := roster.New(r.ID, r.Founder)
	ends := map[identity.RemoteIdentity]roster.End{}
	say := func(by identity.Identity, s roster.Statement) {
		at := ends[by.Remote()]
		s.Library, s.Signer, s.Counter, s.Previous, s.Time = r.ID, by.Remote(), at.Counter+1, at.Hash, time.Now().Unix()
		require.NoError(t, s.Sign(by, r.Founder))
		ends[by.Remote()] = roster.End{Counter: s.Counter, Hash: s.Hash()}
		r.Statements = append(r.Statements, s)
	}
	draft := func(body roster.Body) roster.Statement {
		s, err := all.Draft(r.Founder, body, time.Now())
		require.NoError(t, err)
		return s
	}
	move := func(of identity.Identity, node identity.Identity) roster.Statement {
		return draft(roster.SignMove(node, r.Founder, r.ID, of.Remote(), 1))
	}
	say(d.instance, move(d.instance, d.id))
	for range members {
		m := identity.New()
		say(d.instance, draft(roster.Add{Instance: m.Remote(), Role: library.RoleMember}))
		say(m, move(m, identity.New()))
		for range 15 {
			say(m, roster.Statement{Kind: 9})
		}
	}
	say(d.instance, draft(roster.Secret{Number: 1, Hash: roster.HashSecret(r.Secret.Bytes())}))
	var err error
	d.lib, err = d.libraries.Add(r, d.instance)
	require.NoError(t, err)
	d.echo()
}

// TestManyStatements: a device can join a library with more statements than it
// is handed at once; exchanges bring the rest.
func TestManyStatements(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice().start(t, "Alice's", network.Hooks()...)
		b := newDevice().start(t, "Bob's", network.Hooks()...)
		a.crowded(t, 500)
		require.Len(t, a.lib.Record().Statements, 8502)
		i := a.invite(t, pairing.InviteConfig{})
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
		_, err := i.Wait(t.Context())
		require.NoError(t, err)
		require.Len(t, b.kept[0].Statements, 8192)
		pass(5 * time.Second)
		require.Len(t, b.lib.Record().Statements, 8504)
		a.talks(t, b)
		b.talks(t, a)
	})
}
