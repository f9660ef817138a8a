// Sdp2p-relay runs a relay that shares its ledger, its directory and the
// revoked tokens with others, in Redis or Valkey.
//
//	sdp2p-relay --redis redis://127.0.0.1:6379/0 [--config FILE] [flags of sdp2p relay]
//	sdp2p-relay --redis URL revoke ISSUER SERIAL
//	sdp2p-relay --redis URL usage
//	sdp2p-relay --redis URL list KEY LIST
//
// The last one signs the list of all running relays with a key file, and writes
// it to a file for a web server: see package relay/directory. Do this a few
// times a day.
package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/directory"
	"github.com/sdp2p/p2p/relay/redis"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/server/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sdp2p-relay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("sdp2p-relay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o daemon.Options
	o.Register(flags)
	config := flags.String("config", "", "a file with any of these")
	url := flags.String("redis", "redis://127.0.0.1:6379/0", "where Redis or Valkey is")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := daemon.LoadFile(flags, *config); err != nil {
		return err
	}
	options, err := goredis.ParseURL(*url)
	if err != nil {
		return err
	}
	options.ContextTimeoutEnabled = true
	client := goredis.NewClient(options)
	defer client.Close()
	cycle, err := server.ParseCycle(flags.Lookup("period").Value.String())
	if err != nil {
		return err
	}
	revoked, err := redis.NewRevoked(ctx, client, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	ledger := redis.NewLedger(client, cycle)
	switch flags.Arg(0) {
	case "":
		o.Ledger, o.Directory, o.Revoked = ledger, redis.NewDirectory(client), revoked.Has
		go revoked.Run(ctx)
		return o.Run(ctx, stderr)
	case "revoke":
		return revoke(ctx, revoked, flags.Args()[1:])
	case "usage":
		return usage(ctx, ledger, stdout)
	case "list":
		return list(ctx, redis.NewDirectory(client), flags.Args()[1:])
	}
	return fmt.Errorf("%q is not revoke, usage or list", flags.Arg(0))
}

func revoke(ctx context.Context, r *redis.Revoked, args []string) error {
	if len(args) != 2 {
		return errors.New("revoke takes an ISSUER and a SERIAL")
	}
	issuer, err := identity.Parse(args[0])
	if err != nil {
		return err
	}
	serial, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return err
	}
	return r.Revoke(ctx, issuer, uint32(serial))
}

// list signs the list of the running relays that have an address.
func list(ctx context.Context, d server.Directory, args []string) error {
	if len(args) != 2 {
		return errors.New("list takes a KEY file and a file for the LIST")
	}
	key, err := identity.Load(args[0])
	if err != nil {
		return err
	}
	all, err := d.List(ctx, "")
	if err != nil {
		return err
	}
	now := time.Now()
	l := directory.List{Number: uint64(now.Unix()), Issued: now, Expiry: now.Truncate(time.Minute).Add(directory.MaxLife)}
	for _, e := range all {
		if len(e.Addrs) > 0 {
			l.Servers = append(l.Servers, relay.Server{Identity: e.Relay, Addrs: e.Addrs, Zone: e.Zone})
		}
	}
	if len(l.Servers) == 0 {
		return errors.New("no running relay announces an address: nodes would be left without relays")
	}
	return directory.WriteFile(args[1], l, key)
}

func usage(ctx context.Context, l *redis.Ledger, stdout io.Writer) error {
	all, err := l.Uses(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b server.Use) int {
		return cmp.Or(cmp.Compare(a.Period, b.Period), cmp.Compare(a.Account.Issuer.String(), b.Account.Issuer.String()), cmp.Compare(a.Account.Number.String(), b.Account.Number.String()))
	})
	w := csv.NewWriter(stdout)
	w.Write([]string{"period", "issuer", "account", "bytes", "held"})
	for _, u := range all {
		w.Write([]string{u.Period.String(), u.Account.Issuer.String(), u.Account.Number.String(), strconv.FormatInt(u.Bytes, 10), strconv.FormatInt(u.Held, 10)})
	}
	w.Flush()
	return w.Error()
}
