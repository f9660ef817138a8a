package dnssd

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/sdp2p/p2p/internal/netmon"
)

// sockets is the operating system's network: a socket for each family, or more
// on a host with many interfaces, bound to port 5353 in such a way that other
// processes of this host can bind to it too.
type sockets struct{}

// System returns the operating system's network, which engines use unless they
// are given another one.
func System() Network { return sockets{} }

func (sockets) Interfaces() ([]Interface, error) {
	state, err := netmon.Shared().Snapshot()
	if err != nil {
		return nil, err
	}
	out := make([]Interface, 0, len(state.Interfaces))
	for _, i := range state.Interfaces {
		ifc := Interface{
			Index:        i.Index,
			Name:         i.Name,
			MTU:          i.MTU,
			Up:           i.Up(),
			Multicast:    i.Flags&net.FlagMulticast != 0,
			Loopback:     i.Flags&net.FlagLoopback != 0,
			PointToPoint: i.Flags&net.FlagPointToPoint != 0,
			Addrs:        i.Prefixes,
			Temporary:    i.Temporary,
			Ups:          i.Ups,
			Port:         i.Port,
			Rank:         1 + int(i.Rank),
		}
		if i.Index == state.Default[netmon.IPv4].Index || i.Index == state.Default[netmon.IPv6].Index {
			ifc.Rank = 0
		}
		for _, g := range i.Gateways {
			if g.Addr.IsValid() && !ifc.Gateway.IsValid() {
				ifc.Gateway, ifc.GatewayLink = g.Addr, g.Link
			}
		}
		out = append(out, ifc)
	}
	return out, nil
}

// Watch implements [Watcher].
func (sockets) Watch() (changes <-chan netmon.Changed, stop func()) {
	s := netmon.Shared().Subscribe()
	return s.C, s.Close
}

// controlMessages reports whether a control message can name the interface from
// which a packet leaves. On other systems, the socket's multicast interface is
// set before each packet: FreeBSD has no such message for IPv4, and x/net has
// none on Windows.
const controlMessages = runtime.GOOS == "linux" || runtime.GOOS == "android" || runtime.GOOS == "darwin" || runtime.GOOS == "ios"

const (
	receiveBuffer = 512 << 10 // bytes that may wait in the kernel
	maxErrors     = 10        // receive errors in a row after which a socket is given up
)

// A udpConn is a socket. One of p4 and p6 is set.
type udpConn struct {
	family Family
	c      *net.UDPConn
	p4     *ipv4.PacketConn
	p6     *ipv6.PacketConn
	done   chan struct{} // closed when the receiver has ended

	mu     sync.Mutex
	joined map[int]bool // interfaces on which the socket is a member of the group
	closed bool         // by us
}

// openUDP opens a socket.
func openUDP(f Family, deliver func(Packet), failed func(error)) (*udpConn, error) {
	u := &udpConn{family: f, done: make(chan struct{}), joined: make(map[int]bool)}
	var err error
	// A multicast address in the prefix makes package net bind to any address,
	// with the port shared. The address is not a group that anybody sends to,
	// and is not joined.
	if f == IPv4 {
		u.c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(224, 0, 0, 0), Port: Port})
	} else {
		u.c, err = net.ListenUDP("udp6", &net.UDPAddr{IP: net.IP{0: 0xff, 1: 0x02, 15: 0}, Port: Port})
	}
	if err != nil {
		return nil, err
	}
	_ = u.c.SetReadBuffer(receiveBuffer) // as much as the system allows
	onlyJoined(u.c, f)
	if f == IPv4 {
		u.p4 = ipv4.NewPacketConn(u.c)
		// Not on Windows: there the source of a packet determines the
		// interface.
		_ = u.p4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true)
		err = errors.Join(u.p4.SetMulticastTTL(255), u.p4.SetTTL(255), u.p4.SetMulticastLoopback(true))
	} else {
		u.p6 = ipv6.NewPacketConn(u.c)
		_ = u.p6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true)
		err = errors.Join(u.p6.SetMulticastHopLimit(255), u.p6.SetHopLimit(255), u.p6.SetMulticastLoopback(true))
	}
	if err != nil {
		return nil, errors.Join(err, u.c.Close())
	}
	go u.receive(deliver, failed)
	return u, nil
}

// receive hands packets over until the socket is closed or fails.
func (u *udpConn) receive(deliver func(Packet), failed func(error)) {
	defer close(u.done)
	buf := make([]byte, maxPacket+1)
	for failures := 0; ; {
		n, p, err := u.read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			u.mu.Lock()
			closed := u.closed
			u.mu.Unlock()
			if !closed {
				failed(err)
			}
			return
		case err != nil:
			// Windows reports errors of earlier sends here.
			if failures++; failures > maxErrors {
				failed(err)
				return
			}
			continue
		}
		failures = 0
		if n <= maxPacket && u.hears(&p) {
			p.Data = append([]byte(nil), buf[:n]...)
			deliver(p)
		}
	}
}

