// Notes is a notebook that the devices of a user share. Each has all of it,
// edits it whether others are there or not, and when they meet they exchange
// what is new: then all have the same again.
//
//	go run ./examples/notes --dir A new             in one terminal; keep the key that it
//	                                                shows; type invite, and help
//	go run ./examples/notes --dir B join TICKET     in another one, or on another device
//	go run ./examples/notes --dir A                 later
//	go run ./examples/notes --demo                  three devices on this computer, which
//	                                                do it by themselves
//
// Devices on the local network find each other. Where that is not possible,
// --manual gives the address of another one.
//
// Each thing has a file: clock.go the hybrid logical clock, op.go the
// operations, log.go the file that they are kept in, field.go which of several
// values is shown, revoke.go whose operations count, notes.go what they come
// to, give.go and sync.go how they are exchanged, pair.go and members.go how
// devices become members, and stop being some.
//
// # What is promised
//
// Devices that have the same operations, and know the same of who belongs to
// the library, show the same notes. For each field the last writer wins, by a
// clock that knows what it has seen, and that one device with a wrong clock
// does not spoil ([Drift]). What a device has said it has done is on its disk;
// after a crash there is all of it and nothing half. A device that was revoked,
// by any admin, gets nothing more, and nothing that it writes later counts,
// any device that hands it on ([Store]). All are told who removed whom.
//
// A member can write anything into any note, and everybody can replace
// that: no stamp, count or clock that it claims makes its values stay, moves
// what others have written, or keeps others from hearing each other. A stolen
// admin's key can put out members, and what they wrote with them; all of that
// is undone once it is removed.
//
// # What is not
//
// A revoked device keeps what it has. Without the recovery key and without a
// second admin nobody can throw out an admin; make another notebook then. A
// device whose folder was restored from an old copy, and that writes before it
// has met others, has told two stories: others go on with the one that they
// heard first, and no longer hear it; it has to be paired anew. The log is
// never shortened.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "notes: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer cancel()
	hostname, _ := os.Hostname()
	flags := flag.NewFlagSet("notes", flag.ExitOnError)
	show := flags.Bool("demo", false, "show three devices on this computer")
	dir := flags.String("dir", "", "the `folder` of this device")
	name := flags.String("name", hostname, "the `name` that others see")
	port := flags.Uint("port", 0, "the UDP `port`; 0: any")
	off := flags.Duration("clock", 0, "pretend that the clock is ahead by this `time`")
	verbose := flags.Bool("verbose", false, "log what happens")
	var manual, on []string
	flags.Func("manual", "look for another device at this `address`", func(s string) error { manual = append(manual, s); return nil })
	flags.Func("interface", "find devices on this network `interface` only", func(s string) error { on = append(on, s); return nil })
	flags.Parse(args)
	switch {
	case *show && *dir == "" && flags.NArg() == 0:
		return demo(ctx)
	case *show || *dir == "" || *port > 65535:
		return errors.New("one of these, please: notes --dir FOLDER, notes --dir FOLDER new, notes --dir FOLDER join TICKET, notes --demo")
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelDebug
	}
	cfg := Config{
		Folder: *dir, Name: *name,
		Wall: func() time.Time { return time.Now().Add(*off) },
		Log:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		Network: func() []p2p.Hook {
			return []p2p.Hook{quic.New(quic.Config{Port: uint16(*port), ManualPeers: manual}), mdns.New(mdns.Config{Interfaces: on})}
		},
	}
	return converse(ctx, cfg, strings.Join(flags.Args(), " "), os.Stdin, os.Stdout)
}

// converse runs a device, does the first command, if there is one, and then
// what the lines of in say, until quit, the end of in, or that of ctx.
func converse(ctx context.Context, cfg Config, first string, in io.Reader, out io.Writer) (err error) {
	t := &Terminal{out: out}
	cfg.Tell = t.Tell
	if t.device, err = Open(ctx, cfg); err != nil {
		return err
	}
	working, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		t.jobs.Wait()
		err = errors.Join(err, t.device.Close(context.Background()))
	}()
	if first == "" && t.device.notebook.Load() == nil {
		t.Tell("%v", errNoNotebook)
	}
	if folder, err := filepath.Abs(cfg.Folder); err == nil {
		t.Tell("this is %q (%s), in %s, at %v", cfg.Name, t.device.node.Identity().Fingerprint(), folder, t.device.addrs())
	}
	lines := make(chan string)
	go func() { // nothing interrupts Scan: if ctx is done before in ends, this ends with the program
		defer close(lines)
		if first != "" {
			lines <- first
		}
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-working.Done():
				return
			}
		}
	}()
	for {
		if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			fmt.Fprint(out, "> ")
		}
		select {
		case line, ok := <-lines:
			if !ok || errors.Is(t.Do(ctx, line), errQuit) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}
