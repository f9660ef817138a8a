// Notes is a notebook that the devices of a user share. Each has all of it, can
// edit it without the others, and exchanges changes when they meet: then all
// have the same notes again.
//
//	go run ./examples/notes --dir A new             in one terminal; keep the key that it
//	                                                shows; type invite, and help
//	go run ./examples/notes --dir B join TICKET     in another one, or on another device
//	go run ./examples/notes --dir A                 later
//	go run ./examples/notes --demo                  three devices on this computer, which run by themselves
//
// Devices on the local network find each other. If that is not possible,
// --manual gives the address of another device. With --private on each, a
// device is visible only to those that have the notebook, or a ticket for it.
//
// Each part has a file: clock.go has the hybrid logical clock, op.go the
// operations, log.go the file that stores them, field.go the choice among
// several values, revoke.go the decision whose operations count, notes.go the
// resulting notes, give.go and sync.go the exchange, and pair.go and members.go
// the members.
//
// # Promises
//
// Devices with the same operations and the same statements about members show
// the same notes. For each field the last writer wins, by a logical clock that
// a single device with a wrong clock does not spoil ([Drift]). Every change
// that a device has confirmed is on its disk; a crash leaves a change complete
// or absent. A device that was revoked, by any admin, gets nothing more, and
// its later writes do not count, whichever device passes them on ([Store]). All
// devices are told who removed whom.
//
// A member can write anything into any note, and everybody can replace it: no
// stamp, count or clock that a member claims makes its values stay, moves those
// of others, or keeps others from exchanging theirs. With a stolen admin's key
// a thief can remove members, and what they wrote with them; all of that is
// undone once that admin is removed.
//
// # Limitations
//
// A revoked device keeps its copy. Without the recovery key or a second admin
// nobody can remove an admin; make another notebook then. If the folder of a
// device was restored from an old copy, and it writes before it has met others,
// it has written two histories: others keep the one that they got first, and
// accept nothing more from the device; it has to be paired anew. The log is
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
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/library"
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
	verbose := flags.Bool("verbose", false, "log more")
	private := flags.Bool("private", false, "be visible only to devices that have the notebook")
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
		Network: func(libraries *library.Libraries) []p2p.Hook {
			return network(quic.Config{Port: uint16(*port), ManualPeers: manual}, mdns.Config{Interfaces: on}, *private, libraries)
		},
	}
	return converse(ctx, cfg, strings.Join(flags.Args(), " "), os.Stdin, os.Stdout)
}

// network returns a listener and a discovery and, if the device is to be
// private, a contacts hook that makes it visible only to the members of its
// libraries.
func network(listen quic.Config, discover mdns.Config, private bool, libraries *library.Libraries) []p2p.Hook {
	listener := quic.New(listen)
	if !private {
		return []p2p.Hook{listener, mdns.New(discover)}
	}
	contacts := contact.New(contact.Config{Listener: listener, Also: contact.FromLibraries(libraries)})
	discover.Mode, discover.Contacts = mdns.ContactsOnly, contacts
	return []p2p.Hook{listener, contacts, mdns.New(discover)}
}

// converse runs a device and executes the first command, if there is one, and
// then the lines of in, until quit, the end of in, or the end of ctx.
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
