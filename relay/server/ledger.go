package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/relay/token"
)

// Chunk is the maximum number of bytes that a relay takes from a [Ledger] at a
// time.
const Chunk = 8 << 20

// A Period is a span of time for which a quota applies, identified by its
// beginning in seconds since 1970. 0 stands for the current period.
type Period int64

// A Cycle is the length of periods.
type Cycle string

// The cycles, by the calendar in UTC.
const (
	Hourly  Cycle = "hour"
	Daily   Cycle = "day"
	Monthly Cycle = "month"
)

// Period returns the period that a time belongs to.
func (c Cycle) Period(t time.Time) Period {
	t = t.UTC()
	switch c {
	case Hourly:
		return Period(t.Truncate(time.Hour).Unix())
	case Daily:
		return Period(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC).Unix())
	}
	return Period(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix())
}

// ParseCycle reads the name of a cycle.
func ParseCycle(s string) (Cycle, error) {
	switch c := Cycle(s); c {
	case Hourly, Daily, Monthly:
		return c, nil
	}
	return "", fmt.Errorf("%q is not hour, day or month", s)
}

// String returns the beginning of the period.
func (p Period) String() string { return time.Unix(int64(p), 0).UTC().Format("2006-01-02T15:04Z") }

// A Grant is a number of bytes that an account may use, counted as used until
// the rest is given back.
type Grant struct {
	// ID is random.
	ID      [16]byte
	Account token.Account
	Bytes   int64
	// Period is the period in which the bytes count.
	Period Period
	// Used is the number of bytes that the account has used in the period,
	// including all grants.
	Used int64
}

// NewGrant returns a grant with a random ID.
func NewGrant(a token.Account, n int64, p Period, used int64) Grant {
	g := Grant{Account: a, Bytes: n, Period: p, Used: used}
	rand.Read(g.ID[:])
	return g
}

// A Ledger counts the bytes of accounts in periods, by its own clock. All
// methods may be called concurrently, and by several relays.
type Ledger interface {
	// Take grants up to want bytes, at most [Chunk], of those that the account
	// has left below limit in the current period, or 0 bytes if none are left.
	// A limit below 0 means no limit. Take is atomic. A grant returned with an
	// error may have been taken: if it has bytes, it is not used but settled
	// later.
	Take(ctx context.Context, a token.Account, want, limit int64) (Grant, error)
	// Give settles a grant, and returns its unused bytes to the grant's period,
	// whose sum does not fall below zero; a negative number means that more was
	// used. It does nothing for a grant that was settled already, or whose
	// period is too long ago.
	//
	// A grant of 0 bytes was not taken from the ledger: the bytes used are
	// added to the current period, once for each ID.
	Give(ctx context.Context, g Grant, unused int64) error
	// Used returns the bytes that the account has used in a period.
	Used(ctx context.Context, a token.Account, p Period) (int64, error)
}

// A Use is the use of an account in a period.
type Use struct {
	Account token.Account
	Period  Period
	// Bytes is the number of bytes used, including those that relays hold.
	Bytes int64
	// Held is the number of bytes in unsettled grants to relays.
	Held int64
}

func (u Use) key() bookKey { return bookKey{u.Account, u.Period} }

// A bookKey is the key under which a ledger counts.
type bookKey struct {
	account token.Account
	period  Period
}

// book is a ledger's arithmetic. It is not safe for concurrent use.
type book struct {
	used    map[bookKey]int64
	open    map[[16]byte]Grant
	settled map[[16]byte]Period // grants of 0 bytes
}

func newBook() book {
	return book{map[bookKey]int64{}, map[[16]byte]Grant{}, map[[16]byte]Period{}}
}

// take adds a grant.
func (b *book) take(g Grant) {
	b.used[bookKey{g.Account, g.Period}] += g.Bytes
	b.open[g.ID] = g
}

// give settles a grant, and reports whether that changes anything. g.Period is
// known.
func (b *book) give(g Grant, unused int64) bool {
	if g.Bytes == 0 {
		if _, done := b.settled[g.ID]; done {
			return false
		}
		b.settled[g.ID] = g.Period
	} else {
		known, ok := b.open[g.ID]
		if !ok {
			return false
		}
		delete(b.open, g.ID)
		g.Period, g.Account = known.Period, known.Account
		unused = min(unused, known.Bytes)
	}
	k := bookKey{g.Account, g.Period}
	b.used[k] = max(b.used[k]-unused, 0)
	return true
}

// expire forgets the grants of earlier periods, which stay counted.
func (b *book) expire(before Period) {
	for id, g := range b.open {
		if g.Period < before {
			delete(b.open, id)
		}
	}
	for id, p := range b.settled {
		if p < before {
			delete(b.settled, id)
		}
	}
}

// uses returns all sums.
func (b *book) uses() []Use {
	held := map[bookKey]int64{}
	for _, g := range b.open {
		held[bookKey{g.Account, g.Period}] += g.Bytes
	}
	var all []Use
	for k, n := range b.used {
		all = append(all, Use{k.account, k.period, n, held[k]})
	}
	return all
}

// A record is a line of a ledger's file.
type record struct {
	Op      string // take, give, or used: a sum, after compaction
	ID      uuid.UUID
	Account token.Account
	Period  Period
	Bytes   int64
	Unused  int64 `json:",omitempty"`
}
