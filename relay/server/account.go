package server

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

// An account is the relay's state of an account, while nodes of it are
// connected or grants of it are not settled.
type account struct {
	id       token.Account
	purse    *purse
	rate     *bucket
	connects *bucket
	bytes    atomic.Int64 // passed through circuits since the start
	circuits atomic.Int32

	mu       sync.Mutex
	sessions map[*session]struct{}
	reserved map[identity.RemoteIdentity]struct{}
}

// accounts are the accounts of a relay.
type accounts struct {
	ctx      context.Context
	treasury *treasury
	limits   Limits

	mu  sync.Mutex
	all map[token.Account]*account
}

// get returns the account of a token, and sets its rate and quota: of an
// account's tokens, the one shown last decides.
func (as *accounts) get(t token.Token) *account {
	as.mu.Lock()
	defer as.mu.Unlock()
	id := t.Payer()
	a := as.all[id]
	if a == nil {
		a = &account{
			id: id, sessions: map[*session]struct{}{}, reserved: map[identity.RemoteIdentity]struct{}{},
			purse: &purse{treasury: as.treasury, account: id, ctx: as.ctx}, rate: newBucket(0, 0),
			connects: newBucket(float64(as.limits.AccountConnects), float64(as.limits.AccountConnects)),
		}
		a.purse.told = a.tellQuota
		as.all[id] = a
	}
	rate := float64(min(t.Rate, math.MaxInt64))
	if t.Rate == 0 {
		rate = max(float64(as.limits.Rate), 0)
	}
	a.rate.set(rate, rate*depth.Seconds())
	quota := int64(min(t.Quota, math.MaxInt64))
	if t.Quota == 0 {
		quota = as.limits.Quota
	}
	a.purse.setLimit(quota)
	return a
}

// each calls f for each account.
func (as *accounts) each(f func(*account)) {
	as.mu.Lock()
	all := make([]*account, 0, len(as.all))
	for _, a := range as.all {
		all = append(all, a)
	}
	as.mu.Unlock()
	for _, a := range all {
		f(a)
	}
}

// tidy gives back unused grants, and forgets accounts with no sessions and no
// grants.
func (as *accounts) tidy() {
	as.each(func(a *account) {
		if !a.purse.giveBack(idleGrant) {
			return
		}
		as.mu.Lock()
		defer as.mu.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.sessions) == 0 && a.circuits.Load() == 0 {
			delete(as.all, a.id)
		}
	})
}

// tellQuota tells the account's clients how much is left.
func (a *account) tellQuota(left uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.sessions {
		s.send(circuit.Quota(left))
	}
}

// join and part count the sessions that use the account.
func (a *account) join(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[s] = struct{}{}
}

func (a *account) part(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, s)
	delete(a.reserved, s.node)
}

// reserve records a node that can be called, unless there are too many.
func (a *account) reserve(node identity.RemoteIdentity, most int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.reserved[node]; !ok && most >= 0 && len(a.reserved) >= most {
		return false
	}
	a.reserved[node] = struct{}{}
	return true
}

// open counts a circuit, unless there are too many.
func (a *account) open(most int) bool {
	if n := a.circuits.Add(1); most >= 0 && int(n) > most {
		a.circuits.Add(-1)
		return false
	}
	return true
}

// A pair is a caller and a callee.
type pair struct{ caller, callee identity.RemoteIdentity }

const (
	pairPause = time.Second // between attempts of a caller to reach a callee
	pairMost  = 4           // under way at a time
)

// pairs bound how often each caller can ask a callee.
type pairs struct {
	mu  sync.Mutex
	all map[pair]*pairState
}

type pairState struct {
	last time.Time
	open int
}

// begin reports whether the callee may be asked. If so, call end once it has
// answered.
func (ps *pairs) begin(p pair) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	s := ps.all[p]
	if s == nil {
		s = &pairState{}
		ps.all[p] = s
	}
	now := time.Now()
	if s.open >= pairMost || !s.last.IsZero() && now.Sub(s.last) < pairPause {
		return false
	}
	s.last = now
	s.open++
	return true
}

func (ps *pairs) end(p pair) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.all[p].open--
}

// tidy forgets what no longer matters.
func (ps *pairs) tidy() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for p, s := range ps.all {
		if s.open == 0 && time.Since(s.last) >= pairPause {
			delete(ps.all, p)
		}
	}
}
