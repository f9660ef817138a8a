package server

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

// A Config configures a relay. Identity and Ledger are required.
type Config struct {
	// Identity is the relay's key, by which clients identify it.
	Identity identity.Identity
	// Listen are the UDP addresses to listen at. If there are none, the relay
	// listens at port 7374 of all addresses, for the families that the host
	// has. If possible, leave the IP address unspecified: a specific one makes
	// go-libp2p open a second transport on its socket.
	Listen []netip.AddrPort

	// Trusted reports whether the tokens of an issuer are accepted; nil: none
	// are. It is called again every 15 s for the tokens in use.
	Trusted func(issuer identity.RemoteIdentity) bool
	// Revoked reports whether an issuer has revoked a token; nil: none is. It
	// is called again every 15 s, and by [Server.Review], for the tokens in
	// use.
	Revoked func(issuer identity.RemoteIdentity, serial uint32) bool
	// Known returns the access of a node that shows no token, such as one that
	// speaks only circuit relay; nil: none has any. Rights, Account, Issuer,
	// Rate and Quota are used; the token needs no signature.
	Known func(node identity.RemoteIdentity) (token.Token, bool)

	// Ledger counts the bytes of accounts.
	Ledger Ledger
	// Journal is the path of the file in which the relay records its grants, so
	// that they are settled after a crash; "": none.
	Journal string
	// Directory is where the relay is announced; nil: nowhere.
	Directory Directory
	// Entry is the announced entry. Its Relay is set to the relay's key.
	Entry Entry

	Limits Limits
	// Logger is the relay's log; nil: none.
	Logger *slog.Logger

	anyListen bool // it is enough to listen at one of Listen
}

// Limits bound the load of a relay. The zero value is ready to use; a negative
// number means no limit, where the field says so.
type Limits struct {
	// Reservations bounds the nodes that can be called; 4,096 by default. Above
	// 20,000, each new reservation takes too long: use several processes.
	Reservations int
	// ReservationsPerIP bounds the reservations of one IP address; 256 by
	// default.
	ReservationsPerIP int
	// ReservationTime is how long a reservation is valid; an hour by default.
	ReservationTime time.Duration
	// Strangers bounds the connections that have shown no token; 256 by
	// default. If there are more, the oldest of the address with the most is
	// closed.
	Strangers int
	// Patience is how long a stranger's connection may last; 10 s by default.
	Patience time.Duration

	// AccountReservations and AccountCircuits bound what an account has open at
	// a time, 64 of each by default; AccountConnects bounds the circuits that
	// it may request per second, 10 by default.
	AccountReservations, AccountCircuits, AccountConnects int
	// Rate bounds the bytes per second of an account whose token names no rate,
	// in both directions together; 4,000,000 by default. Negative: no limit.
	Rate int64
	// Quota bounds the bytes of an account whose token names no quota, in a
	// period; 50 GB by default. Negative: no limit.
	Quota int64

	// Buffer is the size in bytes of a circuit's buffer in each direction; 32
	// KiB by default. Smaller ones cost CPU.
	Buffer int
	// Leave is how long clients have to move to other relays when this one
	// ends; 30 s by default. Negative: none.
	Leave time.Duration
}

// DefaultPort is the default UDP port of a relay.
const DefaultPort = 7374

// WithDefaults returns l with defaults in place of zeros.
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
