package main

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// TestRelayHost is not a test but a program that the tests below run on a host:
// a relay that knows nodes by name.
func TestRelayHost(t *testing.T) {
	var nodes []string
	console := netlab.Program(t, &nodes)
	named := map[identity.RemoteIdentity]bool{}
	for _, n := range nodes {
		id, err := identity.Parse(n)
		require.NoError(t, err)
		named[id] = true
	}
	s, err := server.New(server.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:7374")}, Ledger: server.NewMemoryLedger(server.Monthly),
		Known: func(id identity.RemoteIdentity) (token.Token, bool) {
			return token.Token{Node: id, Account: uuid.UUID{1}, Rights: token.Reserve | token.Connect}, named[id]
		},
		Limits: server.Limits{Leave: -1},
	})
	require.NoError(t, err)
	console.Tell("started", s.Identity().String())
	console.Serve()
	s.Close()
}

// A farNode says what kind of node [TestFarNode] runs.
type farNode struct {
	Seed   []byte
	Knows  string
	Relays []string // as on the doctor's command line
}

// TestFarNode is not a test but a program that the tests below run behind a
// router.
func TestFarNode(t *testing.T) {
	var cfg farNode
	console := netlab.Program(t, &cfg)
	key, err := identity.FromSeed(cfg.Seed)
	require.NoError(t, err)
	knows, err := identity.Parse(cfg.Knows)
	require.NoError(t, err)
	var o outside
	for _, r := range cfg.Relays {
		require.NoError(t, o.add(r))
	}
	listener := quic.New(quic.Config{})
	client := relay.New(relay.Config{Listener: listener, Servers: o.servers})
	ctx, cancel := context.WithTimeout(context.Background(), netlab.Patience)
	defer cancel()
	n, err := p2p.Start(ctx, p2p.Config{App: "test", Identity: key, Hooks: []p2p.Hook{listener, client, tracker{knows}}})
	require.NoError(t, err)
	require.NoError(t, client.Wait(ctx))
	console.Tell("started")
	console.Serve()
	require.NoError(t, n.Shutdown(context.Background()))
}

// The doctor tells which kind of router is in front of it, whether a peer
// behind another router can be reached directly, and if not, why.
func TestDoctorBehindRouters(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		here, there netlab.NATKind
		want        mapping
		direct      bool
	}{
		{netlab.Cone, netlab.Cone, coneNAT, true},
		{netlab.Full, netlab.Symmetric, coneNAT, true},
		{netlab.Symmetric, netlab.Symmetric, symmetricNAT, false},
		{netlab.Symmetric, netlab.Cone, symmetricNAT, false},
	} {
		t.Run(fmt.Sprintf("%v to %v", row.here, row.there), func(t *testing.T) {
			t.Parallel()
			key, id := appKey(t)
			seed := []byte("far far far far far far far far ")
			peer, err := identity.FromSeed(seed)
			require.NoError(t, err)
			lab := netlab.New(t, 4)
			var relays []string
			for _, h := range lab.Hosts[2:] {
				at := h.Public()
				about := h.StartProgram(t, "TestRelayHost", []string{id.String(), peer.Remote().String()}).Await(time.Time{}, "started").About
				relays = append(relays, fmt.Sprintf("%s@%v:7374", about[0], at))
			}
			here := patient{lab.Hosts[0].NAT(row.here).Inside(), t}
			there := lab.Hosts[1].NAT(row.there).Inside()
			there.StartProgram(t, "TestFarNode", farNode{Seed: seed, Knows: id.String(), Relays: relays}).Await(time.Time{}, "started")

			r := here.until(time.Second, func(r *report) bool { return r.Outside.NAT == row.want && r.Outside.Path != "" },
				"--key", key, "--relay", relays[0], "--relay", relays[1], peer.Remote().String())
			require.Equal(t, row.want, r.Outside.NAT, r.about("nat"))
			for _, s := range r.Outside.Relays {
				require.True(t, s.Reserved)
			}
			path := r.about("path")[0]
			if row.direct {
				require.Equal(t, "direct", r.Outside.Path, path)
				require.Equal(t, fine, path.Verdict)
				return
			}
			require.Equal(t, "relay", r.Outside.Path, path)
			require.Equal(t, codeRelayed, path.Code)
			require.Contains(t, path.Value, "answer")
			require.Contains(t, path.Advice, "another port for each destination")

			one := here.until(time.Second, func(r *report) bool { return r.Outside.Relays[0].Reserved }, "--key", key, "--relay", relays[0])
			require.Equal(t, unknownNAT, one.Outside.NAT)
			require.Contains(t, one.about("nat")[0].Advice, "A second one")
		})
	}
}

// A host with a public address has no NAT in front of it.
func TestDoctorWithoutRouter(t *testing.T) {
	t.Parallel()
	key, id := appKey(t)
	_, hosts := patients(t, 2)
	at := hosts[1].Public()
	hosts[0].Public()
	about := hosts[1].StartProgram(t, "TestRelayHost", []string{id.String()}).Await(time.Time{}, "started").About
	entry := fmt.Sprintf("%s@%v:7374", about[0], at)
	r := hosts[0].until(time.Second, func(r *report) bool { return r.Outside.Relays[0].Reserved }, "--key", key, "--relay", entry)
	require.Equal(t, noNAT, r.Outside.NAT, r.about("nat"))
}
