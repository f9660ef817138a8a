package dnssd

import (
	"crypto/sha256"
	"encoding/hex"
)

// hostName returns the domain name of the host that an entry is on, as the link
// has it.
//
// Each link has a host name of its own, since each has addresses of its own. A
// device that hears a node on two of its links, directly or through a repeater,
// then has two hosts with their addresses, and not one host of which each link
// says that it has no other addresses than there (RFC 6762 §10.2).
func (l *link) hostName(en *entry) string {
	return l.e.cfg.Host(en.service.Instance, l.ifc.Name) + ".local."
}

// hashedHost names hosts where Config.Host does not.
func hashedHost(instance, iface string) string {
	sum := sha256.Sum256([]byte("sdp2p-host-name\x00" + instance + "\x00" + iface))
	return hex.EncodeToString(sum[:16])
}
