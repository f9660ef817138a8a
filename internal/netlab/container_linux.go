package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A Bridge is a network of containers on a host, as Docker makes it: a bridge
// with a private network, which the host translates to its own address. From
// outside, only published ports can be reached. It has no IPv6.
type Bridge struct {
	// Interface is the name of the host's interface on the network.
	Interface string

	host      *Host
	number    byte
	last      byte // of the containers' addresses
	published map[uint16]netip.AddrPort
}

// Bridge makes a network of containers with a number from 1, which exists as
// long as the host. The host has the first address, and is the containers'
// router.
func (h *Host) Bridge(number byte) *Bridge {
	h.lab.t.Helper()
	b := &Bridge{Interface: fmt.Sprintf("docker%d", number), host: h, number: number, last: 1, published: map[uint16]netip.AddrPort{}}
	h.lab.ip("-n", h.ns, "link", "add", b.Interface, "type", "bridge")
	h.lab.ip("-n", h.ns, "link", "set", b.Interface, "addrgenmode", "none")
	h.lab.ip("-n", h.ns, "addr", "add", b.addr(1).String()+"/16", "dev", b.Interface)
	h.lab.ip("-n", h.ns, "link", "set", b.Interface, "up")
	h.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	b.filter()
	return b
}

func (b *Bridge) addr(n byte) netip.Addr { return netip.AddrFrom4([4]byte{172, 16 + b.number, 0, n}) }

// Addr returns the host's address on the network.
func (b *Bridge) Addr() netip.Addr { return b.addr(1) }

// Container starts a container, without a program: a host with the interface
// eth0 and the next address of the network.
func (b *Bridge) Container() *Host {
	b.host.lab.t.Helper()
	b.last++
	l := b.host.lab
	c := &Host{lab: l, container: b.addr(b.last), port: fmt.Sprintf("veth%d-%d", b.number, b.last)}
	c.ns = l.namespace(fmt.Sprintf("%d-%s", b.host.number, c.port))
	l.ip("-n", b.host.ns, "link", "add", c.port, "type", "veth", "peer", "name", "eth0", "netns", c.ns)
	l.ip("-n", b.host.ns, "link", "set", c.port, "addrgenmode", "none")
	l.ip("-n", b.host.ns, "link", "set", c.port, "master", b.Interface, "up")
	l.ip("-n", c.ns, "link", "set", "eth0", "addrgenmode", "none")
	l.ip("-n", c.ns, "addr", "add", c.container.String()+"/16", "dev", "eth0")
	l.ip("-n", c.ns, "link", "set", "eth0", "up")
	l.ip("-n", c.ns, "route", "add", "default", "via", b.Addr().String())
	return c
}

// Remove removes a container, whose programs must have ended, from the network.
func (b *Bridge) Remove(c *Host) {
	b.host.lab.t.Helper()
	b.host.lab.ip("-n", b.host.ns, "link", "del", c.port)
}

// Publish forwards a UDP port of the host to one of a container. Packets of
// earlier flows are redirected too.
func (b *Bridge) Publish(port uint16, to *Host, inner uint16) {
	b.host.lab.t.Helper()
	b.published[port] = netip.AddrPortFrom(to.container, inner)
	b.filter()
	require.NoError(b.host.lab.t, b.host.Do(forgetFlows))
}

// filter makes the host's rules.
func (b *Bridge) filter() {
	b.host.lab.t.Helper()
	var to, accept strings.Builder
	for port, inner := range b.published {
		fmt.Fprintf(&to, "fib daddr type local udp dport %d dnat to %v\n", port, inner)
		fmt.Fprintf(&accept, "oifname %q ip daddr %v udp dport %d accept\n", b.Interface, inner.Addr(), inner.Port())
	}
	rules := fmt.Sprintf(`
table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
	chain before {
		type nat hook prerouting priority dstnat
		iifname %[1]q return
		%[3]s
	}
	chain local {
		type nat hook output priority -100
		ip daddr 127.0.0.0/8 return
		%[3]s
	}
	chain after {
		type nat hook postrouting priority srcnat
		ip saddr %[2]v oifname != %[1]q masquerade
	}
	chain through {
		type filter hook forward priority filter
		ct state established,related accept
		iifname %[1]q accept
		%[4]s
		oifname %[1]q drop
	}
}
`, b.Interface, netip.PrefixFrom(b.Addr(), 16).Masked(), to.String(), accept.String())
	b.host.Run("nft", rules)
}

// forgetFlows empties the table of connections that the kernel tracks.
func forgetFlows() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const deleteFlow = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE; without a flow, all of the family
	m := make([]byte, unix.NLMSG_HDRLEN+4)
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], deleteFlow)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m[unix.NLMSG_HDRLEN] = unix.AF_INET
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlab: no answer from netfilter")
	}
	if errno := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
		return syscall.Errno(-errno)
	}
	return nil
}
