package server

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

// Each account pays for the calls that it makes; two issuers may use the same
// account number.
func TestAccountsApart(t *testing.T) {
	other := identity.New()
	var r *relayTest
	r = newRelay(t, func(cfg *Config) {
		cfg.Trusted = func(id identity.RemoteIdentity) bool { return id == r.issuer.Remote() || id == other.Remote() }
	})
	callee := newClient(t, r)
	_, auth := callee.show(r.token(t, callee.id.Remote(), 1))
	_, err := auth.Write(circuit.Callers{Rule: circuit.CallersAnyone}.Append(nil))
	require.NoError(t, err)
	_, err = auth.Write(circuit.Ping(1).Append(nil))
	require.NoError(t, err)
	_, err = circuit.ReadRelay(auth)
	require.NoError(t, err)
	require.Equal(t, circuit.OK, callee.reserve())
	foreign := newClient(t, r)
	made, err := token.Token{Node: foreign.id.Remote(), Account: uuid.UUID{1}, Rights: token.Connect, NotBefore: time.Now(), Expiry: time.Now().Add(time.Hour)}.Sign(other)
	require.NoError(t, err)
	a, _ := foreign.show(made)
	require.Equal(t, token.OK, a.Status)
	for n, caller := range map[int]*client{1000: r.member(t, 1), 2000: r.member(t, 2), 3000: foreign} {
		status, s, accepted := caller.call(callee)
		require.Equal(t, circuit.OK, status)
		carry(t, s, accepted, n, 100)
		carry(t, accepted, s, n, 100)
		closeBoth(s, accepted)
	}
	r.settle(t, 1)
	r.settle(t, 2)
	require.EqualValues(t, 2000, r.used(t, 1))
	require.EqualValues(t, 4000, r.used(t, 2))
	eventually(t, "it is settled", func() bool {
		r.accounts.each(func(a *account) { a.purse.giveBack(0) })
		r.treasury.work(context.Background())
		n, err := r.ledger.Used(context.Background(), made.Payer(), 0)
		require.NoError(t, err)
		return n == 6000
	})
}

// An account exceeds its quota by at most a buffer; then all its circuits end,
// and the excess is booked as well.
func TestQuota(t *testing.T) {
	t.Parallel()
	const quota = 20_000_000
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	caller := newClient(t, r)
	answer, _ := caller.show(r.token(t, caller.id.Remote(), 1, func(x *token.Token) { x.Quota = quota }))
	require.EqualValues(t, quota, answer.Left)
	status, s, accepted := caller.call(callee)
	require.Equal(t, circuit.OK, status)
	idle := r.callee(t, 1)
	// The idle circuit's token names no quota of its own: of an account's
	// tokens, the last one shown decides.
	_, auth := caller.show(r.token(t, caller.id.Remote(), 1, func(x *token.Token) { x.Quota = quota }))
	status, held, _ := caller.call(idle)
	require.Equal(t, circuit.OK, status)

	go func() {
		b := make([]byte, 100_000)
		for {
			if _, err := s.Write(b); err != nil {
				return
			}
		}
	}()
	n, err := io.Copy(io.Discard, accepted)
	require.Error(t, err)
	require.LessOrEqual(t, n, int64(quota)+int64(r.cfg.Limits.Buffer))
	var told []circuit.Message
	for len(told) < len(thresholds) {
		m, err := circuit.ReadRelay(auth)
		require.NoError(t, err)
		told = append(told, m)
		if m == circuit.Quota(0) {
			break
		}
	}
	require.Equal(t, circuit.Quota(0), told[len(told)-1])
	require.Greater(t, len(told), 2)

	// After that, no more bytes and no other circuit.
	_, err = held.Write([]byte("x"))
	if err == nil {
		_, err = held.Read(make([]byte, 1))
	}
	requireEnded(t, err)
	r.pairs.forget()
	status, _, _ = caller.call(callee)
	require.Equal(t, circuit.ResourceLimit, status)
	a := r.settle(t, 1)
	require.Equal(t, a.bytes.Load(), r.used(t, 1))
	require.GreaterOrEqual(t, a.bytes.Load(), r.metrics.relayed.Load())
	require.LessOrEqual(t, a.bytes.Load(), int64(quota)+int64(r.cfg.Limits.Buffer))
	again := newClient(t, r)
	answer, _ = again.show(r.token(t, again.id.Remote(), 1, func(x *token.Token) { x.Quota, x.Rights = quota, token.Connect }))
	require.Equal(t, token.QuotaExhausted, answer.Status)
	require.Zero(t, answer.Left)
}

// Sixty-four idle circuits hold one grant.
func TestIdleCircuitsHoldOneGrant(t *testing.T) {
	t.Parallel()
	r := newRelay(t, func(cfg *Config) { cfg.Limits.AccountConnects = 1000 })
	caller := r.member(t, 1)
	for range 4 {
		callee := r.callee(t, 1)
		for range 16 {
			r.pairs.forget()
			status, _, _ := caller.call(callee)
			require.Equal(t, circuit.OK, status)
		}
	}
	require.LessOrEqual(t, r.used(t, 1), int64(Chunk))
	require.EqualValues(t, 64, r.metrics.circuits.Load())
}

// Two relays that share a ledger let an account exceed its quota by at most a
// buffer each, and all forwarded bytes are booked.
func TestTwoRelaysOneAccount(t *testing.T) {
	t.Parallel()
	const quota = 3*Chunk + 1_000_000
	first := newRelay(t, nil)
	second := newRelay(t, func(cfg *Config) {
		cfg.Ledger = first.ledger
		cfg.Trusted = func(id identity.RemoteIdentity) bool { return id == first.issuer.Remote() }
	})
	second.issuer, second.ledger = first.issuer, first.ledger
	var wg sync.WaitGroup
	var passed [2]int64
	for i, r := range []*relayTest{first, second} {
		callee := r.callee(t, 1)
		caller := r.member(t, 1, func(x *token.Token) { x.Quota = quota })
		status, s, accepted := caller.call(callee)
		require.Equal(t, circuit.OK, status)
		wg.Go(func() {
			b := make([]byte, 100_000)
			for {
				if _, err := s.Write(b); err != nil {
					return
				}
			}
		})
		wg.Go(func() { passed[i], _ = io.Copy(io.Discard, accepted) })
	}
	wg.Wait()
	buffers := 2 * int64(first.cfg.Limits.Buffer)
	require.LessOrEqual(t, passed[0]+passed[1], quota+buffers)
	booked := first.settle(t, 1).bytes.Load() + second.settle(t, 1).bytes.Load()
	require.Equal(t, booked, first.used(t, 1))
	require.LessOrEqual(t, booked, quota+buffers)
	require.GreaterOrEqual(t, booked, int64(quota)-Chunk)
}

// A relay that ends does not blame the account.
func TestPurseOfARelayThatEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newPurse(t, newTreasury(t, NewMemoryLedger(Monthly), ""), 1000)
	p.ctx = ctx
	p.treasury.ledger = &flaky{Ledger: p.treasury.ledger, away: true}
	require.ErrorIs(t, p.ready(t.Context()), context.Canceled)
}
