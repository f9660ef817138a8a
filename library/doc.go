// Package library lets the devices of a user share data that nobody else gets: libraries, with members, and tunnels
// between them.
//
//	libraries := library.New(library.Config{})
//	mux.Handle(library.Route, p2p.Anyone, libraries)        // tunnels authenticate, whoever calls
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Handler: mux, Hooks: []p2p.Hook{quic.New(quic.Config{}), libraries}})
//	photos, err := libraries.Add(record, instance)          // a record that the app keeps, and a key file
//	photos.Handle("fetch", func(ctx context.Context, c *tunnel.Conn) error { … })
//	conn, err := photos.Open(ctx, member, "fetch")          // to the instance that member names
//
// A library is a UUID; an instance is one library on one node, with a key pair of its own; its members are the instances
// that belong to it, each with the node that it lives on. Each node decides by its own list of members: whoever is not in it gets
// neither a byte of data nor a reason. Members tell each other whom they have added ([Library.AddMember], package pairing), and
// add them, too; a removal counts on one node, and no list brings back who was removed there.
//
// # On the wire
//
// A library's stream is a stream to the route [Route]. In it runs a tunnel (package tunnel), and in the tunnel the opener
// names the library's route, as on any stream: u8 length, and 1 to 255 bytes of UTF-8. A route that is not served is
// refused with [p2p.ErrNoRoute], which only members can learn.
//
// The metadata of a node has an entry for each of its libraries, the UUID, with the instance as value. It is how members
// see from afar who has what. It proves nothing, and a member counts as present only as the node that its record names.
//
// # Secrets
//
// A library may have a secret, which every member knows: it hedges its tunnels against a future break of X25519. After the
// removal of a member, [Library.Rotate] makes a new one. It is handed to the others as they come by, over tunnels that
// still have the former one, which is accepted for 7 days, and only from those who may not have the new one yet. For that
// the opener of the route "sdp2p/secret" writes, and the other side answers, what it has:
//
//	size  field
//	8     number of the secret, little-endian: that of the former one plus 1
//	32    secret
//
// The greater number counts, of equal ones the greater secret, so that all end up with the same. A number that is ahead by
// more than 65536 is refused.
//
// # Members
//
// Who has added a member tells the others over the route "sdp2p/members", as they come by: the opener writes its
// [MemberList], the other side answers with its own, and the opener with one byte 1.
package library
