package mdns_test

import (
	"context"
	"fmt"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// The example prints every node of the app on the local network as it appears.
func Example() {
	ctx := context.Background()
	discovery := mdns.New(mdns.Config{})
	node, err := p2p.Start(ctx, p2p.Config{App: "demo", Name: "my laptop", Hooks: []p2p.Hook{quic.New(quic.Config{}), discovery}})
	if err != nil {
		panic(err)
	}
	defer node.Shutdown(ctx)
	for peer := range node.Available(ctx) {
		fmt.Println(peer.Name(), "is at", peer.Info().Candidates)
	}
}
