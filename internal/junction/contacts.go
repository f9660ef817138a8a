package junction

import (
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/tags"
)

// LabelSize is the length of a random label: of an instance or of a host.
const LabelSize = 16

// IsLabel reports whether an instance label is that of a node that is visible
// only to its contacts. No identity has that length.
func IsLabel(label string) bool {
	_, err := hex.DecodeString(label)
	return len(label) == LabelSize && err == nil
}

// Shown is what a node announces while it is visible only to its contacts.
type Shown struct {
	Label string                  // 16 random hexadecimal digits: the label of the host and of the first instance
	Key   identity.RemoteIdentity // ephemeral
	At    Socket                  // a different port in each network
	Tags  []tags.Tag              // of all contacts, at this epoch, unpadded and in order; package mdns pads and shuffles them
	Epoch uint64
}

// An Instance is the announcement of a node that is visible only to its
// contacts.
type Instance struct {
	Label string
	Key   identity.RemoteIdentity
	Tags  []tags.Tag       // as received, up to [tags.PerInstance]
	Addrs []netip.AddrPort // in a prefix of the interface on which the announcement was received
	From  netip.Addr       // the sender
}

// Guests is package contact as seen by package pairing: it lets nodes meet that
// are not contacts yet. Its methods are called concurrently, and return at
// once; over may be called more than once.
type Guests interface {
	// Invite admits nodes that know a secret until over is called. They have to
	// connect to a key at a port. It returns false while the node does not hide
	// its identity.
	Invite(secret [32]byte) (key identity.RemoteIdentity, port uint16, over func(), ok bool)
	// Visit lets this node connect to a host that has invited it with a key and
	// a secret, until over is called. The key is zero if the host does not hide
	// its identity.
	Visit(host, key identity.RemoteIdentity, secret [32]byte) (over func())
}

// Contacts is package contact as seen by package mdns. Its methods are called
// concurrently, and return at once.
type Contacts interface {
	// Show returns what to announce, or false while there is nothing to
	// announce. The channel is closed once that has changed.
	Show() (Shown, bool, <-chan struct{})
	// Seen is called for each instance that is new or has another address, and
	// Gone when an instance is gone.
	Seen(Instance)
	Gone(label string)
	// Elsewhere says that what is shown under a label is not announced in some
	// network, because it is not known to have been announced there before:
	// something else has to be shown.
	Elsewhere(label string)
	// Veil turns the mode contacts-only on or off. While it is on, every
	// listener that the implementation knows hides the node's identity. Veil
	// returns once nothing that starts afterwards can reveal the identity.
	Veil(on bool)
}

// A Pace is how often the ephemeral key changes, instead of once in each epoch.
// It is for tests.
type Pace struct {
	Every  time.Duration
	Jitter time.Duration // at most, more than that
}
