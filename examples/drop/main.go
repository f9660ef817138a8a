// Drop sends files and folders to another device on the local network.
//
//	go run ./examples/drop receive DIR [--yes]
//	go run ./examples/drop send PATH... [--to NAME]
//	go run ./examples/drop --demo PATH
//
// Without --to the sender lists the devices that receive, and asks. The receiver is asked whether it wants what is offered;
// --yes says so beforehand. What arrives is verified with BLAKE3. Ctrl-C on either side cancels on both; whoever sends the
// same again goes on where it ended. The demo sends PATH from one process to another on this computer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// route is what one transfer is a stream of: package block's, and nothing else.
const route = "drop/2"

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "drop: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	hostname, _ := os.Hostname()
	flags := flag.NewFlagSet("drop", flag.ExitOnError)
	name := flags.String("name", hostname, "the `name` that others see")
	to := flags.String("to", "", "send to the device with this `name` or fingerprint")
	yes := flags.Bool("yes", false, "receive whatever is offered, without asking")
	show := flags.String("demo", "", "send this `path` between two processes on this computer")
	on := flags.String("interface", "", "find devices on these network `interfaces` only")
	keys := flags.String("keys", "", "the `folder` for the keys by which others know this device again")
	var words []string
	for flags.Parse(args); flags.NArg() > 0; flags.Parse(args) { // flags may stand anywhere
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if *show != "" && len(words) == 0 {
		return demo(ctx, *show)
	}
	if len(words) < 2 || words[0] != "send" && (words[0] != "receive" || len(words) > 2) {
		return errors.New("one of these, please: drop receive DIR, drop send PATH..., drop --demo PATH")
	}
	key, err := key(*keys, words[0])
	if err != nil {
		return err
	}
	cfg := p2p.Config{App: "drop", Name: *name, Identity: key}
	cfg.Hooks = []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: strings.Fields(*on)})}
	if words[0] == "receive" {
		if *yes {
			return receive(ctx, cfg, words[1], nil)
		}
		return receive(ctx, cfg, words[1], os.Stdin)
	}
	return send(ctx, cfg, *to, words[1:])
}

// key returns the identity of this device in a role. The two roles have one each, so that a computer can send to itself.
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

// interruptible returns a context that Ctrl-C ends.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// who describes a peer. Names are quoted, since they may contain anything.
func who(p *p2p.Peer) string { return fmt.Sprintf("%q (%s)", p.Name(), p.Identity().Fingerprint()) }

// explain says how a transfer ended that was not completed.
func explain(ctx context.Context, err error, other string) error {
	var peer *block.PeerError
	switch {
	case ctx.Err() != nil:
		return errors.New("cancelled")
	case errors.As(err, &peer) && errors.Is(err, block.ErrRefused):
		return fmt.Errorf("%s does not want it", other)
	case errors.As(err, &peer) && errors.Is(err, block.ErrCancelled):
		return fmt.Errorf("cancelled by %s", other)
	}
	return fmt.Errorf("the transfer with %s was not completed: %w; sent again, it goes on where it ended", other, err)
}

// A meter shows how far a transfer is, on terminals.
type meter struct{ bar *progressbar.ProgressBar }

func (m *meter) show(p block.Progress) {
	if m.bar == nil {
		m.bar = progressbar.DefaultBytesSilent(p.TotalBytes)
		if term.IsTerminal(int(os.Stderr.Fd())) {
			m.bar = progressbar.DefaultBytes(p.TotalBytes)
		}
	}
	m.bar.Set64(p.Bytes)
}

func (m *meter) close() {
	if m.bar != nil {
		m.bar.Close()
	}
}

// summary returns a form like "812 files, 9.4 MB in 0.61 s (15.4 MB/s)".
func summary(r block.Result, began time.Time) string {
	seconds := time.Since(began).Seconds()
	text := fmt.Sprintf("%d files, %.1f MB in %.2f s (%.1f MB/s)", r.Files, float64(r.Bytes)/1e6, seconds, float64(r.Sent)/1e6/seconds)
	if r.Resumed > 0 {
		text += fmt.Sprintf("; %.1f MB were there already", float64(r.Resumed)/1e6)
	}
	return text
}

// list tells what was left out, or has failed.
func list(skipped []*block.FileError) {
	for _, f := range skipped {
		fmt.Fprintf(os.Stderr, "not sent: %q: %v\n", f.Path, f.Err)
	}
}
