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
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

// route is the route for the streams of a transfer of package block.
const route = "drop/2"

const usage = `Drop sends files and folders to another device, on the local network or
through a relay.

  drop receive DIR [--yes] [--once] [--from KEY]
  drop send PATH... [--to NAME] [--yes]
  drop … --relay KEY@IP:PORT --to|--from KEY
  drop --demo PATH

Exit codes: 0 all has arrived, 1 nothing was sent or the transfer failed,
2 wrong usage, 3 some files were left out. A receiver runs until Ctrl-C and
reports the worst of the transfers that it accepted: 1, then 3, then 0.
With --once, 1 also if there was none.

Only what is entered after a question answers it, also where the input is a
pipe. Where nobody answers, the answer is no; --yes answers beforehand.

Flags:`

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
	c := &console{out: os.Stdout, err: os.Stderr}
	c.live = term.IsTerminal(int(os.Stderr.Fd()))
	log.SetOutput(printable{os.Stderr}) // slog's, too
	hostname, _ := os.Hostname()
	flags := flag.NewFlagSet("drop", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	name := flags.String("name", hostname, "the `name` that others see")
	to := flags.String("to", "", "send to the device with this fingerprint or `name`")
	yes := flags.Bool("yes", false, "receive everything; send to a name that is not verified")
	flags.BoolVar(yes, "y", false, "the same as --yes")
	once := flags.Bool("once", false, "receive one transfer, and exit with its code")
	show := flags.String("demo", "", "send this `path` between two processes here")
	on := flags.String("interface", "", "find devices on these network `interfaces` only")
	keys := flags.String("keys", "", "the `folder` for the keys that others know")
	var far away
	far.flags(flags)
	words, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Println(usage)
		flags.SetOutput(printable{os.Stdout})
		flags.PrintDefaults()
		return exitAll
	}
	if err == nil && !makeSense(words, *show != "") {
		err = errors.New("one of these, please: drop receive DIR, " +
			"drop send PATH..., drop --demo PATH")
	}
	if err != nil {
		c.warn("drop: %v (--help tells more)", err)
		return exitUsage
	}
	ctx, stop := interruptible()
	defer stop()
	if *show != "" {
		return c.exit(demo(ctx, c, *show))
	}
	key, err := key(*keys, words[0])
	if err != nil {
		return c.exit(err)
	}
	if !*yes && !isKey(*to) {
		c.listen(os.Stdin)
	}
	listener := quic.New(quic.Config{})
	cfg := p2p.Config{App: "drop", Name: *name, Identity: key, Hooks: []p2p.Hook{
		listener, tcp.New(tcp.Config{}), mdns.New(mdns.Config{Interfaces: strings.Fields(*on)}),
	}}
	if err := far.use(&cfg, listener, words[0], *to); err != nil {
		return c.exit(err)
	}
	if words[0] == "receive" {
		return receive(ctx, c, cfg, receiving{dir: words[1], yes: *yes, once: *once, away: &far})
	}
	spool := spool()
	if spool != nil {
		defer spool.Close()
	}
	return send(ctx, c, cfg, sending{words[1:], *to, *yes, spool, &far})
}

// interruptible returns a context that Ctrl-C ends; a second one ends the
// program.
func interruptible() (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// makeSense reports whether the words that are not flags form a command.
func makeSense(words []string, demo bool) bool {
	switch {
	case demo:
		return len(words) == 0
	case len(words) < 2:
		return false
	}
	return words[0] == "send" || words[0] == "receive" && len(words) == 2
}

// exit prints an error, if there is one, and returns the exit code for it.
func (c *console) exit(err error) code {
	if err == nil {
		return exitAll
	}
	c.warn("drop: %v", err)
	return exitFailed
}

// parse returns the words among args. Flags may stand anywhere.
func parse(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
			return words, err
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
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
