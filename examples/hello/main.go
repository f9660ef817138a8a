// Hello starts two nodes in one program, Alice and Bob. They find each other on the local network, just as they would on
// two devices. Then Alice connects to Bob and says hello, and Bob echoes it.
//
//	go run ./examples/hello [-interface lo]
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

var interfaces []string // nil: all that do multicast

func main() {
	flag.Func("interface", "use this network `interface` only, such as lo", func(name string) error {
		interfaces = append(interfaces, name)
		return nil
	})
	flag.Parse()
	hello()
}

func hello() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	alice, bob := start(ctx, "Alice"), start(ctx, "Bob")
	defer alice.Shutdown(ctx)
	defer bob.Shutdown(ctx)
	for peer := range alice.Available(ctx) {
		if peer.Identity() == bob.Identity() { // and not somebody else who runs this program
			stream, err := peer.NewStream(ctx)
			check(err)
			fmt.Fprintf(stream, "Hello, %s!", peer.Name())
			stream.CloseWrite()
			answer, err := io.ReadAll(stream)
			check(err)
			stream.Close()
			fmt.Printf("%s at %v answered: %s\n", peer.Identity().Fingerprint(), stream.RemoteAddr(), answer)
			return
		}
	}
	log.Fatal("Alice did not find Bob")
}

// start starts a node that is on the local network and echoes.
func start(ctx context.Context, name string) *p2p.P2P {
	hooks := []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: interfaces})}
	node, err := p2p.Start(ctx, p2p.Config{App: "hello", Name: name, Handler: p2p.HandlerFunc(echo), Hooks: hooks})
	check(err)
	return node
}

func echo(ctx context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
