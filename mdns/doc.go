// Package mdns discovers peers on the local network, and makes this node discoverable there: Multicast DNS (RFC 6762) and
// DNS-based service discovery (RFC 6763), without a server and without setting anything up.
//
//	discovery := mdns.New(mdns.Config{})
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Hooks: []p2p.Hook{quic.New(quic.Config{}), discovery}})
//	for peer := range node.Available(ctx) { … }
//	discovery.SetMode(mdns.Disabled) // at any time: goodbye, and silence
//
// A node is announced as {RemoteIdentity}._{app}._udp.local. with the port of its first listener and its metadata as TXT
// strings; see docs/protocol.md. Everybody on the local network can read that, and can announce anything: what is
// discovered is a hint where a peer might be, until a connection has proved who is there. What others say cannot hide a
// node: goodbyes for peers that were there a moment ago, records in the place of theirs, and claims to this node's own
// identity are checked with the peer, and by a listener that is a [p2p.Prober].
//
// Package mdns/scan lists the nodes on the local network without running one.
package mdns
