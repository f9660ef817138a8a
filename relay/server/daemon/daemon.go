// Package daemon runs a relay as a program: with flags, a configuration file,
// and files for its key, its ledger and its grants.
package daemon

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// LedgerFile is the ledger's name in the state folder.
const LedgerFile = "ledger"

// Options are the options of a relay. [Options.Register] sets the defaults.
type Options struct {
	// Ledger, if not nil, replaces the file in the state folder.
	Ledger server.Ledger
	// Directory, if not nil, lists the relay for clients.
	Directory server.Directory
	// Revoked, if not nil, reports whether a token is revoked, in addition to
	// the file.
	Revoked func(issuer identity.RemoteIdentity, serial uint32) bool

	state, http, revocations, period string
	rate, quota                      size
	debug                            bool
	cfg                              server.Config
	issuers                          map[identity.RemoteIdentity]bool
	nodes                            map[identity.RemoteIdentity]token.Token
}

// Register adds the options to flags. Each can also be a line of the
// configuration file.
func (o *Options) Register(flags *flag.FlagSet) {
	o.issuers, o.nodes = map[identity.RemoteIdentity]bool{}, map[identity.RemoteIdentity]token.Token{}
	l := &o.cfg.Limits
	*l = server.Limits{}.WithDefaults()
	o.rate, o.quota = size(l.Rate), size(l.Quota)
	flags.StringVar(&o.state, "state", "relay-state", "the folder for the key, the ledger and the journal")
	flags.Func("listen", "a UDP address to listen at; may be repeated (default 0.0.0.0:7374 and [::]:7374)", func(s string) error {
		return appendAddr(&o.cfg.Listen, s)
	})
	flags.Func("issuer", "the key of an issuer whose tokens are accepted; may be repeated", func(s string) error {
		id, err := identity.Parse(s)
		o.issuers[id] = true
		return err
	})
	flags.Func("node", "NODE ACCOUNT RIGHTS of a node that needs no token, as in \"KEY UUID reserve,connect\"; may be repeated", o.addNode)
	flags.StringVar(&o.revocations, "revoked", "", "a file of revoked tokens, each line ISSUER SERIAL; read again when it changes")
	flags.StringVar(&o.period, "period", string(server.Monthly), "the period of a quota: hour, day or month")
	flags.Var(&o.rate, "rate", "bytes per second of an account whose token names no rate; -1: no limit")
	flags.Var(&o.quota, "quota", "bytes in a period of an account whose token names no quota; -1: no limit")
	flags.IntVar(&l.Reservations, "reservations", l.Reservations, "nodes that can be called; at most 20000")
	flags.IntVar(&l.ReservationsPerIP, "reservations-per-ip", l.ReservationsPerIP, "nodes at one IP address that can be called")
	flags.DurationVar(&l.ReservationTime, "reservation-time", l.ReservationTime, "how long a reservation is valid")
	flags.IntVar(&l.AccountReservations, "account-reservations", l.AccountReservations, "nodes of one account that can be called; -1: no limit")
	flags.IntVar(&l.AccountCircuits, "account-circuits", l.AccountCircuits, "open circuits of an account; -1: no limit")
	flags.IntVar(&l.AccountConnects, "account-connects", l.AccountConnects, "circuits that an account may request per second")
	flags.IntVar(&l.Strangers, "strangers", l.Strangers, "connections that have shown no token; -1: no limit")
	flags.DurationVar(&l.Patience, "patience", l.Patience, "after which connections that have shown no token are closed")
	flags.DurationVar(&l.Leave, "leave", l.Leave, "how long clients have to move to other relays when this one ends")
	flags.StringVar(&o.http, "http", "127.0.0.1:7375", "the TCP address for /metrics and /healthz; \"\": none")
	flags.StringVar(&o.cfg.Entry.Zone, "zone", "", "the zone that is announced in the directory")
	flags.Func("announce", "an address that is announced in the directory; may be repeated", func(s string) error {
		return appendAddr(&o.cfg.Entry.Addrs, s)
	})
	flags.BoolVar(&o.debug, "debug", false, "log more")
}

