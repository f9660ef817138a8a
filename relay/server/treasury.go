package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sdp2p/p2p/relay/token"
)

const (
	ledgerPatience = 2 * time.Second // for an answer of the ledger
	ledgerPause    = 5 * time.Second // after which a ledger that failed is asked again

	// The bytes allowed per hour while the ledger is away.
	allowanceAccount = 64 << 20
	allowanceRelay   = 1 << 30
	allowanceSpan    = time.Hour
)

// A held is a grant that is not settled.
type held struct {
	Grant
	unused int64 // negative if more was used
	owed   bool  // from the allowance, not from the ledger
	dirty  bool  // changed since it was last recorded
}

// A treasury handles the ledger for all accounts of a relay: it records each
// grant before it is used, and settles each once.
type treasury struct {
	ledger  Ledger
	journal *journal
	log     *slog.Logger
	now     func() time.Time

	mu        sync.Mutex
	away      time.Time // when the ledger is asked again
	hour      time.Time // when the allowance began
	allowed   int64     // the bytes of it that the relay has used
	unsettled []*held   // grants that the ledger did not take back
	settling  bool
}

// openTreasury opens the journal, and settles the grants that it contains.
func openTreasury(ledger Ledger, path string, log *slog.Logger) (*treasury, error) {
	j, left, err := openJournal(path, log)
	if err != nil {
		return nil, err
	}
	return &treasury{ledger: ledger, journal: j, log: log, now: time.Now, unsettled: left}, nil
}

func (h *held) note(op string) note {
	return note{op, h.ID, h.Account, h.Bytes, h.Period, h.unused, h.owed}
}

// take gets a grant from the ledger, or from the allowance while the ledger is
// away. If the account has nothing left, it is a grant of 0 bytes from the
// ledger, or nil.
func (t *treasury) take(parent context.Context, a token.Account, limit int64, allowed *allowance) *held {
	t.mu.Lock()
	away := t.now().Before(t.away)
	t.mu.Unlock()
	if !away {
		ctx, cancel := context.WithTimeout(parent, ledgerPatience)
		defer cancel()
		g, err := t.ledger.Take(ctx, a, Chunk, limit)
		if err == nil {
			return t.hold(&held{Grant: g, unused: g.Bytes})
		}
		if g.Bytes > 0 { // perhaps only the answer was lost
			t.settle(&held{Grant: g, unused: g.Bytes})
		}
		if context.Cause(parent) != nil {
			return nil
		}
		t.failed(err)
	}
	return t.hold(t.allow(a, allowed))
}

// hold records a grant before it is used.
func (t *treasury) hold(h *held) *held {
	if h != nil && h.Bytes > 0 {
		t.journal.write(h.note("held"))
	}
	return h
}

// failed records that the ledger has not answered.
func (t *treasury) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.now().Before(t.away) {
		t.log.Error("the ledger does not answer: accounts live on an allowance", "cause", err)
	}
	t.away = t.now().Add(ledgerPause)
}

// An allowance is an account's use of the hour's allowance.
type allowance struct {
	hour time.Time
	used int64
}

// allow grants a part of the allowance, or nil if nothing is left.
func (t *treasury) allow(a token.Account, of *allowance) *held {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if now.Sub(t.hour) >= allowanceSpan {
		t.hour, t.allowed = now, 0
	}
	if of.hour != t.hour {
		*of = allowance{hour: t.hour}
	}
	n := min(Chunk, allowanceAccount-of.used, allowanceRelay-t.allowed)
	if n <= 0 {
		return nil
	}
	of.used += n
	t.allowed += n
	return &held{Grant: NewGrant(a, n, 0, 0), unused: n, owed: true}
}

// settle gives a grant back to the ledger, now or when it answers again.
func (t *treasury) settle(h *held) {
	t.journal.write(h.note("left"))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unsettled = append(t.unsettled, h)
}

// work settles unsettled grants, and returns the number of those that are left.
func (t *treasury) work(ctx context.Context) int {
	t.mu.Lock()
	if t.settling || t.now().Before(t.away) {
		defer t.mu.Unlock()
		return len(t.unsettled)
	}
	t.settling = true
	todo := t.unsettled
	t.unsettled = nil
	t.mu.Unlock()
	done := 0
	for _, h := range todo {
		if !t.give(ctx, h) {
			break
		}
		done++
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settling = false
	t.unsettled = append(todo[done:], t.unsettled...)
	return len(t.unsettled)
}

// give settles one grant, and reports whether the ledger has answered.
func (t *treasury) give(ctx context.Context, h *held) bool {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	g, unused := h.Grant, h.unused
	if h.owed {
		g.Bytes, unused = 0, h.unused-h.Bytes
	}
	if err := t.ledger.Give(ctx, g, unused); err != nil {
		t.failed(err)
		return false
	}
	t.journal.write(note{Op: "done", ID: h.ID})
	return true
}

// sync flushes the ledger and the journal to the disk.
func (t *treasury) sync() {
	t.journal.sync()
	if l, ok := t.ledger.(interface{ Sync() error }); ok {
		if err := l.Sync(); err != nil {
			t.log.Error("the ledger cannot be written", "cause", err)
		}
	}
}

func (t *treasury) close() error { return t.journal.file.close() }
