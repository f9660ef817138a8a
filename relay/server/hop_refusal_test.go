package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

// request sends a hop message and returns the whole answer.
func (c *client) request(m circuit.Hop) circuit.Hop {
	c.t.Helper()
	s := c.open(circuit.HopProtocol)
	defer s.Close()
	_, err := s.Write(m.Append(nil))
	require.NoError(c.t, err)
	answer, err := circuit.ReadHop(s)
	require.NoError(c.t, err)
	return answer
}

// Every refusal names its own reason, whichever status it shares with others.
func TestRefusalsNameTheirReason(t *testing.T) {
	reserve := circuit.Hop{Type: circuit.HopReserve}
	connect := func(to *client) circuit.Hop { return circuit.Hop{Type: circuit.HopConnect, Peer: to.id.Remote()} }
	payer := func(t *testing.T, r *relayTest, node *client) *account {
		return r.accounts.get(r.token(t, node.id.Remote(), 1))
	}
	for name, test := range map[string]struct {
		alter  func(*Config)
		want   circuit.Reason
		status circuit.Status
		run    func(*testing.T, *relayTest) circuit.Hop
	}{
		"no token, reserve": {nil, circuit.NoRight, circuit.PermissionDenied, func(t *testing.T, r *relayTest) circuit.Hop {
			return newClient(t, r).request(reserve)
		}},
		"no token, connect": {nil, circuit.NoRight, circuit.PermissionDenied, func(t *testing.T, r *relayTest) circuit.Hop {
			return newClient(t, r).request(connect(r.callee(t, 1)))
		}},
		"a token without the right": {nil, circuit.NoRight, circuit.PermissionDenied, func(t *testing.T, r *relayTest) circuit.Hop {
			return r.member(t, 1, func(x *token.Token) { x.Rights = token.Reserve }).request(connect(r.callee(t, 1)))
		}},
		"reservations": {func(cfg *Config) { cfg.Limits.AccountReservations = 1 }, circuit.AccountReservations, circuit.ReservationRefused, func(t *testing.T, r *relayTest) circuit.Hop {
			r.callee(t, 1)
			return r.member(t, 1).request(reserve)
		}},
		"leaving": {nil, circuit.RelayLeaves, circuit.ReservationRefused, func(t *testing.T, r *relayTest) circuit.Hop {
			c := r.member(t, 1)
			r.leaving.Store(true)
			return c.request(reserve)
		}},
		"rate": {nil, circuit.AccountRate, circuit.ResourceLimit, func(t *testing.T, r *relayTest) circuit.Hop {
			callee, caller := r.callee(t, 1), r.member(t, 1)
			payer(t, r, caller).connects.set(1e-9, 0)
			return caller.request(connect(callee))
		}},
		"rate of a pair": {nil, circuit.PairRate, circuit.ResourceLimit, func(t *testing.T, r *relayTest) circuit.Hop {
			callee, caller := r.callee(t, 1), r.member(t, 1)
			r.pairs.mu.Lock()
			r.pairs.all[pair{caller.id.Remote(), callee.id.Remote()}] = &pairState{last: time.Now().Add(time.Hour)}
			r.pairs.mu.Unlock()
			return caller.request(connect(callee))
		}},
		"circuits": {func(cfg *Config) { cfg.Limits.AccountCircuits = 1 }, circuit.AccountCircuits, circuit.ResourceLimit, func(t *testing.T, r *relayTest) circuit.Hop {
			caller := r.member(t, 1)
			status, _, _ := caller.call(r.callee(t, 1))
			require.Equal(t, circuit.OK, status)
			return caller.request(connect(r.callee(t, 1)))
		}},
		"ledger away": {func(cfg *Config) { cfg.Ledger = &flaky{Ledger: cfg.Ledger, away: true} }, circuit.LedgerAway, circuit.ResourceLimit, func(t *testing.T, r *relayTest) circuit.Hop {
			callee, caller := r.callee(t, 1), r.member(t, 1)
			r.treasury.mu.Lock()
			r.treasury.hour, r.treasury.allowed = time.Now(), allowanceRelay
			r.treasury.mu.Unlock()
			return caller.request(connect(callee))
		}},
		"absent": {nil, circuit.NoReason, circuit.NoReservation, func(t *testing.T, r *relayTest) circuit.Hop {
			return r.member(t, 1).request(connect(r.member(t, 1)))
		}},
		"not allowed": {nil, circuit.NoReason, circuit.NoReservation, func(t *testing.T, r *relayTest) circuit.Hop {
			return r.member(t, 2).request(connect(r.callee(t, 1)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, test.alter)
			answer := test.run(t, r)
			require.Equal(t, circuit.Hop{Type: circuit.HopStatus, Status: test.status, Reason: test.want}, answer)
		})
	}
}

// An account with less left than a circuit costs has used up its quota, however
// little or much that is, and is told so: with its answer to a token that only
// lets the node call, and by every refusal. One byte more is enough.
func TestQuotaLeftover(t *testing.T) {
	const passed = 20_000
	for _, left := range []int{0, 1, circuitCost - 1, circuitCost} {
		r := newRelay(t, nil)
		callee := r.callee(t, 1)
		onlyConnect := func(x *token.Token) { x.Quota, x.Rights = uint64(passed+left), token.Connect }
		caller := r.member(t, 1, onlyConnect)
		status, s, accepted := caller.call(callee)
		require.Equal(t, circuit.OK, status)
		carry(t, s, accepted, passed, 1000)
		closeBoth(s, accepted)
		eventually(t, "the circuit has ended", func() bool { return r.metrics.circuits.Load() == 0 })
		r.pairs.forget()
		for range 2 { // the second time, the relay knows it
			want := circuit.Hop{Type: circuit.HopStatus, Status: circuit.ResourceLimit, Reason: circuit.QuotaUsedUp}
			if left >= circuitCost {
				r.pairs.forget()
				want = circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK}
			}
			answer := caller.request(circuit.Hop{Type: circuit.HopConnect, Peer: callee.id.Remote()})
			require.Equal(t, want.Status, answer.Status, "%d bytes left", left)
			require.Equal(t, want.Reason, answer.Reason, "%d bytes left", left)
		}
		again := newClient(t, r)
		answer, _ := again.show(r.token(t, again.id.Remote(), 1, onlyConnect))
		if left < circuitCost {
			require.Equal(t, token.QuotaExhausted, answer.Status, "%d bytes left", left)
		} else {
			require.Equal(t, token.OK, answer.Status)
		}
		require.EqualValues(t, left, answer.Left)
	}
}
