package mdns_test

import (
	"context"
	"fmt"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	_ "github.com/sdp2p/p2p/mdns/scan"
	"github.com/sdp2p/p2p/quic"
)

// Every node of the app on the local network, as it comes.
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

// What is on the local network now, without a node.
func ExampleScan() {
	nodes, err := mdns.Scan(context.Background(), "demo", mdns.ScanConfig{Time: time.Second})
	if err != nil {
		panic(err)
	}
	for _, n := range nodes {
		fmt.Println(n.Metadata["name"], n.Identity.Fingerprint(), n.Addrs)
	}
}
