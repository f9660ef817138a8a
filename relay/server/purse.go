package server

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/relay/token"
)

const (
	circuitCost = 4 << 10          // bytes that an account must have left to open a circuit
	exhaustion  = 5 * time.Second  // after which an account that had nothing left may ask again
	idleGrant   = 60 * time.Second // after which a grant that nobody uses is given back
)

// errQuota ends a circuit of an account that has used up its quota.
var errQuota = errors.New("relay: the account's quota is used up")

// errAllowance ends a circuit of an account that has used up what it may use
// while the ledger is away.
var errAllowance = errors.New("relay: the ledger is away, and the account's allowance is used up")

// A purse holds the grants of an account, and is shared by all its circuits.
type purse struct {
	treasury *treasury
	account  token.Account
	// ctx ends with the relay.
	ctx context.Context
	// told is called without the lock when the account has passed one of the
	// thresholds, with the bytes that are left.
	told func(left uint64)

	mu        sync.Mutex
	limit     int64 // of the period; below 0: none
	grants    []*held
	allowance allowance
	asking    chan struct{} // closed with the ledger's answer; nil: nobody asks
	exhausted time.Time     // until then, nothing is left
	why       error         // nothing is left then
	touched   time.Time
	used      int64 // in the period, when the ledger was last asked
	period    Period
	threshold int // number of thresholds passed
}

// The percentages of a quota at which clients are told.
var thresholds = [...]int64{50, 80, 95, 100}

// left returns the bytes that may be used now. The caller holds mu.
func (p *purse) left() (n int64) {
	for _, h := range p.grants {
		n += h.unused
	}
	return n
}

// spend uses n bytes. It waits only if the relay has used its grants faster
// than the ledger answers. At most one call uses more than is left.
func (p *purse) spend(ctx context.Context, n int64) error {
	return p.with(ctx, 1, func() { p.use(n) })
}

// ready reports whether the account can open a circuit.
func (p *purse) ready(ctx context.Context) error { return p.with(ctx, circuitCost, func() {}) }

// with calls do, with mu held, once at least the given number of bytes is left.
func (p *purse) with(ctx context.Context, least int64, do func()) error {
	for {
		p.mu.Lock()
		p.touched = p.treasury.now()
		left := p.left()
		if left < Chunk/2 && p.asking == nil && !p.isExhausted() {
			p.ask()
		}
		if left >= least {
			do()
			tell := p.passed()
			p.mu.Unlock()
			tell()
			return nil
		}
		asking, why := p.asking, p.why
		p.mu.Unlock()
		if asking == nil {
			return why
		}
		select {
		case <-asking:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *purse) isExhausted() bool { return p.treasury.now().Before(p.exhausted) }

// use takes n bytes of the grants, the oldest first; any excess is charged to
// the last one.
func (p *purse) use(n int64) {
	for i, h := range p.grants {
		part := n
		if i < len(p.grants)-1 {
			part = min(n, h.unused)
		}
		h.unused -= part
		h.dirty = h.dirty || part > 0
		n -= part
	}
	p.grants = slices.DeleteFunc(p.grants, func(h *held) bool {
		if h.unused > 0 {
			return false
		}
		p.treasury.settle(h)
		return true
	})
}

// refund returns bytes that were spent but not passed on.
func (p *purse) refund(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n <= 0 {
		return
	}
	if len(p.grants) == 0 { // they were the last of a grant
		h := &held{Grant: NewGrant(p.account, 0, 0, 0), unused: n, owed: true}
		p.treasury.settle(h)
		return
	}
	h := p.grants[0]
	h.unused += n
	h.dirty = true
}

// ask asks the ledger for the next grant. The caller holds mu.
func (p *purse) ask() {
	p.asking = make(chan struct{})
	limit := p.limit
	go func() {
		h := p.treasury.take(p.ctx, p.account, limit, &p.allowance)
		p.mu.Lock()
		close(p.asking)
		p.asking = nil
		tell := p.granted(h)
		p.mu.Unlock()
		tell()
	}()
}

// granted handles the answer to ask, and returns the result of [purse.passed],
// since use at other relays may have passed a threshold. The caller holds mu.
func (p *purse) granted(h *held) (tell func()) {
	if h != nil && !h.owed {
		if h.Period != p.period {
			p.period, p.threshold = h.Period, 0
		}
		p.used = h.Used
	}
	if h == nil || h.Bytes == 0 {
		p.exhausted, p.why = p.treasury.now().Add(exhaustion), errAllowance
		if h != nil {
			p.why = errQuota
		} else if ended := context.Cause(p.ctx); ended != nil {
			p.why = ended
		}
		return p.passed()
	}
	p.grants = append(p.grants, h)
	return func() {}
}

// remaining returns the bytes that are left in the period, as far as the relay
// knows. The caller holds mu.
func (p *purse) remaining() uint64 {
	if p.limit < 0 {
		return math.MaxUint64
	}
	return uint64(max(p.limit-p.used+p.left(), 0))
}

// passed returns a function that reports a threshold that was just passed. The
// caller holds mu.
func (p *purse) passed() func() {
	left := p.remaining()
	at := 0
	for at < len(thresholds) && p.limit > 0 && p.period != 0 && float64(left) <= float64(p.limit)*float64(100-thresholds[at])/100 {
		at++
	}
	if at <= p.threshold || p.told == nil {
		return func() {}
	}
	p.threshold = at
	return func() { p.told(left) }
}

// setLimit sets the quota in a period.
func (p *purse) setLimit(limit int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit != p.limit {
		p.limit, p.exhausted, p.threshold = limit, time.Time{}, 0
	}
}

// balance returns the bytes left in the period, according to the ledger if it
// answers.
func (p *purse) balance(ctx context.Context) uint64 {
	p.mu.Lock()
	limit, known := p.limit, p.remaining()
	p.mu.Unlock()
	if limit < 0 {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	used, err := p.treasury.ledger.Used(ctx, p.account, 0)
	if err != nil {
		return known
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(max(limit-used+p.left(), 0))
}

// notes returns the changes since the last call, for the journal.
func (p *purse) notes() (all []note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.grants {
		if h.dirty {
			h.dirty = false
			all = append(all, h.note("left"))
		}
	}
	return all
}

// giveBack settles all grants if they were not used for the given time, or at
// once if it is 0. It reports whether none is left.
func (p *purse) giveBack(idle time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking != nil || p.treasury.now().Sub(p.touched) < idle {
		return false
	}
	for _, h := range p.grants {
		p.treasury.settle(h)
	}
	p.grants = nil
	return true
}
