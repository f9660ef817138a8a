// Package relay reaches peers through relays if there is no other way, and
// meanwhile looks for a direct path. It is a hook of its own: a program that
// does not register it does not use relays.
//
// A connection through a relay is a connection of package quic, end to end: the
// relay forwards packets that it cannot read, the handshake authenticates the
// other end, and streams, tunnels and files work as usual. When the two nodes
// find addresses at which they reach each other, the connection moves there,
// and streams continue. If that path dies, the connection moves back; if the
// relay dies, it continues through another one.
//
//	relays := relay.New(relay.Config{Listener: listener, Servers: list, Tokens: tokens})
//	node, err := p2p.Start(ctx, p2p.Config{…, Hooks: []p2p.Hook{listener, relays}})
//
// A node can be called at two relays at a time, in different zones if possible.
// Tracked peers, which are the members of the node's libraries and others that
// the app ([p2p.P2P.Track]) or hooks keep in view, are dialed through relays
// when no address answers.
//
// Two nodes behind NATs that use another port for each destination find no
// direct path by themselves. They do if the router of one of them forwards a
// port: see Config.MapPorts, which requests that by PCP (RFC 6887) or NAT-PMP
// (RFC 6886).
//
// Nodes of the first implementation do not accept such packets: package
// [github.com/sdp2p/p2p/relay/ancestor] reaches them.
//
// A relay sees which nodes talk to each other, when, how much, and from which
// addresses; the threat model says more. This node tells it which peers it
// keeps in view, up to 255, so that they can call whatever their account is.
// The relay asks for a token that its operator has issued for this node; see
// package [github.com/sdp2p/p2p/relay/token]. Other relays that speak libp2p's
// circuit relay v2 and ask for no token work, too.
//
// Limits of the client:
//
//	circuits in which nothing is proved yet, through one relay   8; 4 of strangers, 2 of one caller
//	bytes that such a circuit may bring the dialer               256 KiB
//	addresses that a peer names for an upgrade                   16, and 4 more that are learned
//	probes of an upgrade                                         50 a second, for 5 s
package relay
