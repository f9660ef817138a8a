// Package library lets a user's devices share data that nobody else can get:
// libraries with members, and tunnels between them.
//
//	store, err := library.OpenStore(dir)                    // keys and records of all libraries
//	libraries := library.New(library.Config{
//		Store:  store,
//		Added:  func(l *library.Library) { l.Handle("fetch", fetch) },
//		Notify: show,                                   // members added and removed, and by whom
//	})
//	mux.Handle(library.Route, p2p.Anyone, libraries)        // anyone may call: tunnels authenticate
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Handler: mux, Hooks: []p2p.Hook{quic.New(quic.Config{}), libraries}})
//	photos, err := libraries.Found("Photos", key)           // or package pairing, to join one
//	conn, err := photos.Open(ctx, member.Instance, "fetch")
//
// [Library.Listen] and [Library.DialContext] serve existing servers and
// clients, such as those of net/http.
//
// # Words
//
// A library is identified by a UUID; an instance is one library on one node,
// with a key pair of its own. The members of a library are the instances that
// belong to it. They follow from signed statements, the roster (package
// library/roster), and are the same on every device that has the same
// statements. There is no list of members to edit.
//
//	founder    the key that made the library: a [RecoveryKey], kept on no device,
//	           or the first device's instance
//	admin      a member that adds others ([Library.Admit], package pairing) and
//	           removes them ([Library.Remove])
//	statement  a line of the roster: X is added, lives on a node, is removed
//	request    a statement that needs a second admin: see below
//	secret     32 bytes that all members know
//
// Making or removing an admin takes the founder's signature, or those of two
// admins. So a stolen admin key can remove plain members at most, and its
// doings are undone when the instance is removed: [RemoveOptions.Last] names
// its last honest statement. Without the recovery key the other admins are
// asked ([ErrAsked] on this device, [Asked] and [Library.Requests] on theirs),
// and the change counts once one of them has agreed ([Library.Endorse]). A
// removal is for good, on all devices: a device removed by mistake joins again,
// as a new instance. A plain member can only [Library.Block] an instance.
//
// Each change of the members is reported as an [Event], on all devices. An app
// should show removals to its user, with the admin who signed them.
//
// # On the wire
//
// A library's stream is a stream to the route [Route]. It carries a tunnel
// (package tunnel), in which the opener names the library's route, as on any
// stream: u8 length, and 1 to 255 bytes of UTF-8. A route that is not served is
// refused with [p2p.ErrNoRoute], which only members get to see. Three routes
// are the library's own:
//
//	sdp2p/roster  statements: each side says which it has, and sends those that the other lacks
//	sdp2p/ask     a request for a second signature
//	sdp2p/secret  the present secret
//
// docs/protocol.md has their bytes. They are used automatically whenever two
// members meet and one has news; everything is stored before it counts. A
// removed admin can use the first one alone, and is told only the removals that
// concern it.
//
// The metadata of a node has an entry for each of its libraries: the UUID, with
// the instance as its value. It shows members which nodes have the library
// before they connect. It proves nothing, and a member counts as present only
// on the node that it has signed to live on.
//
// # Secrets
//
// The secret hedges the tunnels against a future break of X25519; it lets
// nobody in by itself. [Library.Remove] and [Library.Rotate] replace it.
// Members accept a new secret only if a statement that counts has its hash, and
// pass it on over tunnels that still use the former one, which is accepted for
// [FormerTime]. A member that stays away for longer has to be paired again.
package library
