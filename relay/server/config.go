package server

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

// A Config says what a relay is. Identity and Ledger are required.
type Config struct {
	// Identity is the relay's key, by which clients know it.
	Identity identity.Identity
	// Listen are the UDP addresses to listen at. If there is none, the relay
	// listens at port 7374 of all addresses, of the families that the host has.
	// One that names a single address of the host makes go-libp2p open a second
	// transport on its socket: leave the address unspecified where you can.
	Listen []netip.AddrPort

	// Trusted reports whether the tokens of an issuer are accepted; nil: of none.
	// It is asked again every 15 s about the tokens in use.
	Trusted func(issuer identity.RemoteIdentity) bool
	// Revoked reports whether an issuer has revoked a token; nil: none. It is asked
	// again every 15 s, and by [Server.Review], about the tokens in use.
	Revoked func(issuer identity.RemoteIdentity, serial uint32) bool
	// Known returns the access of a node that shows no token, such as one that
	// speaks circuit relay only; nil: none. Rights, Account, Issuer, Rate and Quota
	// count; the token needs no signature.
	Known func(node identity.RemoteIdentity) (token.Token, bool)

	// Ledger counts the bytes of accounts.
	Ledger Ledger
	// Journal is the path of the file in which the relay writes down what it has
	// been granted, so that it is settled after a crash; "": it is not.
	Journal string
	// Directory is where the relay is announced; nil: nowhere.
	Directory Directory
	// Entry is what is announced, besides Relay, which is the relay's key.
	Entry Entry

	Limits Limits
	// Logger is where the relay reports to; nil: nowhere.
	Logger *slog.Logger

	anyListen bool // it is enough to listen at one of Listen
}

// Limits bound what a relay does. The zero value is ready to use; a negative
// number is no limit, where it says so.
type Limits struct {
	// Reservations bounds the nodes that can be called; 4,096 by default. Above
	// 20,000 each new one takes too long: use several processes.
	Reservations int
	// ReservationsPerIP bounds those of one IP address; 256 by default.
	ReservationsPerIP int
	// ReservationTime is how long a reservation is valid; an hour by default.
	ReservationTime time.Duration
	// Strangers bounds the connections that have shown no token; 256 by default.
	// Where there are more, the oldest of the address with the most is closed.
	Strangers int
	// Patience is after how long a stranger's connection is closed; 10 s by
	// default.
	Patience time.Duration

	// AccountReservations and AccountCircuits bound what an account has open at a
	// time, 64 by default; AccountConnects is how many circuits it may ask for in a
	// second, 10 by default.
	AccountReservations, AccountCircuits, AccountConnects int
	// Rate bounds the bytes per second of an account whose token names no rate, in
	// both directions together; 4,000,000 by default. Negative: no limit.
	Rate int64
	// Quota bounds the bytes of an account whose token names no quota, in a period;
	// 50 GB by default. Negative: no limit.
	Quota int64

	// Buffer is the size in bytes of a circuit's buffer in each direction; 32 KiB
	// by default. Smaller ones cost CPU.
	Buffer int
	// Leave is how long clients have to move to other relays when this one ends;
	// 30 s by default. Negative: none.
	Leave time.Duration
}

// DefaultPort is the UDP port that a relay listens at if nothing else is said.
const DefaultPort = 7374

// WithDefaults returns l with what is zero replaced.
func (l Limits) WithDefaults() Limits {
	set(&l.Reservations, 4096)
	set(&l.ReservationsPerIP, 256)
	set(&l.ReservationTime, time.Hour)
	set(&l.Strangers, 256)
	set(&l.Patience, 10*time.Second)
	set(&l.AccountReservations, 64)
	set(&l.AccountCircuits, 64)
	set(&l.AccountConnects, 10)
	set(&l.Rate, 4_000_000)
	set(&l.Quota, 50_000_000_000)
	set(&l.Buffer, 32<<10)
	set(&l.Leave, 30*time.Second)
	return l
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// check returns the configuration with its defaults.
func (c Config) check() (Config, error) {
	switch {
	case c.Identity.IsZero():
		return c, errors.New("relay: no identity")
	case c.Ledger == nil:
		return c, errors.New("relay: no ledger")
	}
	if c.anyListen = len(c.Listen) == 0; c.anyListen {
		c.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), DefaultPort), netip.AddrPortFrom(netip.IPv6Unspecified(), DefaultPort)}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Trusted == nil {
		c.Trusted = func(identity.RemoteIdentity) bool { return false }
	}
	if c.Revoked == nil {
		c.Revoked = func(identity.RemoteIdentity, uint32) bool { return false }
	}
	if c.Known == nil {
		c.Known = func(identity.RemoteIdentity) (token.Token, bool) { return token.Token{}, false }
	}
	c.Entry.Relay = c.Identity.Remote()
	c.Limits = c.Limits.WithDefaults()
	return c, nil
}
