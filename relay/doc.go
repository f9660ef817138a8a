// Package relay reaches peers through relays, where there is no other way, and
// looks for a direct path meanwhile. It is a hook of its own: a program that does
// not register it knows nothing of relays.
//
// A connection through a relay is one of package quic's, end to end: the relay
// forwards packets that it cannot read, the handshake proves who is at the other
// end, and streams, tunnels and files are the same. When the two nodes find an
// address at which they reach each other, the connection moves there, and streams go
// on. When that dies, it moves back; when the relay dies, it goes on through another
// one.
//
//	relays := relay.New(relay.Config{Listener: listener, Servers: list, Tokens: tokens})
//	node, err := p2p.Start(ctx, p2p.Config{…, Hooks: []p2p.Hook{listener, relays}})
//
// A node can be called at two relays at a time, in different zones where there are
// such. Tracked peers, which are members of the node's libraries and others that
// hooks keep in view, are dialed through relays when no address answers.
//
// Two nodes behind NATs that give each destination another port find no address by
// themselves. Where one of them has its router forward a port, they do: see
// Config.MapPorts, which asks it by PCP (RFC 6887) or NAT-PMP (RFC 6886).
//
// Nodes of the first implementation do not take such packets: package
// [github.com/sdp2p/p2p/relay/ancestor] is for them.
//
// A relay sees who talks to whom, when, how much, and from which addresses; the
// threat model has more. It asks for a token that its operator has issued for this
// node; see package [github.com/sdp2p/p2p/relay/token]. Relays of others that speak
// libp2p's circuit relay v2 and ask for none will do as well.
//
// Limits, which are the client's own:
//
//	circuits in which nothing is proved yet, through one relay   8; 4 of strangers, 2 of one caller
//	bytes that such a circuit may bring the dialer               256 KiB
//	addresses that a peer names for an upgrade                   16, and 4 more that are learned
//	probes of an upgrade                                         50 a second, for 5 s
package relay
