// Clipboard shares copied text among the user's own devices only: a line typed
// here is shown on the others. The first device shows a ticket; start the next
// one with -join and the ticket.
//
//	go run ./examples/clipboard -dir laptop
//	go run ./examples/clipboard -dir phone -join sdp2p1:…
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
)

//go:generate go -C ../../proto/protogen run . -dir ../../examples/clipboard

// A Clip is a text that was copied.
//
//proto:message extensible max=8192
type Clip struct {
	At   time.Time `proto:"time=ms"`
	Text string    `proto:"max=4096"`
}

// A Taken is the answer to a Clip.
//
//proto:message
type Taken struct{}

func main() {
	dir, join := flag.String("dir", "", "folder for keys"), flag.String("join", "", "ticket of another device")
	var on []string // nil: all that support multicast
	flag.Func("on", "use only this network interface for discovery", func(s string) error { on = append(on, s); return nil })
	flag.Parse()
	ctx, typed := context.Background(), bufio.NewScanner(os.Stdin)
	store := must(library.OpenStore(filepath.Join(*dir, "libraries")))
	key := must(identity.LoadOrCreate(filepath.Join(*dir, "node.pem")))
	libraries := library.New(library.Config{Store: store, Added: func(l *library.Library) {
		call.HandleIn(l, "clip/1", func(_ context.Context, c Clip) (Taken, error) {
			_, err := fmt.Printf("%s %q\n", c.At.Format(time.TimeOnly), c.Text)
			return Taken{}, err
		})
	}})
	pairs := pairing.New(pairing.Config{Libraries: libraries})
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, libraries)
	mux.Handle(pairing.Route, p2p.Anyone, pairs)
	hooks := []p2p.Hook{quic.New(quic.Config{}), libraries, pairs, mdns.New(mdns.Config{Interfaces: on})}
	node := must(p2p.Start(ctx, p2p.Config{App: "clipboard", Name: filepath.Base(*dir), Identity: key, Handler: &mux, Hooks: hooks}))
	defer node.Shutdown(ctx)

	confirm := func(_ context.Context, d pairing.Device) bool {
		fmt.Printf("Does %q show %s, too? [y/n]\n", d.Name, d.Code)
		return typed.Scan() && typed.Text() == "y"
	}
	if *join != "" {
		must(pairs.Join(ctx, must(pairing.ParseTicket(*join)), pairing.JoinConfig{Confirm: confirm}))
	} else if len(libraries.All()) == 0 {
		recovery := library.NewRecoveryKey()
		invitation := must(pairs.Invite(must(libraries.Found("clips", recovery)), pairing.InviteConfig{Confirm: confirm}))
		fmt.Printf("Keep this on paper: %s\nFor the other device: %s\n", recovery.Text(), invitation.Ticket().Text())
		must(invitation.Wait(ctx))
	}
	for clips := libraries.All()[0]; typed.Scan(); {
		for _, m := range clips.Members() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // it may not be there
			_, err := call.Do[Taken](ctx, call.Member(clips, m.Member.Instance), "clip/1", Clip{time.Now(), typed.Text()})
			fmt.Printf("%s has it: %v\n", m.Member.Name, err == nil)
			cancel()
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
