// Package directory keeps a node's list of relays up to date from a file on the
// web that an operator signs, so that relays can change without a release of
// the app.
//
//	relays := relay.New(relay.Config{Listener: listener, Servers: builtIn})
//	list := directory.New(directory.Config{
//		URL: "https://relays.example.org/relays", Signers: []identity.RemoteIdentity{operator},
//		Relays: relays, File: "relays.list",
//	})
//	node, err := p2p.Start(ctx, p2p.Config{…, Hooks: []p2p.Hook{listener, relays, list}})
//
// "sdp2p relay list" makes the file, and any web server or CDN can serve it: it
// is trusted for its signature, not for its origin. A list has a number that
// never decreases, and is valid for a day at most, so that a server cannot pass
// off an older one on a new node for longer.
//
// It is a separate package because it links net/http, which the relay client
// does not need.
package directory
