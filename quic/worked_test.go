package quic

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// first returns the address, among several for a peer, that is dialed first.
func first(t *testing.T, e *endpoint, to identity.RemoteIdentity, via ...netip.AddrPort) netip.AddrPort {
	t.Helper()
	var all []p2p.Candidate
	for _, addr := range via {
		all = append(all, p2p.Candidate{Kind: p2p.Direct, Addr: addr})
	}
	r, err := e.enter(to, all)
	require.NoError(t, err)
	defer r.leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries[0].addr
}

// Whatever is announced, the address at which a peer has last answered is tried
// first, until it fails.
func TestWhatWorkedIsFirst(t *testing.T) {
	t.Parallel()
	c, theirs := dialed(t, Config{}, Config{})
	e, at := c.endpoint, c.remote()
	others := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.8:9"), netip.MustParseAddrPort("10.0.0.1:9")}
	require.Equal(t, at, first(t, e, c.id, append(others, netip.AddrPortFrom(netip.AddrFrom16(at.Addr().As16()), at.Port()))...))
	require.Equal(t, others[0], first(t, e, identity.New().Remote(), append(others, at)...))
	// The node that was dialed also knows the other node's address.
	require.Equal(t, theirs.remote(), first(t, theirs.endpoint, theirs.id, append(others, theirs.remote())...))

	e.worked.failed(c.id, at, errDialFinished)
	e.worked.failed(c.id, others[0], errNobodyThere)
	require.Equal(t, at, first(t, e, c.id, append(others, at)...))

	gone := identity.New().Remote() // another peer has its address now
	e.worked.note(gone, at)
	require.Equal(t, at, first(t, e, gone, append(others, at)...))
	_, err := e.connect(t.Context(), gone, []p2p.Candidate{{Kind: p2p.Direct, Addr: at}})
	require.Error(t, err)
	require.Equal(t, others[0], first(t, e, gone, append(others, at)...))
}

// The number of remembered addresses is bounded.
func TestBoundOfWorked(t *testing.T) {
	var w worked
	for range 2 * maxWorked {
		w.note(identity.New().Remote(), netip.MustParseAddrPort("127.0.0.1:9"))
	}
	require.Len(t, w.at, maxWorked)
}
