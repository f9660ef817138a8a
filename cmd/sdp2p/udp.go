package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// udp tells whether the port is free, and whether it is reached from other addresses of this host.
func (d *doctor) udp(ctx context.Context, used []dnssd.Interface) (checks []check) {
	for _, f := range []struct {
		network string
		is4     bool
		any, lo netip.Addr
	}{
		{"udp4", true, netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		{"udp6", false, netip.IPv6Unspecified(), netip.IPv6Loopback()},
	} {
		c := check{"port", fmt.Sprintf("%d %s", d.port, map[bool]string{true: "IPv4", false: "IPv6"}[f.is4]), fail, "", ""}
		conn, err := net.ListenUDP(f.network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.any, d.port)))
		switch {
		case err == nil:
			c.Verdict, c.Value = fine, "free"
		case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL):
			c.Verdict, c.Value = fine, "this host does not have the family"
		case isInUse(err):
			there, tried := d.reach(ctx, netip.AddrPortFrom(f.lo, d.port), identity.RemoteIdentity{})
			if tried == nil {
				c.Verdict, c.Value = fine, "in use by the node "+there.String()
				break
			}
			c.Value = "in use, and not by a node that can be reached"
			c.Advice = "Choose another quic.Config.Port, or 0 for a free one; or end what has it. " + whoHas(d.port)
		case isRefused(err):
			c.Value, c.Advice = err.Error(), "Ports below 1024 are for the administrator on most systems: choose a higher one."
		default:
			c.Value, c.Advice = err.Error(), "The system refuses the socket: a sandbox, or too many open files."
		}
		checks = append(checks, c)
		if err != nil {
			continue
		}
		var to []netip.Addr
		for _, i := range used {
			for _, p := range i.Addrs {
				if a := p.Addr(); a.Is4() == f.is4 && !a.IsLinkLocalUnicast() && !a.IsLoopback() {
					to = append(to, a)
				}
			}
		}
		from := append(slices.Clone(to), f.lo)
		if f.is4 {
			from = append(from, netip.AddrFrom4([4]byte{127, 0, 0, 2})) // one more where all of 127.0.0.0/8 is loopback
		}
		if len(to) == 0 {
			to = []netip.Addr{f.lo}
		}
		for _, a := range to {
			if ctx.Err() == nil {
				checks = append(checks, d.arrives(conn, a, from))
			}
		}
		conn.Close()
	}
	return checks
}

// arriveTime is how long a packet between two addresses of this host may take, with two repetitions.
const arriveTime = 600 * time.Millisecond

// arrives tells whether a datagram from another local address comes in at the port.
func (d *doctor) arrives(conn *net.UDPConn, to netip.Addr, own []netip.Addr) check {
	c := check{"port", netip.AddrPortFrom(to, d.port).String(), fail, "", ""}
	from, client := elsewhere(to, own)
	if client == nil {
		c.Verdict, c.Value = warn, "not tried: no socket for another address of this host"
		return c
	}
	defer client.Close()
	message, buf := []byte(rand.Text()), make([]byte, 2048)
	began := time.Now()
	for range 3 {
		if _, err := client.WriteToUDPAddrPort(message, netip.AddrPortFrom(to, d.port)); err != nil {
			c.Value = fmt.Sprintf("cannot send from %v: %v", from, err)
			c.Advice = "This host does not let it out: " + firewall(d.port)
			return c
		}
		if err := conn.SetReadDeadline(time.Now().Add(arriveTime / 3)); err != nil {
			c.Value = err.Error()
			return c
		}
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				break
			}
			if bytes.Equal(buf[:n], message) {
				c.Verdict, c.Value = fine, fmt.Sprintf("reached from %v in %v", from, round(time.Since(began)))
				return c
			}
		}
	}
	c.Value = fmt.Sprintf("a packet from %v does not arrive", from)
	c.Advice = fmt.Sprintf("Something on this host, most often its firewall, drops UDP port %d: %s", d.port, firewall(d.port))
	return c
}

// elsewhere opens a socket on an address of this host other than to, if there is one that works.
func elsewhere(to netip.Addr, own []netip.Addr) (netip.Addr, *net.UDPConn) {
	others := slices.DeleteFunc(slices.Clone(own), func(a netip.Addr) bool { return a == to })
	for _, from := range append(others, to) {
		if conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))); err == nil {
			return from, conn
		}
	}
	return netip.Addr{}, nil
}

// Windows has numbers of its own for what its sockets say, and package syscall does not translate them.
const (
	wsaAccess      = syscall.Errno(10013)
	wsaInUse       = syscall.Errno(10048)
	wsaNetUnreach  = syscall.Errno(10051)
	wsaReset       = syscall.Errno(10054) // of UDP: nobody has the port
	wsaHostUnreach = syscall.Errno(10065)
)

func isAny(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

func isInUse(err error) bool { return isAny(err, syscall.EADDRINUSE, wsaInUse) }

// isRefused tells whether the system refuses something by a rule: a firewall's, or for want of permission.
func isRefused(err error) bool { return isAny(err, syscall.EPERM, syscall.EACCES, wsaAccess) }

// firewall says how to let a UDP port through.
func firewall(port uint16) string {
	switch runtime.GOOS {
	case "linux":
		return fmt.Sprintf("let it through, by \"ufw allow %d/udp\", \"firewall-cmd --add-port=%d/udp\", or a rule \"udp dport %d accept\" of nftables.", port, port, port)
	case "darwin":
		return "System Settings, Network, Firewall: allow the app; and Privacy & Security, Local Network."
	case "windows":
		return "Windows Security, Firewall: allow the app in private networks, and make this network a private one."
	}
	return "let it through the firewall, " + strconv.Itoa(int(port)) + "/udp in both directions."
}

// whoHas says how to find out which program has a UDP port.
func whoHas(port uint16) string {
	switch runtime.GOOS {
	case "linux":
		return fmt.Sprintf("\"ss -ulpn sport = :%d\" names it.", port)
	case "windows":
		return fmt.Sprintf("\"netstat -abn -p UDP\" names it, with port %d.", port)
	}
	return fmt.Sprintf("\"lsof -nP -iUDP:%d\" names it.", port)
}
