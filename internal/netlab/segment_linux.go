package netlab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// A Segment is a further link of a lab: a switch, and an interface for each
// host that is plugged in.
type Segment struct {
	// Interface is the name of the hosts' interfaces.
	Interface string

	lab    *Lab
	hub    string // namespace of the bridge
	number int
}

// Segment makes a further link, with a number from 1, and plugs hosts in.
func (l *Lab) Segment(number int, hosts ...*Host) *Segment {
	l.t.Helper()
	s := &Segment{lab: l, number: number, Interface: fmt.Sprintf("seg%d", number)}
	s.hub = l.namespace("hub-" + s.Interface)
	l.ip("-n", s.hub, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
	l.ip("-n", s.hub, "link", "set", "br0", "up")
	for _, h := range hosts {
		s.Plug(h)
	}
	return s
}

// Plug gives a host an interface, up and with addresses.
func (s *Segment) Plug(h *Host) {
	s.lab.t.Helper()
	port := fmt.Sprintf("port%d", h.number)
	s.lab.ip("-n", s.hub, "link", "add", port, "type", "veth", "peer", "name", s.Interface, "netns", h.ns)
	s.lab.ip("-n", s.hub, "link", "set", port, "master", "br0", "up")
	s.lab.ip("-n", h.ns, "link", "set", s.Interface, "addrgenmode", "none")
	s.Up(h, s.Prefixes(h, 0)...)
}

// Unplug removes a host's interface. Other hosts do not notice.
func (s *Segment) Unplug(h *Host) {
	s.lab.t.Helper()
	s.lab.ip("-n", h.ns, "link", "del", s.Interface)
}

// Down switches a host's interface off and removes its addresses. Other hosts
// do not notice.
func (s *Segment) Down(h *Host) {
	s.lab.t.Helper()
	s.lab.ip("-n", h.ns, "link", "set", s.Interface, "down")
	s.lab.ip("-n", h.ns, "addr", "flush", "dev", s.Interface)
}

// Up switches a host's interface on, with addresses.
func (s *Segment) Up(h *Host, addrs ...netip.Prefix) {
	s.lab.t.Helper()
	s.lab.ip("-n", h.ns, "link", "set", s.Interface, "up")
	s.Add(h, addrs...)
}

// Add adds addresses to a host's interface, all at once.
func (s *Segment) Add(h *Host, addrs ...netip.Prefix) {
	s.lab.t.Helper()
	s.change(h, "add", addrs)
}

// Remove takes addresses from a host's interface, all at once.
func (s *Segment) Remove(h *Host, addrs ...netip.Prefix) {
	s.lab.t.Helper()
	s.change(h, "del", addrs)
}

func (s *Segment) change(h *Host, how string, addrs []netip.Prefix) {
	s.lab.t.Helper()
	var all strings.Builder
	for _, p := range addrs {
		fmt.Fprintf(&all, "addr %s %v dev %s", how, p, s.Interface)
		if how == "add" && p.Addr().Is6() {
			all.WriteString(" nodad")
		}
		all.WriteString("\n")
	}
	cmd := exec.Command("ip", "-n", h.ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(all.String())
	out, err := cmd.CombinedOutput()
	require.NoError(s.lab.t, err, "%s: %s", &all, out)
}

// Prefixes returns addresses of a host on the segment with their prefixes:
// IPv4, IPv6 unique local, and link-local ones. Plug assigns set 0; there are
// sets 0 to 9.
func (s *Segment) Prefixes(h *Host, set int) []netip.Prefix {
	n := 10*set + h.number
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.78.%d.%d/24", s.number, n)),
		netip.MustParsePrefix(fmt.Sprintf("fd78:%d::%d/64", s.number, n)),
		netip.MustParsePrefix(fmt.Sprintf("fe80::78:%d:%d/64", s.number, n)),
	}
}

// Mute disconnects a host's cable from the switch without the host noticing: it
// receives nothing, and what it sends is lost.
func (s *Segment) Mute(h *Host) {
	s.lab.t.Helper()
	s.lab.ip("-n", s.hub, "link", "set", fmt.Sprintf("port%d", h.number), "nomaster")
}

// Replug puts the other end of a host's cable into the switch of another
// segment. The host's interface has no carrier meanwhile, and keeps its name
// and addresses.
func (s *Segment) Replug(h *Host, to *Segment) {
	s.lab.t.Helper()
	port := fmt.Sprintf("port%d", h.number)
	s.lab.ip("-n", s.hub, "link", "set", port, "down", "nomaster")
	s.lab.ip("-n", s.hub, "link", "set", port, "netns", to.hub)
	s.lab.ip("-n", to.hub, "link", "set", port, "master", "br0", "up")
}

// Pull pulls the cable out of a host, and returns once the host knows: it has
// no carrier, and remembers no neighbors. Replug plugs it in again.
func (s *Segment) Pull(h *Host) {
	s.lab.t.Helper()
	s.lab.ip("-n", s.hub, "link", "set", fmt.Sprintf("port%d", h.number), "down")
	began := time.Now()
	for !strings.Contains(h.Run("ip", "link", "show", s.Interface), "NO-CARRIER") || strings.Contains(h.Run("ip", "-4", "neigh", "show", "dev", s.Interface), "lladdr") {
		require.Less(s.lab.t, time.Since(began), Patience)
		time.Sleep(10 * time.Millisecond)
	}
}
