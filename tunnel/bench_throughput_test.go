package tunnel_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// BenchmarkStream measures one stream over QUIC on loopback, bare and with a
// tunnel in it; both ends are on this machine.
func BenchmarkStream(b *testing.B) {
	network := p2ptest.NewNetwork(p2ptest.Config{}) // only tells the nodes their addresses
	sunk := make(chan int64, 1)
	sink := func(r io.Reader) error {
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 256<<10))
		sunk <- n
		return err
	}
	type node struct {
		*p2p.P2P
		libraries *library.Libraries
		id        identity.Identity
	}
	start := func() *node {
		n := &node{libraries: library.New(library.Config{}), id: identity.New()}
		var mux p2p.Mux
		mux.HandleFunc("sink", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { return sink(s) })
		mux.Handle(library.Route, p2p.Anyone, n.libraries)
		var err error
		n.P2P, err = p2p.Start(b.Context(), p2p.Config{
			App: "bench", Identity: n.id, Handler: &mux, Logger: slog.New(slog.DiscardHandler),
			Hooks: []p2p.Hook{quic.New(quic.Config{}), network.Discovery(), n.libraries},
		})
		require.NoError(b, err)
		b.Cleanup(func() { n.Shutdown(context.Background()) })
		return n
	}
	from, to := start(), start()
	theirs, err := to.libraries.Found("", library.RecoveryKey{})
	require.NoError(b, err)
	theirs.Handle("sink", func(_ context.Context, c *tunnel.Conn) error { return sink(c) })
	r, instance := theirs.Record(), identity.New()
	first, err := r.First(from.id, instance)
	require.NoError(b, err)
	_, err = theirs.Admit(first, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(b, err)
	lib, err := from.libraries.Add(theirs.Record(), instance)
	require.NoError(b, err)
	var peer *p2p.Peer
	for p := range from.Available(b.Context()) {
		peer = p
		break
	}
	for name, open := range map[string]func() (net.Conn, error){
		"bare":   func() (net.Conn, error) { return peer.Open(b.Context(), "sink") },
		"tunnel": func() (net.Conn, error) { return lib.Open(b.Context(), theirs.Instance(), "sink") },
	} {
		b.Run(name, func(b *testing.B) {
			buffer := make([]byte, 256<<10)
			c, err := open()
			require.NoError(b, err)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(buffer); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, c.(interface{ CloseWrite() error }).CloseWrite())
			<-sunk
			c.Close()
		})
	}
}
