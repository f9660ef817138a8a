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
// A peer that shuts down is gone a second later. One that is not heard from any
// more is gone after 120 s at most, or 10 s after a connection to it failed. It
// is asked for from then on: often for ten minutes, so that peers which were
// cut off from each other for less than that find each other within 10 s, then
// at least once a minute for an hour, and every 8 minutes for a day.
//
// Package mdns/scan lists the nodes on the local network without running one.
package mdns
