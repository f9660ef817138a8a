package p2ptest_test

import (
	"context"
	"fmt"
	"io"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
)

// Two nodes find each other and echo, without a socket.
func ExampleNetwork() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	network := p2ptest.NewNetwork(p2ptest.Config{})

	mux := &p2p.Mux{}
	mux.HandleFunc("echo", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	bob, _ := p2p.Start(ctx, p2p.Config{App: "sd", Name: "Bob", Handler: mux, Hooks: network.Hooks()})
	defer bob.Shutdown(ctx)
	alice, _ := p2p.Start(ctx, p2p.Config{App: "sd", Name: "Alice", Hooks: network.Hooks()})
	defer alice.Shutdown(ctx)

	for peer := range alice.Available(ctx) {
		stream, _ := peer.Open(ctx, "echo")
		fmt.Fprintf(stream, "hello, %s", peer.Name())
		stream.CloseWrite()
		answer, _ := io.ReadAll(stream)
		fmt.Printf("%s\n", answer)
		stream.Close()
		break
	}
	// Output: hello, Bob
}
