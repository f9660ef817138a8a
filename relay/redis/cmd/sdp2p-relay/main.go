// Sdp2p-relay runs a relay that shares its ledger, its directory and the revoked
// tokens with others, in Redis or Valkey.
//
//	sdp2p-relay --redis redis://127.0.0.1:6379/0 [--config FILE] [flags of sdp2p relay]
//	sdp2p-relay --redis URL revoke ISSUER SERIAL
//	sdp2p-relay --redis URL usage
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

	goredis "github.com/redis/go-redis/v9"

	"github.com/sdp2p/p2p/identity"
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
	}
	return fmt.Errorf("%q is not revoke or usage", flags.Arg(0))
}

func revoke(ctx context.Context, r *redis.Revoked, args []string) error {
	if len(args) != 2 {
		return errors.New("an ISSUER and a SERIAL, please")
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
