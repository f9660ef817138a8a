package qlog_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/quic/qlog"
)

// A node writes a file for each of its connections, which can be viewed at
// https://qvis.quictools.info.
func Example() {
	dir, err := os.MkdirTemp("", "qlog")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	laptop := quic.New(quic.Config{QLog: qlog.New(func(peer identity.RemoteIdentity) io.WriteCloser {
		f, err := os.CreateTemp(dir, peer.Host()+"-*.sqlog")
		if err != nil {
			return nil // this connection gets no qlog
		}
		return f
	})})
	ctx := context.Background()
	var mux p2p.Mux
	mux.HandleFunc("hello", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
		_, err := io.WriteString(s, "hello")
		return err
	})
	phone := quic.New(quic.Config{})
	other, err := p2p.Start(ctx, p2p.Config{App: "example", Handler: &mux, Hooks: []p2p.Hook{phone}})
	if err != nil {
		panic(err)
	}
	port, _ := phone.Port()
	find := &finder{id: other.Identity(), at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	node, err := p2p.Start(ctx, p2p.Config{App: "example", Hooks: []p2p.Hook{laptop, find}})
	if err != nil {
		panic(err)
	}
	peer, _ := node.Peer(other.Identity())
	s, err := peer.Open(ctx, "hello")
	if err != nil {
		panic(err)
	}
	said, _ := io.ReadAll(s)
	s.Close()
	node.Shutdown(ctx) // Shutdown also closes the files
	other.Shutdown(ctx)

	files, _ := filepath.Glob(filepath.Join(dir, other.Identity().Host()+"-*.sqlog"))
	text, _ := os.ReadFile(files[0])
	fmt.Println(string(said), len(files), strings.Contains(string(text), "transport:packet_sent"))
	// Output: hello 1 true
}

// A finder knows the address of one peer; an app uses package mdns instead.
type finder struct {
	id identity.RemoteIdentity
	at netip.AddrPort
}

func (*finder) Name() string { return "finder" }

func (f *finder) Run(ctx context.Context, s *p2p.Scope) error {
	if err := s.Discovered(f.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: f.at, Version: 2}}); err != nil {
		return err
	}
	s.Ready()
	<-ctx.Done()
	return nil
}
