package identity

import (
	"encoding/base32"
	"fmt"
	"net"
)

// HostSize is the length of a host name in characters.
const HostSize = 52

var hostText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Host returns the key as a host name, for programs that dial by URL or by host
// and port: 52 lower-case letters and digits, which are base32 (RFC 4648 §6)
// without padding. It is a valid DNS label (RFC 1123 §2.1), but does not exist
// in DNS. It is "" for the zero RemoteIdentity.
func (r RemoteIdentity) Host() string {
	if r.IsZero() {
		return ""
	}
	return hostText.EncodeToString(r.b[:])
}

// ParseHost parses a host name exactly as [RemoteIdentity.Host] returns it: no
// capital letters, no trailing dot, no port. The key must be acceptable to
// [FromBytes]. Errors wrap [ErrInvalid].
func ParseHost(host string) (RemoteIdentity, error) {
	if len(host) != HostSize { // first: the decoder skips newlines
		return RemoteIdentity{}, fmt.Errorf("%w: a host name of %d characters instead of %d", ErrInvalid, len(host), HostSize)
	}
	b, err := hostText.DecodeString(host)
	if err != nil || len(b) != Size || hostText.EncodeToString(b) != host { // the last character has four bits to spare
		return RemoteIdentity{}, fmt.Errorf("%w: not canonical unpadded lower-case base32", ErrInvalid)
	}
	return FromBytes(b)
}

// An Addr is a [net.Addr] that stands for a node or an instance. It is the
// address of streams and tunnels to it.
type Addr struct{ Identity RemoteIdentity }

// Addr returns the key as an address.
func (r RemoteIdentity) Addr() Addr { return Addr{r} }

// Network returns "p2p".
func (a Addr) Network() string { return "p2p" }

// String returns the key's host name and port 0, as in "hnu2…fe2i:0": peers
// have no ports, but many programs expect an address to have one.
func (a Addr) String() string { return net.JoinHostPort(a.Identity.Host(), "0") }

// ParseAddr parses a host name with any port or none, such as "hnu2…fe2i:443".
// It is for addresses given to dialers, and for the text form of an [Addr].
// Errors wrap [ErrInvalid].
func ParseAddr(addr string) (RemoteIdentity, error) {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		addr = host
	}
	return ParseHost(addr)
}
