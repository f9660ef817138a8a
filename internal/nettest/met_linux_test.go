package nettest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/relaytest"
)

// Two devices behind routers, which know nothing of each other, pair by a
// ticket, through the relay that it names; from then on they are connected,
// directly if the routers allow it.
func TestAwayPairing(t *testing.T) {
	t.Parallel()
	for _, kind := range []netlab.NATKind{netlab.Cone, netlab.Symmetric} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			t.Parallel()
			w := goAway(t, awayRow{a: kind, b: kind, relays: 1, pairs: true})
			i, err := netlab.Call[invited](w.b, "invite", inviteArgs{})
			require.NoError(t, err)
			took, err := netlab.Call[time.Duration](w.a, "join", joinArgs{i.Ticket})
			require.NoError(t, err)
			t.Logf("joined after %v", took)
			require.Equal(t, []string{w.ids[0]}, w.b.Await(time.Time{}, "joined").About)
			want := map[netlab.NATKind]string{netlab.Cone: "direct", netlab.Symmetric: "relay"}[kind]
			until(t, func() bool { return call[awayPath](t, w.a, "path").Kind == want })
			w.hold(t)
			w.goesOn(t)
			require.Equal(t, want, call[awayPath](t, w.a, "path").Kind)
		})
	}
}

// TestOldNode is not a test but a program: a node made of go-libp2p's parts,
// like those of the first implementation, which calls and is called through a
// relay.
func TestOldNode(t *testing.T) {
	var r relayEntry
	console := netlab.Program(t, &r)
	relay, err := identity.Parse(r.Identity)
	require.NoError(t, err)
	n := relaytest.StartNode(t, relaytest.Addr(relay, netip.MustParseAddrPort(r.Addr)), false)
	within := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	require.NoError(t, n.Reserve(within()))
	console.Tell("started", n.Self.String())
	netlab.Handle(console, "call", func(a holdArgs) (echoed string, err error) {
		to, err := identity.Parse(a.Peer)
		if err != nil {
			return "", err
		}
		c, err := n.Call(within(), to)
		if err != nil {
			return "", err
		}
		s, _, err := n.Open(within(), to)
		if err != nil {
			return "", err
		}
		defer s.Reset()
		if err := s.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return "", err
		}
		if _, err := s.Write([]byte("there and back")); err != nil {
			return "", err
		}
		b := make([]byte, len("there and back"))
		if _, err := io.ReadFull(s, b); err != nil {
			return "", err
		}
		if _, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT); err != nil {
			return "", err
		}
		return string(b), nil
	})
	console.Serve()
}

// A node of the first implementation and one of this module, each behind a
// router, reach each other through a relay, whichever of them calls.
func TestAwayOld(t *testing.T) {
	t.Parallel()
	for _, kind := range []netlab.NATKind{netlab.Cone, netlab.Symmetric} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 3)
			at := lab.Hosts[2].Public()
			started := lab.Hosts[2].StartProgram(t, "TestStockRelay", struct{}{}).Await(time.Time{}, "started").About
			entry := relayEntry{started[0], fmt.Sprintf("%v:%s", at, started[1])}
			old := lab.Hosts[0].NAT(kind).Inside().StartProgram(t, "TestOldNode", entry)
			id := old.Await(time.Time{}, "started").About[0]
			ours := lab.Hosts[1].NAT(kind).Inside().StartProgram(t, "TestAwayNode", awayConfig{
				Seed: []byte("away away away away away away aw"), Track: []string{id}, Relays: []relayEntry{entry}, Old: true,
			})
			self := ours.Await(time.Time{}, "started").About[0]
			until(t, func() bool { return call[int](t, ours, "ready") == 1 })
			w := &away{a: ours, b: old, ids: [2]string{self, id}}
			require.Equal(t, "relay", w.hold(t).Kind)
			w.goesOn(t)
			echoed, err := netlab.Call[string](old, "call", holdArgs{Peer: self})
			require.NoError(t, err)
			require.Equal(t, "there and back", echoed)
		})
	}
}
