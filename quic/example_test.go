package quic_test

import (
	"context"
	"fmt"
	"io"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// Without any discovery, a peer is reached at an address that the user has
// typed in.
func ExampleListener_SetManualPeers() {
	ctx := context.Background()
	echo := p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })
	there := quic.New(quic.Config{})
	b, err := p2p.Start(ctx, p2p.Config{App: "demo", Name: "b", Handler: echo, Hooks: []p2p.Hook{there}})
	if err != nil {
		panic(err)
	}
	defer b.Shutdown(ctx)

	here := quic.New(quic.Config{})
	a, err := p2p.Start(ctx, p2p.Config{App: "demo", Name: "a", Hooks: []p2p.Hook{here}})
	if err != nil {
		panic(err)
	}
	defer a.Shutdown(ctx)

	port, _ := there.Port()
	if err := here.SetManualPeers([]string{fmt.Sprintf("localhost:%d", port)}); err != nil {
		panic(err) // the error names the entry that is not an address
	}
	for peer := range a.Available(ctx) {
		s, err := peer.NewStream(ctx)
		if err != nil {
			panic(err)
		}
		fmt.Fprint(s, "hello")
		s.CloseWrite()
		answer, _ := io.ReadAll(s)
		s.Close()
		fmt.Printf("%s at a manual address\n", answer)
		break
	}
	// Output: hello at a manual address
}
