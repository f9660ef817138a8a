package faulttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/relay"
	relayserver "github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// patience bounds what a fault may take to show; nothing takes that long, also
// on a machine that is busy.
const patience = 2 * time.Minute

// A Fault is one kind of fault, and the marks by which it is told from others.
type Fault struct {
	Name string

	// What and Cause are those of the event, in a [p2p.Note].
	What, Cause string

	// Metric and By are a name of [p2p.Counters].Causes, or "streams_refused"
	// or "streams_refused_there", and what it is counted by.
	Metric, By string

	// Words match what the page and the log say in full, which is more than
	// the cause. The message of the line in the log is What.
	Words string

	run func(t testing.TB) *Node
}

// Run brings the fault about, and returns the node that has it.
func (f Fault) Run(t testing.TB) *Node {
	t.Helper()
	return f.run(t)
}

// All returns the faults.
func All() []Fault {
	const dialFailed, ended, there, here = p2p.NoteDialFailed, p2p.NoteDisconnected, p2p.NoteRefusedThere, p2p.NoteRefused
	return []Fault{
		{"peer gone", ended, "silent", "connections_ended", "silent", "^silent$", gone},
		{"peer shut down", ended, "shutting down", "connections_ended", "shutting down", "^shutting down$", shutDown},
		{"peer lets nobody in", ended, "refused", "connections_ended", "refused", "^refused$", notLetIn},
		{"stream refused by the peer", there, "refused", "streams_refused_there", "refused", "^p2p: refused$", refusedThere},
		{"stream refused here", here, "refused", "streams_refused", "refused", `refused: route "mine"$`, refusedHere},
		{"no route", there, "no route", "streams_refused_there", "no route", "the route is not served", noRoute},
		{"no way known", dialFailed, "no candidate", "dials_failed", "no candidate", "no way to reach the peer is known", noCandidate},
		{"firewall", dialFailed, "no answer", "attempts_failed", "no answer", `direct [0-9.:]+: quic: no answer`, firewall},
		{"wrong key", dialFailed, "other peer", "attempts_failed", "other peer", "another peer is at this address", wrongKey},
		{"revoked", dialFailed, "revoked", "dials_failed", "revoked", "revoked", revoked},
		{"relay down", dialFailed, "relay: down", "attempts_failed", "relay: down", "the relay does not answer", relayDown},
		{"relay wants a token", dialFailed, "relay: token refused", "attempts_failed", "relay: token refused", "the relay requires a token", noToken},
		{"peer not at the relay", dialFailed, "relay: the peer has no reservation", "attempts_failed", "relay: the peer has no reservation", "the peer has no reservation", notThere},
		{"quota", dialFailed, "relay: quota used up", "attempts_failed", "relay: quota used up", "the quota of this node's account is used up", quota},
		{"roster: refused by a member", there, "tunnel refused", "tunnels_failed", "refused there", "the tunnel was refused", rosterThere},
		{"roster: a device that is no member", here, "tunnel refused", "tunnels_refused", "not allowed", "the peer is not allowed", rosterHere},
		{"roster: this device was removed", p2p.NoteReported, "not a member", "tunnels_failed", "not a member", "no longer a member of the library", removedHere},
	}
}

// within returns a context that ends with the test, or its patience.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// use opens a stream to a route, and reads from it: what fails is the fault.
func use(t testing.TB, peer *p2p.Peer, route string) error {
	t.Helper()
	s, err := peer.Open(within(t), route)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err = s.Write([]byte{1}); err == nil {
		_, err = io.ReadFull(s, make([]byte, 1))
	}
	return err
}

func gone(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	box := newBox(t, b.Addr())
	peer := a.finds(t, b.Identity(), box.Addr())
	require.NoError(t, use(t, peer, "echo"))
	box.Cut()
	return a
}

func shutDown(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	require.NoError(t, use(t, a.finds(t, b.Identity(), b.Addr()), "echo"))
	require.NoError(t, b.Shutdown(context.Background()))
	return a
}

func refusedThere(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	require.ErrorIs(t, use(t, a.finds(t, b.Identity(), b.Addr()), "mine"), p2p.ErrRefused)
	return a
}

func refusedHere(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	require.ErrorIs(t, use(t, a.finds(t, b.Identity(), b.Addr()), "mine"), p2p.ErrRefused)
	return b
}

func notLetIn(t testing.TB) *Node {
	up := make(chan struct{}) // the dialer has a connection
	a, b := start(t, Config{}), start(t, Config{Allow: func(ctx context.Context, _ p2p.Request) error {
		select {
		case <-up:
		case <-ctx.Done():
		}
		return errors.New("nobody")
	}})
	events := a.Subscribe()
	defer events.Close()
	go func() {
		for e := range events.C {
			if _, ok := e.(p2p.PeerConnectedWith); ok {
				close(up)
				return
			}
		}
	}()
	require.Error(t, use(t, a.finds(t, b.Identity(), b.Addr()), "echo"))
	return a
}

func noRoute(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	require.ErrorIs(t, use(t, a.finds(t, b.Identity(), b.Addr()), "nowhere"), p2p.ErrNoRoute)
	return a
}

func noCandidate(t testing.TB) *Node {
	a := start(t, Config{})
	require.ErrorIs(t, use(t, a.finds(t, identity.New().Remote()), "echo"), p2p.ErrNoCandidate)
	return a
}

// firewall has packets to the peer dropped.
func firewall(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	box := newBox(t, b.Addr())
	box.Cut()
	require.Error(t, use(t, a.finds(t, b.Identity(), box.Addr()), "echo"))
	return a
}