func appendAddr(to *[]netip.AddrPort, s string) error {
	a, err := netip.ParseAddrPort(s)
	*to = append(*to, a)
	return err
}

// addNode reads the option "node".
func (o *Options) addNode(s string) error {
	f := strings.Fields(s)
	if len(f) != 3 {
		return errors.New("not NODE ACCOUNT RIGHTS")
	}
	id, err := identity.Parse(f[0])
	if err != nil {
		return err
	}
	t := token.Token{Node: id}
	if err := t.Account.UnmarshalText([]byte(f[1])); err != nil {
		return err
	}
	if t.Rights, err = token.ParseRights(f[2]); err != nil {
		return err
	}
	o.nodes[id] = t
	return nil
}

// LoadFile is [Load] for a file; it does nothing if path is empty.
func LoadFile(flags *flag.FlagSet, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := Load(flags, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Load reads a configuration file: in each line the name of an option, "=", and
// its value; "#" begins a comment. The command line takes precedence.
func Load(flags *flag.FlagSet, r io.Reader) error {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok:
			return fmt.Errorf("line %d: not NAME = VALUE", n)
		case flags.Lookup(name) == nil || name == "config":
			return fmt.Errorf("line %d: there is no option %q", n, name)
		case given[name]:
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("line %d: %s: %w", n, name, err)
		}
	}
	return lines.Err()
}

// Run serves until ctx is done, and writes to log.
func (o *Options) Run(ctx context.Context, log io.Writer) error {
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	cfg := o.cfg
	cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	cfg.Limits.Rate, cfg.Limits.Quota = int64(o.rate), int64(o.quota)
	closeLedger, err := o.open(&cfg)
	if err != nil {
		return err
	}
	defer closeLedger()
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	pages, err := o.serve(s, cfg.Logger)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer pages.Close()
	return s.Run(ctx)
}

// open opens the files of the state folder.
func (o *Options) open(cfg *server.Config) (closeLedger func(), err error) {
	cycle, err := server.ParseCycle(o.period)
	if err != nil {
		return nil, fmt.Errorf("the period: %w", err)
	}
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return nil, err
	}
	if cfg.Identity, err = identity.LoadOrCreate(filepath.Join(o.state, "relay.pem")); err != nil {
		return nil, err
	}
	revoked, err := readRevoked(o.revocations, cfg.Logger)
	if err != nil {
		return nil, err
	}
	cfg.Journal = filepath.Join(o.state, "journal")
	cfg.Trusted = func(id identity.RemoteIdentity) bool { return o.issuers[id] }
	cfg.Known = func(id identity.RemoteIdentity) (token.Token, bool) { t, ok := o.nodes[id]; return t, ok }
	cfg.Revoked = func(issuer identity.RemoteIdentity, serial uint32) bool {
		return revoked.has(issuer, serial) || o.Revoked != nil && o.Revoked(issuer, serial)
	}
	cfg.Directory = o.Directory
	if cfg.Ledger = o.Ledger; cfg.Ledger != nil {
		return func() {}, nil
	}
	l, err := server.OpenLedger(filepath.Join(o.state, LedgerFile), cycle)
	if err != nil {
		return nil, err
	}
	cfg.Ledger = l
	return func() {
		if err := l.Close(); err != nil {
			cfg.Logger.Error("the ledger cannot be closed", "cause", err)
		}
	}, nil
}

// serve serves the pages about the relay.
func (o *Options) serve(s *server.Server, log *slog.Logger) (io.Closer, error) {
	if o.http == "" {
		return io.NopCloser(nil), nil
	}
	l, err := net.Listen("tcp", o.http)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.Metrics())
	mux.Handle("GET /healthz", s.Health())
	pages := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	log.Info("the pages serve", "addr", l.Addr().String())
	go pages.Serve(l)
	return pages, nil
}
