// Package mdns discovers peers on the local network, and makes this node
// discoverable there, with Multicast DNS (RFC 6762) and DNS-based service
// discovery (RFC 6763). It needs no server and no setup.
//
//	discovery := mdns.New(mdns.Config{})
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Hooks: []p2p.Hook{quic.New(quic.Config{}), discovery}})
//	for peer := range node.Available(ctx) { … }
//	discovery.SetMode(mdns.Disabled) // at any time: goodbye, and silence
//
// A node is announced as {RemoteIdentity}._{app}._udp.local. with the port of
// its first listener and its metadata as TXT strings; see docs/protocol.md.
// Everybody on the local network can read that, and can announce anything:
// until a connection has proved a peer's identity, a discovery is only a hint
// where the peer might be. Forged packets cannot hide a node: goodbyes for
// peers that were present a moment ago, records that would replace theirs, and
// claims to this node's own identity are checked by asking the peer, and
// through a listener that is a [p2p.Prober].
//
// A peer that shuts down expires a second later. One that falls silent expires
// after at most 120 s, or 10 s after a connection to it failed. From then on
// the node asks for it: often for ten minutes, so that peers that were cut off
// from each other for less than that find each other within 10 s, then at least
// once a minute for an hour, and every 8 minutes for a day.
//
// # Contacts only
//
// In the mode [ContactsOnly], only its contacts can find a node. Others learn
// nothing about it except which app is in use:
//
//	contacts := contact.New(contact.Config{Listener: listener})
//	discovery := mdns.New(mdns.Config{Mode: mdns.ContactsOnly, Contacts: contacts})
//
// It is announced under a random name, with a key and tags that are replaced
// every 15 minutes and when the network or the contacts change. Only by the
// tags, and only if each has the other as a contact, can another node recognize
// it. Package contact describes the next step: a peer becomes known once it has
// proved its identity in a connection. Peers that are visible to everybody are
// not discovered in this mode, nor do they discover nodes in this mode. Modes
// may be switched at any time: announcements are withdrawn, and listeners hide
// or show the node's identity, before anything else is announced. An interface
// that comes up is used from the next announcement on.
//
// Package mdns/scan lists the nodes on the local network without running one.
package mdns
