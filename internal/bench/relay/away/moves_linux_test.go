package away

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

const mostMoves = 24

// moves has one connection move again and again: to the relay when its direct
// path dies, and back as soon as there is another.
func moves(t *testing.T, r *results) {
	lab := netlab.New(t, 3)
	lab.Outside = outside
	at := lab.Hosts[2].Public()
	metered := startRelay(t, lab.Hosts[2], at, serverConfig{Buffer: buffer, Port: port})
	near, far := lab.Hosts[0].NAT(netlab.Cone), lab.Hosts[1].NAT(netlab.Cone)
	p := startPair(t, near.Inside(), far.Inside())
	c, err := p.start(ours, false, metered.relayEntry)
	require.NoError(t, err)
	_, err = c.hold()
	require.NoError(t, err)
	most := mostMoves
	if testing.Short() {
		most = 2
	}
	c.becomes(t, true)
	for moved := 0; ; {
		near.Block(netip.Addr(far.Public()))
		if !c.becomes(t, false) {
			break
		}
		moved++
		near.Unblock()
		for _, args := range []struct {
			of *netlab.Process
			id string
		}{{c.callee, c.to}, {c.caller, c.from}} { // like the monitor after a change of the network
			_, err := netlab.Call[none](args.of, "stir", peerArgs{Node: args.id})
			require.NoError(t, err)
		}
		if !c.becomes(t, true) {
			break
		}
		if moved++; moved >= most {
			r.add("moves", float64(moved))
			break
		}
	}
	state, err := c.held()
	require.NoError(t, err)
	require.Empty(t, state.Err)
	require.NotEmpty(t, r.samples["moves"], "the connection does not move any more")
	require.NoError(t, c.stop())
}

// becomes waits until the caller's path is direct, or is not, and the stream
// goes on over it.
func (c couple) becomes(t *testing.T, direct bool) bool {
	t.Helper()
	for until := time.Now().Add(netlab.Patience); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		path, err := c.path()
		require.NoError(t, err)
		if path.Direct != direct || !direct && path.Relay == "" {
			continue
		}
		before, err := c.held()
		require.NoError(t, err)
		for time.Now().Before(until) {
			now, err := c.held()
			require.NoError(t, err)
			require.Empty(t, now.Err)
			if now.Rounds > before.Rounds+3 {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return false
}
