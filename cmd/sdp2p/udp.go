package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// ports opens the UDP port, and sends packets to it between addresses of this
// host. If a node has the port, it examines the node.
func (d *doctor) ports(ctx context.Context, f *facts) (all []portFacts) {
	for _, family := range []struct {
		dnssd.Family
		network string
		any, lo netip.Addr
	}{
		{dnssd.IPv4, "udp4", netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		{dnssd.IPv6, "udp6", netip.IPv6Unspecified(), netip.IPv6Loopback()},
	} {
		p := portFacts{family: family.Family}
		var conn *net.UDPConn
		conn, p.err = net.ListenUDP(family.network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(family.any, d.port)))
		if isInUse(p.err) {
			if w := d.reach(ctx, netip.AddrPortFrom(family.lo, d.port), identity.RemoteIdentity{}); w.err == nil {
				p.holder = &w.there
			}
		}
		if p.err == nil {
			p.arrivals = d.arrivals(ctx, conn, f, family.lo)
			conn.Close()
		}
		all = append(all, p)
	}
	return all
}

// arrivals sends packets to each address of a family.
func (d *doctor) arrivals(ctx context.Context, conn *net.UDPConn, f *facts, lo netip.Addr) (all []arrival) {
	var to []netip.Addr
	for _, l := range f.used() {
		for _, p := range l.Addrs {
			if a := p.Addr(); a.Is4() == lo.Is4() && !a.IsLinkLocalUnicast() && !a.IsLoopback() {
				to = append(to, a)
			}
		}
	}
	from := append(slices.Clone(to), lo)
	if lo.Is4() {
		from = append(from, netip.AddrFrom4([4]byte{127, 0, 0, 2})) // one more if all of 127.0.0.0/8 is loopback
	}
	if len(to) == 0 {
		to = []netip.Addr{lo}
	}
	for _, a := range to {
		if ctx.Err() == nil {
			all = append(all, d.arrive(conn, a, from))
		}
	}
	return all
}

// arriveTime is how long a packet between two addresses of this host may take,
// including two retries.
const arriveTime = 600 * time.Millisecond

// arrive sends a datagram from another local address to the port.
func (d *doctor) arrive(conn *net.UDPConn, to netip.Addr, own []netip.Addr) arrival {
	a := arrival{to: to}
	var client *net.UDPConn
	if a.from, client = elsewhere(to, own); client == nil {
		return a
	}
	defer client.Close()
	a.socket = true
	message, buf := []byte(rand.Text()), make([]byte, 2048)
	began := time.Now()
	for range 3 {
		if _, a.err = client.WriteToUDPAddrPort(message, netip.AddrPortFrom(to, d.port)); a.err != nil {
			return a
		}
		if a.err = conn.SetReadDeadline(time.Now().Add(arriveTime / 3)); a.err != nil {
			return a
		}
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			if bytes.Equal(buf[:n], message) {
				a.arrived, a.took = true, time.Since(began)
				return a
			}
		}
	}
	return a
}

// elsewhere opens a socket on an address of this host other than to, if one
// works.
func elsewhere(to netip.Addr, own []netip.Addr) (netip.Addr, *net.UDPConn) {
	others := slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool { return a == to })
	for _, from := range append(others, to) {
		if conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))); err == nil {
			return from, conn
		}
	}
	return netip.Addr{}, nil
}
