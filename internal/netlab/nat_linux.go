package netlab

import (
	"fmt"
	"net/netip"
)

// A NATKind says how a router translates addresses, in the terms of RFC 3489
// §5, which do not fit real routers but fit these.
type NATKind int

const (
	// Cone keeps the port of a flow if it can, for all destinations, and admits
	// packets only from addresses that something was sent to.
	Cone NATKind = iota
	// Symmetric uses another port for each destination.
	Symmetric
	// Full is Cone that admits all packets, to the first host behind it.
	Full
)

// String returns the kind's name in lower case.
func (k NATKind) String() string { return [...]string{"cone", "symmetric", "full"}[k] }

// A NAT is a host that acts as the router of a private network. Its public
// address is from the range for documentation (RFC 5737), or from
// [Lab.Outside].
type NAT struct {
	host *Host
	kind NATKind
	last byte // of the addresses inside

	outside netip.Addr
}

// Public gives a host an address that nobody takes for a private one.
func (h *Host) Public() netip.Addr {
	h.lab.t.Helper()
	outside := h.lab.Outside
	if outside == [3]byte{} {
		outside = [3]byte{198, 51, 100}
	}
	a := netip.AddrFrom4([4]byte{outside[0], outside[1], outside[2], byte(h.number)})
	h.lab.ip("-n", h.ns, "addr", "add", a.String()+"/24", "dev", Interface)
	return a
}

// NAT makes a host a router that translates addresses. There is no IPv6.
func (h *Host) NAT(kind NATKind) *NAT {
	h.lab.t.Helper()
	n := &NAT{host: h, kind: kind, last: 1}
	n.outside = h.Public()
	h.lab.ip("-n", h.ns, "link", "add", "inside", "type", "bridge")
	h.lab.ip("-n", h.ns, "link", "set", "inside", "addrgenmode", "none")
	h.lab.ip("-n", h.ns, "addr", "add", n.addr(1).String()+"/24", "dev", "inside")
	h.lab.ip("-n", h.ns, "link", "set", "inside", "up")
	h.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	how, in, through := "masquerade", "", ""
	switch kind {
	case Symmetric:
		how = "masquerade fully-random"
	case Full:
		in = fmt.Sprintf("iifname %q meta l4proto udp dnat to %v", Interface, n.addr(2))
		through = fmt.Sprintf("ip daddr %v accept", n.addr(2))
	}
	// Unsolicited packets are dropped before the router processes them:
	// otherwise its table of flows would contain the port that is about to be
	// punched.
	h.Run("nft", fmt.Sprintf(`
table ip nat {
	chain before {
		type nat hook prerouting priority dstnat
		%[4]s
	}
	chain after {
		type nat hook postrouting priority srcnat
		ip saddr %[2]v oifname %[1]q meta l4proto udp %[3]s
		ip saddr %[2]v oifname %[1]q masquerade
	}
	chain local {
		type filter hook input priority filter
		iifname %[1]q ct state new ip protocol udp drop
	}
	chain through {
		type filter hook forward priority filter
		ct state established,related accept
		iifname "inside" accept
		%[5]s
		drop
	}
}
`, Interface, netip.PrefixFrom(n.addr(0), 24), how, in, through))
	return n
}

// Public returns the router's public address.
func (n *NAT) Public() netip.Addr { return n.outside }

// Block makes the router silently drop all packets to and from an address.
func (n *NAT) Block(addr netip.Addr) {
	n.host.lab.t.Helper()
	n.host.Run("nft", fmt.Sprintf(`
table ip blocked {
	chain both {
		type filter hook forward priority -10
		ip daddr %[1]v drop
		ip saddr %[1]v drop
	}
}
`, addr))
}

// Unblock undoes Block.
func (n *NAT) Unblock() {
	n.host.lab.t.Helper()
	n.host.Run("nft", "delete table ip blocked")
}

// Inside starts a host behind the router, without a program: its interface is
// [Interface].
func (n *NAT) Inside() *Host {
	l := n.host.lab
	l.t.Helper()
	n.last++
	c := &Host{lab: l, container: n.addr(n.last), port: fmt.Sprintf("in%d-%d", n.host.number, n.last)}
	c.ns = l.namespace(fmt.Sprintf("%d-%s", n.host.number, c.port))
	l.ip("-n", n.host.ns, "link", "add", c.port, "type", "veth", "peer", "name", Interface, "netns", c.ns)
	l.ip("-n", n.host.ns, "link", "set", c.port, "addrgenmode", "none", "master", "inside", "up")
	l.ip("-n", c.ns, "link", "set", Interface, "addrgenmode", "none")
	l.ip("-n", c.ns, "addr", "add", c.container.String()+"/24", "dev", Interface)
	l.ip("-n", c.ns, "link", "set", Interface, "up")
	l.ip("-n", c.ns, "route", "add", "default", "via", n.addr(1).String())
	return c
}

func (n *NAT) addr(last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, byte(n.host.number), last})
}
