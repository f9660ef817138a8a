package scan_test

import (
	"context"
	"fmt"
	"time"

	"github.com/sdp2p/p2p/mdns/scan"
)

// The example lists the nodes on the local network, without starting a node.
func ExampleScan() {
	nodes, err := scan.Scan(context.Background(), "demo", scan.Config{Time: time.Second})
	if err != nil {
		panic(err)
	}
	for _, n := range nodes {
		fmt.Println(n.Metadata["name"], n.Identity.Fingerprint(), n.Addrs)
	}
}
