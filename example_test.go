package p2p_test

import (
	"context"
	"fmt"
	"io"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
)

// Two nodes find each other and talk, over a network in memory. An app uses
// quic.New and mdns.New instead.
func ExampleStart() {
	ctx := context.Background()
	network := p2ptest.NewNetwork(p2ptest.Config{})

	mux := &p2p.Mux{}
	mux.HandleFunc("echo", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	server, err := p2p.Start(ctx, p2p.Config{App: "demo", Name: "server", Handler: mux, Hooks: network.Hooks()})
	if err != nil {
		panic(err)
	}
	defer server.Shutdown(ctx)

	client, err := p2p.Start(ctx, p2p.Config{App: "demo", Name: "client", Hooks: network.Hooks()})
	if err != nil {
		panic(err)
	}
	defer client.Shutdown(ctx)

	for peer := range client.Available(ctx) {
		s, err := peer.Open(ctx, "echo")
		if err != nil {
			panic(err)
		}
		fmt.Fprint(s, "hello")
		s.CloseWrite()
		answer, _ := io.ReadAll(s)
		fmt.Printf("%s says %s\n", peer.Name(), answer)
		s.Close()
		break
	}
	// Output: server says hello
}

// An app can show its user what is known of a peer, and why it is reachable.
func ExamplePeer() {
	ctx := context.Background()
	network := p2ptest.NewNetwork(p2ptest.Config{})
	a, _ := p2p.Start(ctx, p2p.Config{App: "demo", Name: "a", Hooks: network.Hooks()})
	defer a.Shutdown(ctx)
	b, _ := p2p.Start(ctx, p2p.Config{App: "demo", Name: "b", Hooks: network.Hooks()})
	defer b.Shutdown(ctx)

	for peer := range a.Available(ctx) {
		fmt.Println(peer.Name(), "verified:", peer.Verified(), "connected:", peer.Connected())
		for _, c := range peer.Info().Candidates {
			fmt.Println(c.Kind, "found by", c.Sources)
		}
		break
	}
	// Output:
	// b verified: false connected: false
	// direct found by [memory-discovery]
}
