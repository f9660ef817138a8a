// Devices lists the devices on the network that run it, with the status of
// each, and prints a line whenever one changes.
//
//	go run ./examples/devices -name laptop
package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"log"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

//go:generate go -C ../../proto/protogen run . -dir ../../examples/devices

// A Status is a device's report about itself.
//
//proto:message extensible max=1024
type Status struct {
	Up     uint32 // seconds
	System string `proto:"max=64"`
}

// A Watch asks for the Status now, and whenever it changes.
//
//proto:message
type Watch struct {
	Every uint8 `proto:"min=1"` // seconds between two of them, at least
}

func main() {
	name, on := flag.String("name", "", "name of this device"), []string(nil) // on: all that support multicast
	flag.Func("on", "use only this network interface for discovery", func(s string) error { on = append(on, s); return nil })
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var mux p2p.Mux
	call.HandleReceive(&mux, "status/1", p2p.Anyone, status)
	node, err := p2p.Start(ctx, p2p.Config{
		App: "devices", Name: *name, Handler: &mux,
		Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: on})},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Shutdown(context.Background())
	for peer := range node.Available(ctx) {
		go follow(ctx, peer)
	}
}

// follow prints what a device says of itself until it is gone. If it comes
// back, it is available again.
func follow(ctx context.Context, peer *p2p.Peer) {
	for s, err := range call.Receive[Status](ctx, peer, "status/1", Watch{Every: 1}) {
		if err != nil {
			fmt.Printf("%s is gone: %v\n", peer.Identity().Fingerprint(), err)
			return
		}
		path := peer.Path()
		fmt.Printf("%s (%s) runs %s for %d s, %v at %v\n", peer.Identity().Fingerprint(), peer.Name(), s.System, s.Up, path.Kind, path.Remote)
	}
}

var started = time.Now()

// status yields this device's Status until ctx ends, with the caller or with
// this node.
func status(ctx context.Context, w Watch) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		for ctx.Err() == nil && yield(Status{Up: uint32(time.Since(started).Seconds()), System: runtime.GOOS}, nil) {
			select {
			case <-time.After(time.Duration(w.Every) * time.Second):
			case <-ctx.Done():
			}
		}
	}
}
