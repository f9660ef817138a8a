// Hello is what examples/hello of the SDK is, written with go-libp2p: a node
// that is on the local network and echoes. It is built for its size, and not
// run.
//
// It is a module of its own, with the quic-go that go-libp2p requires:
// libp2p.New links WebTransport, which does not compile with the one that the
// SDK has.
package main

import (
	"io"
	"log"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
)

type found struct{}

// HandlePeerFound tells who is there.
func (found) HandlePeerFound(p peer.AddrInfo) { log.Print(p) }

func main() {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/0.0.0.0/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay())
	if err != nil {
		log.Fatal(err)
	}
	h.SetStreamHandler("/echo/1", func(s network.Stream) {
		io.Copy(s, s)
		s.Close()
	})
	if err := mdns.NewMdnsService(h, "hello", found{}).Start(); err != nil {
		log.Fatal(err)
	}
	select {}
}
