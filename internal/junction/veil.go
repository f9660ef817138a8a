package junction

import (
	"context"
	"net"
	"net/netip"

	"github.com/sdp2p/p2p/identity"
)

// A Veil is package contact as seen by a listener that reveals the node's
// identity only to its contacts, and uses ephemeral keys on the local network.
// Its methods are called concurrently; all but Prove and Check return at once.
type Veil interface {
	// Mask returns the first ephemeral key of a socket that is about to listen.
	Mask() identity.Identity
	// Listens reports where that socket listens, again whenever that has
	// changed, and with the zero value once it no longer listens.
	Listens(at Socket)
	// Key returns the ephemeral key of a contact on the local network, and
	// false if the contact is not known to be there.
	Key(contact identity.RemoteIdentity) (identity.RemoteIdentity, bool)
	// Has reports whether a peer is a contact.
	Has(id identity.RemoteIdentity) bool
	// Prove proves this node's identity on a connection that this node dialed,
	// and checks that the other end is the contact.
	Prove(ctx context.Context, m Meeting, contact identity.RemoteIdentity) error
	// Check is the counterpart of Prove for a connection that the other end
	// dialed, and returns which contact that is.
	Check(ctx context.Context, m Meeting) (identity.RemoteIdentity, error)
}

// A Socket describes where a listener listens.
type Socket struct {
	Port       uint16
	IPv4, IPv6 bool // which families are enabled
}

// A Meeting is a connection between two ephemeral keys, on which two nodes are
// about to find out whether they are contacts.
type Meeting struct {
	Stream        net.Conn // with CloseWrite
	Local, Remote identity.RemoteIdentity
	Addr          netip.Addr                                   // of the other end
	Exporter      func(label string) (value [32]byte, ok bool) // bound to the connection
	Reset         func()                                       // of the stream
}

// Veiled is a listener as seen by package contact, whether it runs or not. Its
// methods may be called concurrently.
type Veiled interface {
	// Veil makes the listener listen under ephemeral keys, or under the node's
	// own key if v is nil. It returns once all previous connections and the
	// previous socket are closed.
	Veil(v Veil)
	// Rotate changes the ephemeral key. If keep is true, the previous one
	// remains valid for a while.
	Rotate(key identity.Identity, keep bool)
	// Connect makes a connection with a contact at one of the addresses, unless
	// there is one already.
	Connect(ctx context.Context, contact identity.RemoteIdentity, at []netip.AddrPort) error
	// Move says that the network is no longer the one in which a port was used:
	// a listener at that port takes another socket, port and key as soon as it
	// may.
	Move(port uint16)
	// Invite accepts connections from nodes that are not contacts, under a
	// separate key and at a port; check finds out their identities. Once over
	// is called, it accepts no more, and closes those with nodes that have not
	// become contacts. It returns false if the listener does not hide the
	// node's identity.
	Invite(key identity.Identity, check func(context.Context, Meeting) (identity.RemoteIdentity, error)) (port uint16, over func(), ok bool)
	// Visit lets the node dial a host that is not a contact, under the key of
	// the host's invitation; prove proves this node's identity to it. With a
	// zero key, the host is dialed as one that shows its identity, and learns
	// that of this node once it has. It ends as Invite does.
	Visit(host, key identity.RemoteIdentity, prove func(context.Context, Meeting) error) (over func())
	// Cut ends all connections with a peer that is no longer a contact.
	Cut(id identity.RemoteIdentity)
}
