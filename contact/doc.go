// Package contact finds the contacts of a node while it is visible to nobody
// else.
//
//	listener := quic.New(quic.Config{})
//	contacts := contact.New(contact.Config{
//		Listener: listener,
//		Also:     contact.FromLibraries(libraries),
//	})
//	discovery := mdns.New(mdns.Config{Mode: mdns.ContactsOnly, Contacts: contacts})
//	err := contacts.Set([]identity.RemoteIdentity{…}) // at any time; replaces all
//
// All three are hooks of one node. Two nodes find each other if each is a
// contact of the other. Nobody else on the network learns who is there: neither
// from what is announced, nor by connecting, nor by knowing a node's public
// key.
//
// # How contacts find each other
//
// In this mode the node uses an ephemeral key instead of its own, on every
// connection on the local network. It announces that key with one tag for each
// contact, which only that contact can tell from random bytes (see
// internal/tags). A contact that sees its tag dials the ephemeral key under an
// ephemeral key of its own, and then both prove who they are:
//
//	/{app}/contact/1    the handshake of a tunnel (package tunnel), under the magic
//	                    "sdp2p-contact-v1", with the nodes' keys as statics, the zero
//	                    library and a zero secret; bound to the connection
//
// Only then do the nodes know each other, and use the connection like any
// other. A peer that is not a contact is refused, always in the same way and at
// the same times.
//
// # Epochs
//
// Key, label and tags change every 15 minutes, up to 60 s after each quarter of
// an hour, and when contacts change. The socket and connections stay. When the
// node joins another network, the port changes, too, and connections whose
// addresses are gone end: nothing that it shows in two networks is the same.
//
// Clocks of contacts may differ by 14 minutes.
//
// # What it does not hide
//
// It does not hide the app, which announcements name; IP and MAC addresses; the
// number of contacts, rounded up to 123, 246, 492 or 984; or that a device is
// the same as a moment ago in the same network. Contacts can see when the node
// is present. Relays know the node.
package contact