func (u *udpConn) read(buf []byte) (int, Packet, error) {
	var n int
	var src net.Addr
	var dst net.IP
	var p Packet
	var err error
	if u.p4 != nil {
		var cm *ipv4.ControlMessage
		if n, cm, src, err = u.p4.ReadFrom(buf); cm != nil {
			p.Index, dst = cm.IfIndex, cm.Dst
		}
	} else {
		var cm *ipv6.ControlMessage
		if n, cm, src, err = u.p6.ReadFrom(buf); cm != nil {
			p.Index, dst = cm.IfIndex, cm.Dst
		}
	}
	if err != nil {
		return 0, p, err
	}
	if a, ok := src.(*net.UDPAddr); ok {
		ap := a.AddrPort()
		p.Src = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a, ok := netip.AddrFromSlice(dst); ok {
		p.Dst = a.Unmap()
	}
	return n, p, nil
}

// hears reports whether a packet is for this socket. A packet to the group
// arrives at every socket of the system that is a member on the interface, and
// on some systems at every one that is a member anywhere.
func (u *udpConn) hears(p *Packet) bool {
	if p.Index == 0 || !p.Dst.IsMulticast() {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.joined[p.Index]
}

func (u *udpConn) setJoined(index int, joined bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if joined {
		u.joined[index] = true
	} else {
		delete(u.joined, index)
	}
}

func (u *udpConn) join(ifc Interface) error {
	i := &net.Interface{Index: ifc.Index, Name: ifc.Name, MTU: ifc.MTU}
	group := net.UDPAddrFromAddrPort(Groups[u.family])
	u.leave(ifc) // a membership from before the interface came back
	u.setJoined(ifc.Index, true)
	var err error
	if u.p4 != nil {
		err = u.p4.JoinGroup(i, group)
	} else {
		err = u.p6.JoinGroup(i, group)
	}
	if err != nil {
		u.setJoined(ifc.Index, false)
	}
	return err
}

func (u *udpConn) leave(ifc Interface) {
	i := &net.Interface{Index: ifc.Index, Name: ifc.Name}
	group := net.UDPAddrFromAddrPort(Groups[u.family])
	if u.p4 != nil {
		_ = u.p4.LeaveGroup(i, group)
	} else {
		_ = u.p6.LeaveGroup(i, group)
	}
	u.setJoined(ifc.Index, false)
}

// sendTimeout limits how long a packet may wait for room in the socket's
// buffer.
const sendTimeout = 100 * time.Millisecond

func (u *udpConn) send(data []byte, ifc Interface, to netip.AddrPort) error {
	i := &net.Interface{Index: ifc.Index, Name: ifc.Name}
	dst := net.UDPAddrFromAddrPort(to)
	if err := u.c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if hops := ifc.hops(to.Addr()); hops != 255 {
		if err := u.limit(hops); err != nil {
			return err
		}
		defer u.limit(255)
	}
	if u.p4 != nil {
		if !controlMessages {
			if to.Addr().IsMulticast() {
				if err := u.p4.SetMulticastInterface(i); err != nil {
					return err
				}
			}
			_, err := u.p4.WriteTo(data, nil, dst)
			return err
		}
		cm := &ipv4.ControlMessage{IfIndex: ifc.Index}
		if ifc.Loopback { // the kernel would choose an address of another interface, or none
			cm.Src = net.IPv4(127, 0, 0, 1)
		}
		_, err := u.p4.WriteTo(data, cm, dst)
		return err
	}
	if to.Addr().IsMulticast() || to.Addr().IsLinkLocalUnicast() {
		dst.Zone = ifc.Name
	}
	if !controlMessages {
		if to.Addr().IsMulticast() {
			if err := u.p6.SetMulticastInterface(i); err != nil {
				return err
			}
		}
		_, err := u.p6.WriteTo(data, nil, dst)
		return err
	}
	_, err := u.p6.WriteTo(data, &ipv6.ControlMessage{IfIndex: ifc.Index}, dst)
	return err
}

// limit sets the TTL of packets to one host.
func (u *udpConn) limit(hops int) error {
	if u.p4 != nil {
		return u.p4.SetTTL(hops)
	}
	return u.p6.SetHopLimit(hops)
}

func (u *udpConn) close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	err := u.c.Close()
	<-u.done
	return err
}
