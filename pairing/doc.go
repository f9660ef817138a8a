// Package pairing makes a device a member of a library that it has never met:
// with a ticket, which one device shows and the other scans, or with six digits
// that people compare.
//
//	p := pairing.New(pairing.Config{Libraries: libraries})   // register it with the node, as libraries
//	mux.Handle(pairing.Route, p2p.Anyone, p)                 // the tunnel authenticates, whoever calls
//	invitation, err := p.Invite(photos, pairing.InviteConfig{Confirm: ask})
//	fmt.Println(invitation.Ticket().Text())                  // or package pairing/qr; on the other device:
//	photos, err := p.Join(ctx, ticket, pairing.JoinConfig{Confirm: ask})
//
// On both devices the user sees the other's name and the same six digits, and
// says yes. Then the new one has the library, with its secret and its members,
// in its [library.Store]; the others hear of it over their tunnels. The device
// that invites has to be an admin of the library. The new one becomes a member,
// or an admin if [InviteConfig.Role] says so and the founder signs.
//
// # What protects it
//
// A ticket names the key of the node that invites, the app and the library, and
// has a secret that only the two screens know; it prints as a placeholder. The
// handshake is that of package tunnel, with the nodes' keys as static keys and
// a PSK that comes from the secret: nobody else can be at the other end, on
// either side, and a ticket that was guessed gets what any stranger gets: a
// reset, without a reason. The ticket is used up by the first device that
// proves to have it. If that is not the user's, because somebody has seen or
// photographed the screen, then the digits do not match, and the user's own
// device says that the ticket was used.
//
// The new device makes a key for its instance and signs where it lives; the
// admin adds that and nothing else. The new device checks that the statements
// which it is given make the other one an admin, and itself a member.
//
// Without a camera ([Pairing.InviteByCode], [Pairing.JoinByCode]) the digits
// are all that protects. Both sides contribute to them before either can know
// them, and so does the connection; a node in between has one chance in
// a million for each attempt, and after three the devices do not pair that way
// for 10 minutes. It needs a connection without a relay.
//
// Names are what the devices call themselves, and prove nothing. What is said
// on the wire is in docs/protocol.md.
package pairing
