// Package pairing makes a device a member of a library that it has never met:
// with a ticket, which one device shows and the other scans, or with six digits
// that people compare.
//
//	p := pairing.New(pairing.Config{Libraries: libraries})   // register it with the node, as libraries
//	mux.Handle(pairing.Route, p2p.Anyone, p)                 // anyone may call: the tunnel authenticates
//	invitation, err := p.Invite(photos, pairing.InviteConfig{Confirm: ask})
//	fmt.Println(invitation.Ticket().Text())                  // or package pairing/qr; on the other device:
//	photos, err := p.Join(ctx, ticket, pairing.JoinConfig{Confirm: ask})
//
// On both devices the user sees the other's name and the same six digits, and
// confirms. Then the new device has the library, with its secret and its
// members, in its [library.Store]; the other members hear of it over their
// tunnels. The device that invites has to be an admin of the library. The new
// device becomes a member, or an admin if [InviteConfig.Role] says so and the
// founder signs.
//
// # What protects it
//
// A ticket names the key of the node that invites, the app and the library, and
// contains a secret that only the two devices know; it prints as a placeholder.
// The handshake is that of package tunnel, with the nodes' keys as static keys
// and a PSK that comes from the secret: nobody else can be at the other end, on
// either side, and a guessed ticket gets the answer that any stranger gets: a
// reset, without a reason. The ticket is used up by the first device that
// proves to have it. If that is not the user's device, because somebody has
// photographed the screen, the digits do not match, and the user's own device
// says that the ticket was used.
//
// The new device makes a key for its instance and signs which node the instance
// lives on; the admin adds that statement and nothing else. The new device
// checks that the statements it is given make the other device an admin, and
// itself a member.
//
// Without a camera ([Pairing.InviteByCode], [Pairing.JoinByCode]) the digits
// are the only protection. Both sides contribute to them before either can know
// them, and so does the connection; a node in between has one chance in a
// million for each attempt, and after three the devices do not pair that way
// for 10 minutes. It needs a connection without a relay.
//
// Devices that share no network pair by a ticket through a relay, if both nodes
// have a relay client (package relay): the ticket names the relays at which the
// inviting node can be called, with their addresses. If a relay requires a
// token, the joining device uses its own. The relay learns only that the two
// have met: the tunnel is end to end, with the ticket's secret.
//
// A node that is visible to its contacts only (package contact) pairs by a
// ticket as well, if it has [Config.Contacts]: the ticket has a key of its own,
// under which the node lets in the holder of the ticket, and nobody else learns
// who is there. The key is dropped when the node joins another network or the
// mode is switched; make a new ticket then. Without a ticket such nodes do not
// pair, since neither sees the other. With contact.FromLibraries, the two are
// contacts afterwards.
//
// Names are chosen by the devices themselves, and prove nothing. The wire
// format is in docs/protocol.md.
package pairing