func wrongKey(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	require.Error(t, use(t, a.finds(t, identity.New().Remote(), b.Addr()), "echo"))
	return a
}

func revoked(t testing.TB) *Node {
	a, b := start(t, Config{}), start(t, Config{})
	peer := a.finds(t, b.Identity(), b.Addr())
	a.Revoke(b.Identity())
	require.ErrorIs(t, use(t, peer, "echo"), p2p.ErrRevoked)
	return a
}

// relayDown is a relay at which nobody answers.
func relayDown(t testing.TB) *Node {
	box := newBox(t, netip.MustParseAddrPort("127.0.0.1:9"))
	box.Cut()
	a := start(t, Config{Relays: []relay.Server{{Identity: identity.New().Remote(), Addrs: []netip.AddrPort{box.Addr()}}}})
	require.Error(t, use(t, a.Track(identity.New().Remote()), "echo"))
	return a
}

func noToken(t testing.TB) *Node {
	r := startRelay(t)
	a := start(t, Config{Relays: r.entry()})
	require.Error(t, use(t, a.Track(identity.New().Remote()), "echo"))
	return a
}

func notThere(t testing.TB) *Node {
	r := startRelay(t)
	a := start(t, Config{Relays: r.entry()})
	r.admit(t, a, 0)
	require.Error(t, use(t, a.Track(identity.New().Remote()), "echo"))
	return a
}

// quota is an account that has used up its bytes.
func quota(t testing.TB) *Node {
	r := startRelay(t)
	a, b := start(t, Config{Relays: r.entry()}), start(t, Config{Relays: r.entry()})
	peer := a.Track(b.Identity())
	b.Track(a.Identity())
	r.admit(t, a, 3000) // less than a circuit costs
	r.admit(t, b, 0)
	require.Error(t, use(t, peer, "echo"))
	return a
}

// A house is a library of two devices.
type house struct {
	a, b   *Node
	la, lb *library.Library
}

// newHouse has a founded a library, and b be a member.
func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{a: start(t, Config{}), b: start(t, Config{})}
	var err error
	h.la, err = h.a.Libraries.Found("photos", library.NewRecoveryKey())
	require.NoError(t, err)
	record, instance := h.la.Record(), identity.New()
	join := roster.SignMove(h.b.id, record.Founder, record.ID, instance.Remote(), 1)
	first, err := roster.New(record.ID, record.Founder).Draft(instance.Remote(), join, time.Now())
	require.NoError(t, err)
	require.NoError(t, first.Sign(instance, record.Founder))
	_, err = h.la.Admit(first, library.RoleMember, "phone", library.RecoveryKey{})
	require.NoError(t, err)
	h.lb, err = h.b.Libraries.Add(h.la.Record(), instance)
	require.NoError(t, err)
	return h
}

// expel removes b, which does not hear of it, and has it come nevertheless.
func (h *house) expel(t testing.TB) {
	t.Helper()
	require.NoError(t, h.la.Remove(h.lb.Instance(), library.RemoveOptions{}))
	h.b.finds(t, h.a.Identity(), h.a.Addr())
	_, err := h.lb.Open(within(t), h.la.Instance(), "echo")
	require.Error(t, err)
}

func rosterThere(t testing.TB) *Node {
	h := newHouse(t)
	require.NoError(t, h.a.Libraries.Remove(h.la.ID()))
	h.b.finds(t, h.a.Identity(), h.a.Addr())
	_, err := h.lb.Open(within(t), h.la.Instance(), "echo")
	require.Error(t, err)
	return h.b
}

func rosterHere(t testing.TB) *Node {
	h := newHouse(t)
	h.expel(t)
	return h.a
}

// removedHere is a device that has heard that it was removed.
func removedHere(t testing.TB) *Node {
	h := newHouse(t)
	require.NoError(t, h.la.Remove(h.lb.Instance(), library.RemoveOptions{}))
	var said bytes.Buffer
	require.NoError(t, h.la.Export(&said))
	require.NoError(t, h.lb.Import(&said))
	_, err := h.lb.Open(within(t), h.la.Instance(), "echo")
	require.ErrorIs(t, err, library.ErrNotMember)
	return h.b
}

// A paidRelay is a relay that asks for tokens.
type paidRelay struct {
	*relayserver.Server
	issuer identity.Identity
}

func startRelay(t testing.TB) *paidRelay {
	t.Helper()
	r := &paidRelay{issuer: identity.New()}
	var err error
	r.Server, err = relayserver.New(relayserver.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Ledger: relayserver.NewMemoryLedger(relayserver.Monthly),
		Trusted: func(id identity.RemoteIdentity) bool { return id == r.issuer.Remote() }, Limits: relayserver.Limits{Leave: -1},
	})
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *paidRelay) entry() []relay.Server {
	return []relay.Server{{Identity: r.Identity(), Addrs: r.Addrs()}}
}

// admit gives a node a token, of an account of its own, and waits until the
// node can be called at the relay.
func (r *paidRelay) admit(t testing.TB, n *Node, quota uint64) {
	t.Helper()
	made, err := token.Token{
		Node: n.Identity(), Account: uuid.New(), Rights: token.Reserve | token.Connect, Quota: quota,
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
	}.Sign(r.issuer)
	require.NoError(t, err)
	require.NoError(t, n.Relays.SetTokens(made))
	require.Eventually(t, func() bool { return n.Relays.States()[0].State == relay.Ready }, patience, 5*time.Millisecond)
}
