package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Lab is a number of hosts on one link: two are joined by a cable (a veth
// pair), more by a switch (a bridge in a namespace of its own). No host has a
// default route.
type Lab struct {
	Hosts []*Host

	// Outside is the /24 of the public addresses; the zero value stands for
	// 198.51.100.0/24, which go-libp2p considers unroutable. Set it before the
	// first public address is assigned.
	Outside [3]byte

	t    testing.TB
	hub  string // namespace of the bridge; "" for two hosts
	name string // begins the names of all namespaces
}

// A Host is a network namespace with lo and one more interface, [Interface].
type Host struct {
	lab    *Lab
	ns     string
	number int // from 1

	container netip.Addr // of a container: its only address, and the name of
	port      string     // the other end of its cable, on its host
}

const (
	// Interface is the name of every host's interface on the link.
	Interface = "veth0"

	enable = "SDP2P_NETTEST"
	prefix = "sdp2p-lab-"
)

var labs atomic.Int64

// New makes a lab with a number of hosts, for the duration of the test. It
// skips the test unless SDP2P_NETTEST is set.
func New(t testing.TB, hosts int) *Lab {
	t.Helper()
	if os.Getenv(enable) == "" {
		t.Skip("set " + enable + "=1 to test in network namespaces, as root")
	}
	if os.Geteuid() != 0 {
		t.Fatal(enable + " is set, but network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal(enable + " is set, but there is no program ip; it is in the package iproute2")
	}
	sweep()
	l := &Lab{t: t, name: fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), labs.Add(1))}
	for i := range hosts {
		h := &Host{lab: l, number: i + 1}
		h.ns = l.namespace(strconv.Itoa(h.number))
		l.Hosts = append(l.Hosts, h)
	}
	if hosts > 2 {
		l.hub = l.namespace("hub")
		l.ip("-n", l.hub, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
		l.ip("-n", l.hub, "link", "set", "br0", "up")
	}
	l.Connect()
	return l
}

// sweep deletes namespaces of test processes that could not clean up, because
// they were killed or took too long.
func sweep() {
	all, _ := os.ReadDir("/run/netns")
	for _, ns := range all {
		rest, ours := strings.CutPrefix(ns.Name(), prefix)
		pid, _, _ := strings.Cut(rest, "-")
		if _, err := os.Stat("/proc/" + pid); ours && os.IsNotExist(err) {
			_ = exec.Command("ip", "netns", "del", ns.Name()).Run() // another process may be faster
		}
	}
}

func (l *Lab) namespace(suffix string) string {
	ns := l.name + suffix
	l.ip("netns", "add", ns)
	l.t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
			l.t.Errorf("ip netns del %s: %v: %s", ns, err, out)
		}
	})
	l.ip("-n", ns, "link", "set", "lo", "up")
	return ns
}

func (l *Lab) ip(args ...string) {
	l.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(l.t, err, "ip %v: %s", args, out)
}

// Connect gives every host its interface, up and with addresses. New has
// already done so.
func (l *Lab) Connect() {
	l.t.Helper()
	if l.hub == "" && len(l.Hosts) == 2 {
		l.ip("-n", l.Hosts[0].ns, "link", "add", Interface, "type", "veth", "peer", "name", Interface, "netns", l.Hosts[1].ns)
	}
	for _, h := range l.Hosts {
		if l.hub != "" {
			port := fmt.Sprintf("port%d", h.number)
			l.ip("-n", l.hub, "link", "add", port, "type", "veth", "peer", "name", Interface, "netns", h.ns)
			l.ip("-n", l.hub, "link", "set", port, "master", "br0", "up")
		}
	}
	for _, h := range l.Hosts {
		// Addresses are ours alone: the kernel's would be tentative at first.
		l.ip("-n", h.ns, "link", "set", Interface, "addrgenmode", "none")
		h.LinkUp()
	}
}

// Disconnect removes every host's interface, as if it were unplugged from the
// host.
func (l *Lab) Disconnect() {
	l.t.Helper()
	for i, h := range l.Hosts {
		if l.hub != "" || i == 0 { // one end takes the other along
			l.ip("-n", h.ns, "link", "del", Interface)
		}
	}
}

// Addr4 returns the host's IPv4 address.
func (h *Host) Addr4() netip.Addr {
	if h.container.IsValid() {
		return h.container
	}
	return netip.AddrFrom4([4]byte{10, 77, 0, byte(h.number)})
}

// Addr6 returns the host's IPv6 address, a unique local one (RFC 4193).
func (h *Host) Addr6() netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd77::%d", h.number)) }

// LinkLocal returns the host's IPv6 link-local address, without a zone.
func (h *Host) LinkLocal() netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("fe80::77:%d", h.number))
}

// Owns reports whether an address is one of the host's on the link.
func (h *Host) Owns(addr netip.Addr) bool {
	if h.container.IsValid() {
		return h.container == addr.Unmap()
	}
	return slices.Contains([]netip.Addr{h.Addr4(), h.Addr6(), h.LinkLocal()}, addr.Unmap().WithZone(""))
}

// LinkDown switches the host's interface off. It keeps its IPv4 address, but
// loses those of IPv6; the other end of the cable has no carrier.
func (h *Host) LinkDown() {
	h.lab.t.Helper()
	h.lab.ip("-n", h.ns, "link", "set", Interface, "down")
}

// LinkUp undoes LinkDown.
func (h *Host) LinkUp() {
	h.lab.t.Helper()
	h.lab.ip("-n", h.ns, "link", "set", Interface, "up")
	for _, addr := range []netip.Addr{h.Addr4(), h.Addr6(), h.LinkLocal()} {
		args := []string{"-n", h.ns, "addr", "replace", addr.String() + "/24", "dev", Interface}
		if addr.Is6() {
			args = append(args[:4], addr.String()+"/64", "dev", Interface, "nodad")
		}
		h.lab.ip(args...)
	}
}

// Stall makes the switch drop all packets from and to the host until Resume. No
// host notices a change of its interface. It needs a lab with a switch.
func (h *Host) Stall() { h.bridgeState("0") }

// Resume undoes Stall.
func (h *Host) Resume() { h.bridgeState("3") }

func (h *Host) bridgeState(state string) {
	h.lab.t.Helper()
	h.lab.ip("-n", h.lab.hub, "link", "set", fmt.Sprintf("port%d", h.number), "type", "bridge_slave", "state", state)
}

// MAC returns the address of the host's interface.
func (h *Host) MAC() (mac net.HardwareAddr) {
	h.lab.t.Helper()
	require.NoError(h.lab.t, h.Do(func() error {
		ifc, err := net.InterfaceByName(Interface)
		if err == nil {
			mac = ifc.HardwareAddr
		}
		return err
	}))
	return mac
}

// Command returns a command that runs a program on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.ns, name}, args...)...)
}

// Run runs a program on the host and returns what it printed. The test ends if
// it fails.
func (h *Host) Run(name string, args ...string) string {
	h.lab.t.Helper()
	out, err := h.Command(name, args...).CombinedOutput()
	require.NoError(h.lab.t, err, "%s %v: %s", name, args, out)
	return string(out)
}
