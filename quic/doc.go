// Package quic is the listener that carries a node's streams over QUIC: it accepts and makes connections, proves who is
// at the other end, and reaches peers at addresses that a discovery found or that the user typed in.
//
//	listener := quic.New(quic.Config{Port: 7373})
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Hooks: []p2p.Hook{listener}})
//	err = listener.SetManualPeers([]string{"laptop.local", "192.168.1.7:7373", "[2001:db8::1]:7373"})
//	for _, m := range listener.ManualPeers() {
//		fmt.Println(m.Entry, m.State, m.Err)
//	}
//
// A connection is made when a stream needs it, shared by all streams with the peer, and closed after a minute without
// one. It runs libp2p's QUIC (RFC 9000 with libp2p's TLS handshake, in which each side proves an Ed25519 key) on one UDP
// port for IPv4 and IPv6.
//
// On a connection each side opens one stream of protocol /sdp2p/2/meta, on which it tells its metadata, and any number of
// application streams of protocol /sdp2p/2. Nodes of the first implementation speak /sdp2p/1 instead and are understood;
// see docs/protocol.md for every byte.
//
// The swarm of go-libp2p is composed by hand and does no identify, no relaying and no NAT traversal.
package quic
