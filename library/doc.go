// Package library lets the devices of a user share data that nobody else gets:
// libraries, with members, and tunnels between them.
//
//	store, err := library.OpenStore(dir)                    // keys and records of all libraries
//	libraries := library.New(library.Config{
//		Store:  store,
//		Added:  func(l *library.Library) { l.Handle("fetch", fetch) },
//		Notify: show,                                   // who came, who went, and by whom
//	})
//	mux.Handle(library.Route, p2p.Anyone, libraries)        // tunnels authenticate, whoever calls
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Handler: mux, Hooks: []p2p.Hook{quic.New(quic.Config{}), libraries}})
//	photos, err := libraries.Found("Photos", key)           // or package pairing, to join one
//	conn, err := photos.Open(ctx, member.Instance, "fetch")
//
// # Words
//
// A library is a UUID; an instance is one library on one node, with a key pair
// of its own. Its members are the instances that belong to it. Who does follows
// from signed statements, the roster (package library/roster): it is the same
// on every device that has the same statements. Nobody edits a list of members.
//
//	founder    the key that made the library: a [RecoveryKey], which is on no device,
//	           or the first device's instance
//	admin      a member that adds others ([Library.Admit], package pairing) and
//	           removes them ([Library.Remove])
//	statement  a line of the roster: X is added, lives on a node, is removed
//	request    a statement that needs a second admin: see below
//	secret     32 bytes that all members know
//
// To make or remove an admin takes the founder's signature, or those of two
// admins. So one stolen key removes plain members at most, and what it did is
// undone once it is removed: [RemoveOptions.Last] names its last honest
// statement. Without the recovery key the other admins are asked ([ErrAsked]
// here, [Asked] and [Library.Requests] there), and it counts once one of them
// has agreed ([Library.Endorse]). A removal is for good, on all devices:
// a device that was removed by mistake joins again, as a new instance. A plain
// member can [Library.Block].
//
// Each change of the members is reported as an [Event], on all devices. An app
// shows removals to its user, with the admin who signed them.
//
// # On the wire
//
// A library's stream is a stream to the route [Route]. In it runs a tunnel
// (package tunnel), and in the tunnel the opener names the library's route, as
// on any stream: u8 length, and 1 to 255 bytes of UTF-8. A route that is not
// served is refused with [p2p.ErrNoRoute], which only members can learn. Three
// routes are the library's own:
//
//	sdp2p/roster  statements: each side says what it has, and sends what the other lacks
//	sdp2p/ask     a request for a second signature
//	sdp2p/secret  the present secret
//
// docs/protocol.md has their bytes. They are used by themselves whenever two
// members meet and one has news; everything is kept before it counts. An admin
// that was removed reaches the first one alone, and is told what concerns it.
//
// The metadata of a node has an entry for each of its libraries, the UUID, with
// the instance as value. It is how members see from afar who has what. It
// proves nothing, and a member counts as present only as the node that it has
// signed to live on.
//
// # Secrets
//
// The secret hedges the tunnels against a future break of X25519; it lets
// nobody in by itself. [Library.Remove] replaces it, [Library.Rotate] does.
// Members take a new one only if a statement that counts has its hash, and hand
// it on over tunnels that still have the former one, which is accepted for
// [FormerTime]. A member that stays away for longer has to be paired again.
package library
