package netmon

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A reading is a state that is being read.
type reading struct {
	state   Snapshot
	metrics map[place]uint32 // of the default routes
	links   map[hop]string   // link-layer addresses of neighbors
}

// place is an interface and a family.
type place struct{ index, family int }

// Read reads links, addresses, default routes and neighbors. If a table changes
// during the read, an event follows.
func (s *system) Read() (Snapshot, error) {
	r := reading{metrics: make(map[place]uint32), links: make(map[hop]string)}
	for _, table := range []int{unix.RTM_GETLINK, unix.RTM_GETADDR, unix.RTM_GETROUTE, unix.RTM_GETNEIGH} {
		b, err := syscall.NetlinkRIB(table, unix.AF_UNSPEC)
		if err != nil {
			return Snapshot{}, os.NewSyscallError("netlink", err)
		}
		messages(b, r.take)
	}
	for n := range r.state.Interfaces {
		i := &r.state.Interfaces[n]
		i.Ups += s.bounces.of(i.Index)
		for f := range i.Gateways {
			g := &i.Gateways[f]
			g.Link = r.links[hop{i.Index, g.Addr}]
		}
	}
	r.state.findDefaults()
	return r.state, nil
}

// take adds a message from one of the tables to the reading.
func (r *reading) take(typ uint16, b []byte) {
	switch typ {
	case unix.RTM_NEWLINK:
		r.link(b)
	case unix.RTM_NEWADDR:
		r.addr(b)
	case unix.RTM_NEWROUTE:
		r.route(b)
	case unix.RTM_NEWNEIGH:
		if h, link := parseNeighbor(b); link != "" {
			r.links[h] = link
		}
	}
}

// link adds a message RTM_NEWLINK.
func (r *reading) link(b []byte) {
	if len(b) < unix.SizeofIfInfomsg {
		return
	}
	i := Interface{Index: int(int32(number(b[4:]))), Flags: linkFlags(number(b[8:]))}
	var kind, port string
	var master, hasAddress bool
	info := func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			kind = text(v)
		case unix.IFLA_INFO_SLAVE_KIND:
			port = text(v)
		}
	}
	attributes(b, unix.SizeofIfInfomsg, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			i.Name = text(v)
		case unix.IFLA_MTU:
			i.MTU = int(number(v))
		case unix.IFLA_ADDRESS:
			hasAddress = len(bytes.TrimRight(v, "\x00")) > 0
		case unix.IFLA_MASTER:
			master = number(v) != 0
		case unix.IFLA_CARRIER_UP_COUNT:
			i.Ups = uint64(number(v))
		case unix.IFLA_LINKINFO:
			attributes(v, 0, info)
		}
	})
	switch kind {
	case "": // a driver of a device reports no kind
		i.Physical = hasAddress && i.Flags&net.FlagLoopback == 0
	case "vlan", "bond", "team", "macvlan", "ipvlan": // of devices
		i.Physical = true
	}
	i.Port = master && port != "vrf" // which only chooses the table of routes
	r.state.Interfaces = append(r.state.Interfaces, i)
}

// text returns the zero-terminated string in an attribute.
func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// linkFlags translates the flags of a link.
func linkFlags(raw uint32) (f net.Flags) {
	for n, bit := range []uint32{ // in the order of package net
		unix.IFF_UP, unix.IFF_BROADCAST, unix.IFF_LOOPBACK, unix.IFF_POINTOPOINT, unix.IFF_MULTICAST, unix.IFF_RUNNING,
	} {
		if raw&bit != 0 {
			f |= net.FlagUp << n
		}
	}
	return f
}

// addr adds a message RTM_NEWADDR.
func (r *reading) addr(b []byte) {
	if len(b) < unix.SizeofIfAddrmsg {
		return
	}
	i := r.state.find(int(number(b[4:])))
	if i == nil {
		return
	}
	state := uint32(b[2])
	var addr, local []byte
	attributes(b, unix.SizeofIfAddrmsg, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_ADDRESS: // on a point-to-point link, that of the other end
			addr = v
		case unix.IFA_LOCAL:
			local = v
		case unix.IFA_FLAGS:
			state = number(v)
		}
	})
	if local != nil {
		addr = local
	}
	a, _ := netip.AddrFromSlice(addr)
	p := netip.PrefixFrom(a, int(b[1]))
	tentative := state&unix.IFA_F_TENTATIVE != 0 && state&unix.IFA_F_OPTIMISTIC == 0
	switch {
	case !p.IsValid() || tentative || state&unix.IFA_F_DADFAILED != 0:
	case a.Is6() && state&unix.IFA_F_TEMPORARY != 0: // in IPv4, the bit means a secondary address
		i.Temporary = append(i.Temporary, p)
	default:
		i.Prefixes = append(i.Prefixes, p)
	}
}

// route adds a message RTM_NEWROUTE.
func (r *reading) route(b []byte) {
	if len(b) < unix.SizeofRtMsg || b[1] != 0 || b[4] != unix.RT_TABLE_MAIN || b[7] != unix.RTN_UNICAST ||
		number(b[8:])&unix.RTM_F_CLONED != 0 {
		return
	}
	f := IPv4
	switch b[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		f = IPv6
	default:
		return
	}
	var metric uint32
	var one, ways []byte
	var gateway netip.Addr
	attributes(b, unix.SizeofRtMsg, func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_OIF:
			one = v
		case unix.RTA_PRIORITY:
			metric = number(v)
		case unix.RTA_MULTIPATH:
			ways = v
		default:
			nextHop(&gateway, typ, v)
		}
	})
	if one != nil {
		r.way(f, int(number(one)), gateway, metric)
	}
	for len(ways) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(ways))
		if size < unix.SizeofRtNexthop || size > len(ways) {
			return
		}
		var gateway netip.Addr
		attributes(ways[:size], unix.SizeofRtNexthop, func(typ uint16, v []byte) { nextHop(&gateway, typ, v) })
		r.way(f, int(number(ways[4:])), gateway, metric)
		ways = ways[min(aligned(size), len(ways)):]
	}
}

// nextHop sets addr from an attribute that names a router.
func nextHop(addr *netip.Addr, typ uint16, v []byte) {
	switch {
	case typ == unix.RTA_VIA && len(v) > 2: // of another family
		v = v[2:]
	case typ != unix.RTA_GATEWAY:
		return
	}
	*addr, _ = netip.AddrFromSlice(v)
}

// way adds one of the next hops of a default route. Among several through one
// interface the lowest metric wins; among equal ones the choice is arbitrary
// but stable.
func (r *reading) way(f, index int, gateway netip.Addr, metric uint32) {
	i, p := r.state.find(index), place{index, f}
	if i == nil {
		return
	}
	known, ok := r.metrics[p]
	if !ok || metric < known || metric == known && gateway.Less(i.Gateways[f].Addr) {
		r.metrics[p] = metric
		i.Routed[f], i.Gateways[f].Addr = true, gateway
	}
}

// A hop is a neighbor on an interface.
type hop struct {
	index int
	addr  netip.Addr
}

// parseNeighbor parses a message RTM_NEWNEIGH. link is empty if it is not
// known.
func parseNeighbor(b []byte) (h hop, link string) {
	if len(b) < unix.SizeofNdMsg {
		return h, ""
	}
	h.index = int(number(b[4:]))
	attributes(b, unix.SizeofNdMsg, func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_DST:
			h.addr, _ = netip.AddrFromSlice(v)
		case unix.NDA_LLADDR:
			link = hex.EncodeToString(v)
		}
	})
	return h, link
}
