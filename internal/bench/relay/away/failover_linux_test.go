package away

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

const (
	killedRuns, stoppedRuns, theirRuns = 10, 5, 2
	// theirPatience is longer than QUIC waits for a silent peer.
	theirPatience = 60 * time.Second
)

// deaths are the ways in which a relay dies.
var deaths = map[string]func(*netlab.Process){
	"killed":  func(p *netlab.Process) { p.Kill() },
	"stopped": func(p *netlab.Process) { p.Suspend() },
}

// failover measures how long a stream stalls if its relay dies and there is
// another one. The measurements mostly wait.
func failover(t *testing.T, r *results) {
	for how := range deaths {
		runs := map[string]int{"killed": killedRuns, "stopped": stoppedRuns}[how]
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for range count(runs) {
				relayDies(t, r, how)
			}
		})
		t.Run(how+", "+goLibp2p, func(t *testing.T) {
			if testing.Short() {
				t.Skip("it takes half a minute until their streams end")
			}
			t.Parallel()
			for range theirRuns {
				theirRelayDies(t, r, how)
			}
		})
	}
}

// relayDies lets the relay of a stream die, and the stream go on.
func relayDies(t *testing.T, r *results, how string) {
	lab := netlab.New(t, 4)
	relays := map[string]*relayProcess{}
	var entries []relayEntry
	for _, h := range lab.Hosts[2:] {
		one := startRelay(t, h, h.Public(), serverConfig{Buffer: buffer, Port: port})
		relays[one.Identity] = one
		entries = append(entries, one.relayEntry)
	}
	for _, h := range lab.Hosts[:2] {
		h.Public()
	}
	p := startPair(t, lab.Hosts[0], lab.Hosts[1])
	c, err := p.start(ours, true, entries...)
	require.NoError(t, err)
	_, err = c.hold()
	require.NoError(t, err)
	time.Sleep(afterwards)
	path, err := c.path()
	require.NoError(t, err)
	dead := relays[path.Relay]
	require.NotNil(t, dead)
	_, err = netlab.Call[holding](c.caller, "held", peerArgs{Node: c.from, Anew: true})
	require.NoError(t, err)
	since := time.Now()
	deaths[how](dead.Process)
	state := c.goesOn(t, dead.Identity)
	r.add(how, state.Longest.Seconds())
	noticed, err := netlab.Call[time.Time](c.caller, "noticed", peerArgs{Node: c.from, Since: since})
	require.NoError(t, err)
	require.False(t, noticed.IsZero())
	r.add(how+", noticed", state.Until.Sub(noticed).Seconds())
	if how == "stopped" {
		dead.Resume()
	}
	require.NoError(t, c.stop())
	c.caller.Stop()
	c.callee.Stop()
	for _, one := range relays {
		if one != dead || how == "stopped" {
			one.Stop()
		}
	}
}

// goesOn waits until a stream goes on through another relay, and returns its
// state.
func (c couple) goesOn(t *testing.T, dead string) (state holding) {
	t.Helper()
	rounds := 0
	for until := time.Now().Add(netlab.Patience); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		path, err := c.path()
		require.NoError(t, err)
		state, err = c.held()
		require.NoError(t, err)
		require.Empty(t, state.Err)
		switch {
		case path.Relay == dead || path.Relay == "":
		case rounds == 0:
			rounds = state.Rounds
		case state.Rounds > rounds+3:
			return state
		}
	}
	t.Fatal("the stream does not go on")
	return state
}

// theirRelayDies lets the relay of a stream of go-libp2p die while both sides
// have reservations at another one.
func theirRelayDies(t *testing.T, r *results, how string) {
	lab := netlab.New(t, 4)
	var relays []*relayProcess
	var entries []relayEntry
	for _, h := range lab.Hosts[2:] {
		one := startRelay(t, h, h.Public(), serverConfig{Stock: true, Buffer: buffer, Port: port})
		relays, entries = append(relays, one), append(entries, one.relayEntry)
	}
	for _, h := range lab.Hosts[:2] {
		h.Public()
	}
	p := startPair(t, lab.Hosts[0], lab.Hosts[1])
	c, err := p.start(goLibp2p, true, entries...)
	require.NoError(t, err)
	_, err = c.hold()
	require.NoError(t, err)
	path, err := c.path()
	require.NoError(t, err)
	dead := relays[0]
	if path.Relay == relays[1].Identity {
		dead = relays[1]
	}
	since := time.Now()
	deaths[how](dead.Process)
	var state holding
	for until := since.Add(theirPatience); state.Err == "" && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		state, err = c.held()
		require.NoError(t, err)
	}
	require.NotEmpty(t, state.Err)
	r.add(how+", "+goLibp2p, state.Ended.Sub(since).Seconds())
	if how == "stopped" {
		dead.Resume()
	}
	require.NoError(t, c.stop())
}
