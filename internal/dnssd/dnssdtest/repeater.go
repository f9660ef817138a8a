package dnssdtest

import (
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p/internal/dnssd"
)

// Repeat makes a host a repeater, like a router between virtual networks: it
// sends what is multicast on one of its links on all others, from its own
// address there, until stop is called.
func Repeat(h *Host) (stop func()) {
	var conns []dnssd.Conn
	for f := range dnssd.Family(len(dnssd.Groups)) {
		opened := make(chan dnssd.Conn, 1)
		conn, _ := h.Open(f, func(p dnssd.Packet) { // fails only if the host was told to
			conn := <-opened
			h.repeat(conn, f, p)
			opened <- conn
		}, func(error) {})
		opened <- conn
		for _, ifc := range h.interfaces() {
			_ = conn.Join(ifc)
		}
		conns = append(conns, conn)
	}
	return func() {
		for _, c := range conns {
			c.Close()
		}
	}
}

func (h *Host) interfaces() []dnssd.Interface {
	list, _ := h.Interfaces() // does not fail
	return list
}

func (h *Host) repeat(conn dnssd.Conn, f dnssd.Family, p dnssd.Packet) {
	all := h.interfaces()
	mine := func(ifc dnssd.Interface) bool {
		return slices.ContainsFunc(ifc.Addrs, func(a netip.Prefix) bool { return a.Addr() == p.Src.Addr().WithZone("") })
	}
	if !p.Dst.IsMulticast() || slices.ContainsFunc(all, mine) {
		return
	}
	for _, ifc := range all {
		if ifc.Index != p.Index {
			_ = conn.Send(p.Data, ifc, dnssd.Groups[f]) // fails without an address of the family
		}
	}
}
