package dnssd

import (
	"crypto/sha256"
	"encoding/hex"
)

// hostName returns the domain name of an entry's host on the link.
//
// Each link has a host name of its own, since each has addresses of its own. A
// device that hears a node on two of its links, directly or through a repeater,
// then sees two hosts with their addresses, instead of one host that has no
// other addresses according to either link (RFC 6762 §10.2).
func (l *link) hostName(en *entry) string {
	return l.e.cfg.Host(en.service.Instance, l.ifc.Name) + ".local."
}

// hashedHost returns the name of a host if Config.Host is nil.
func hashedHost(instance, iface string) string {
	sum := sha256.Sum256([]byte("sdp2p-host-name\x00" + instance + "\x00" + iface))
	return hex.EncodeToString(sum[:16])
}
