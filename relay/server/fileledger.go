package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/relay/token"
)

// A FileLedger is the [Ledger] of a single relay, in memory and, optionally, in
// a file. Each grant is written to the file before it is used, so that none is
// lost with the process.
type FileLedger struct {
	cycle Cycle
	log   *logFile
	now   func() time.Time

	mu   sync.Mutex
	book book
}

var _ Ledger = (*FileLedger)(nil)

// NewMemoryLedger returns a ledger that is forgotten with the process.
func NewMemoryLedger(c Cycle) *FileLedger {
	return &FileLedger{cycle: c, now: time.Now, book: newBook()}
}

// OpenLedger opens the ledger in a file, or creates it. Only one process may
// have it open; others may read it with [ReadLedger].
func OpenLedger(path string, c Cycle) (*FileLedger, error) {
	l := NewMemoryLedger(c)
	var err error
	if l.log, err = openLog(path, l.book.replay); err != nil {
		return nil, fmt.Errorf("relay: the ledger: %w", err)
	}
	return l, nil
}

// ReadLedger returns the contents of a ledger's file, even while a relay uses
// it.
func ReadLedger(path string) ([]Use, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("relay: the ledger: %w", err)
	}
	defer f.Close()
	b := newBook()
	if _, err := new(logFile).read(f, b.replay); err != nil {
		return nil, fmt.Errorf("relay: the ledger: %s: %w", path, err)
	}
	return sorted(b.uses()), nil
}

// sorted sorts by period, issuer and number.
func sorted(uses []Use) []Use {
	slices.SortFunc(uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Period, b.Period), cmp.Compare(a.Account.Issuer.String(), b.Account.Issuer.String()),
			cmp.Compare(a.Account.Number.String(), b.Account.Number.String()))
	})
	return uses
}

// replay applies a line of the file.
func (b *book) replay(line []byte) error {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	g := Grant{ID: r.ID, Account: r.Account, Bytes: r.Bytes, Period: r.Period}
	switch r.Op {
	case "take":
		b.take(g)
	case "open": // after compaction: the sum includes its bytes
		b.open[g.ID] = g
	case "settled":
		b.settled[g.ID] = g.Period
	case "give":
		b.give(g, r.Unused)
	case "used":
		b.used[bookKey{r.Account, r.Period}] = r.Bytes
	default:
		return fmt.Errorf("an unknown record %q", r.Op)
	}
	return nil
}

// lines are the records that reproduce the book.
func (b *book) lines() (all []any) {
	for _, u := range sorted(b.uses()) {
		all = append(all, record{Op: "used", Account: u.Account, Period: u.Period, Bytes: u.Bytes})
	}
	for id, g := range b.open {
		all = append(all, record{Op: "open", ID: id, Account: g.Account, Period: g.Period, Bytes: g.Bytes})
	}
	for id, p := range b.settled {
		all = append(all, record{Op: "settled", ID: id, Period: p})
	}
	return all
}

// Take grants bytes: see [Ledger].
func (l *FileLedger) Take(_ context.Context, a token.Account, want, limit int64) (Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := bookKey{a, l.cycle.Period(l.now())}
	if limit < 0 {
		limit = math.MaxInt64
	}
	used := l.book.used[k]
	n := max(min(want, Chunk, limit-used), 0)
	g := NewGrant(a, n, k.period, used+n)
	if n == 0 {
		return g, nil
	}
	if err := l.log.add(record{Op: "take", ID: g.ID, Account: a, Period: g.Period, Bytes: n}); err != nil {
		return Grant{}, fmt.Errorf("relay: the ledger: %w", err)
	}
	l.book.take(g)
	return g, nil
}

// Give settles a grant: see [Ledger].
func (l *FileLedger) Give(_ context.Context, g Grant, unused int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cycle.Period(l.now())
	if g.Bytes == 0 {
		g.Period = now
	}
	if !l.book.give(g, unused) {
		return nil
	}
	err := l.log.add(record{Op: "give", ID: g.ID, Account: g.Account, Period: g.Period, Bytes: g.Bytes, Unused: unused})
	if l.log.crowded(len(l.book.used) + len(l.book.open) + len(l.book.settled)) {
		l.book.expire(l.cycle.Period(time.Unix(int64(now)-1, 0)))
		err = errors.Join(err, l.log.rewrite(l.book.lines()))
	}
	if err != nil {
		return fmt.Errorf("relay: the ledger: %w", err)
	}
	return nil
}

// Used returns what an account has used: see [Ledger].
func (l *FileLedger) Used(_ context.Context, a token.Account, p Period) (int64, error) {
	if p == 0 {
		p = l.cycle.Period(l.now())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.used[bookKey{a, p}], nil
}

// Uses returns the use of all accounts, sorted by period and account.
func (l *FileLedger) Uses() []Use {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sorted(l.book.uses())
}

// Sync flushes grants to the disk. The relay calls it every second.
func (l *FileLedger) Sync() error { return l.log.sync() }

// Close flushes everything to the disk and closes the file.
func (l *FileLedger) Close() error { return l.log.close() }
