// Drop sends files and folders to another device, on the local network or
// through a relay.
//
//	go run ./examples/drop receive DIR [--yes] [--once] [--from KEY]
//	go run ./examples/drop send PATH... [--to NAME] [--yes]
//	go run ./examples/drop --demo PATH
//
// With --relay, the other device may be on another network. Name it by its
// whole key: --to KEY for the receiver, --from KEY for the sender.
//
// --from KEY, which on the same network may be the fingerprint that an offer
// shows, also trusts this sender: files that are unchanged since it sent them
// before are not sent again, files may be executable, and names may begin with
// a dot. Others are strangers, and may still offer something.
//
// The receiver is asked whether it accepts an offer. The sender names a device
// by its fingerprint, which needs no question, or by its name, which anybody
// can take, so that it is asked before it sends. Without --to it chooses from a
// list. Only input entered after a question answers it, even if the input is a
// pipe; if nobody answers, the answer is no. --yes answers yes in advance, but
// does not choose between two devices with the same name.
//
// Files are verified with BLAKE3. If the connection is lost, a transfer
// continues over the next one, for 5 minutes. Ctrl-C on either side cancels on
// both; sent again, a transfer resumes where it ended. Names and messages of
// other devices are printed in a form that cannot control the terminal. The
// demo sends PATH from one process to another on this computer.
//
// Exit codes: 0 if all has arrived, 1 if nothing was sent or the transfer
// failed, 2 for wrong usage, 3 if some files were left out. A receiver runs
// until Ctrl-C, or with --once until one transfer that it accepted has ended,
// and reports the worst of the transfers that it accepted: 1, then 3, then 0.
// With --once it exits with 1 if there was none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/examples/drop/console"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
	_ "github.com/sdp2p/p2p/quic/gather" // files are large
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/tcp"
)

// route is the route for the streams of a transfer of package block.
const route = "drop/2"

// A code is the exit code of the program, or of one transfer.
type code int

const (
	exitAll    code = 0
	exitFailed code = 1
	exitUsage  code = 2
	exitSome   code = 3 // some were left out
)

func main() { os.Exit(int(run(os.Args[1:]))) }

func run(args []string) code {
	c := console.Standard()
	log.SetOutput(console.Printable(os.Stderr)) // slog's, too
	var o options
	flags := o.flags()
	err := o.parse(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(help)
		flags.SetOutput(console.Printable(os.Stdout))
		flags.PrintDefaults()
		return exitAll
	case err != nil:
		c.Warn("drop: %v (--help tells more)", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program
	if o.demo != "" {
		return exit(c, demo(ctx, c, o.demo))
	}
	key, err := key(o.keys, o.command)
	if err != nil {
		return exit(c, err)
	}
	if !o.yes && !isKey(o.to) {
		c.Listen(os.Stdin)
	}
	listener := quic.New(quic.Config{})
	cfg := p2p.Config{App: "drop", Name: o.name, Identity: key, Hooks: []p2p.Hook{
		listener, tcp.New(tcp.Config{}), mdns.New(mdns.Config{Interfaces: o.on}),
	}}
	if !o.friend.IsZero() {
		o.relay.Listener = listener
		o.relays = relay.New(o.relay)
		cfg.Hooks = append(cfg.Hooks, o.relays)
	}
	if o.command == "receive" {
		return receive(ctx, c, cfg, &o)
	}
	if o.spool = spool(); o.spool != nil {
		defer o.spool.Close()
	}
	return send(ctx, c, cfg, &o)
}

// exit prints an error, if there is one, and returns the exit code for it.
func exit(c *console.Console, err error) code {
	if err == nil {
		return exitAll
	}
	c.Warn("drop: %v", err)
	return exitFailed
}

// key returns the identity of this device in a role. The two roles have one
// each, so that a computer can send to itself.
func key(folder, role string) (identity.Identity, error) {
	if folder == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return identity.Identity{}, fmt.Errorf("%w; use --keys", err)
		}
		folder = filepath.Join(config, "sdp2p-drop")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return identity.Identity{}, err
	}
	return identity.LoadOrCreate(filepath.Join(folder, role+".pem"))
}

// spool returns a folder of this program's own for long lists of files, or nil,
// with which the sender does as well as it can.
func spool() *os.Root {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil
	}
	dir := filepath.Join(cache, "sdp2p-drop")
	os.MkdirAll(dir, 0o700)
	root, _ := os.OpenRoot(dir)
	return root
}
