package nettest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/netmon"
	"github.com/sdp2p/p2p/mdns"
)

// TestMonitor is a program that reports changes of the host's network.
func TestMonitor(t *testing.T) {
	var cfg none
	console := netlab.Program(t, &cfg)
	sub := netmon.Shared().Subscribe()
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case c := <-sub.C:
				console.Tell("changed", kinds(c.Kind))
			case <-stop:
				return
			}
		}
	}()
	netlab.Handle(console, "snapshot", func(none) (netmon.Snapshot, error) { return netmon.Shared().Snapshot() })
	console.Tell("ready")
	console.Serve()
	close(stop)
	<-done
	sub.Close()
}

// kinds names kinds of change.
func kinds(k netmon.Kind) string {
	var names []string
	for n, name := range []string{"address", "route", "woke"} {
		if k&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Changes of a host's network are reported by their kinds, each of them once,
// and other events are not reported.
func TestNetworkMonitor(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	lab.Disconnect()
	h := lab.Hosts[0]
	one := lab.Segment(1, h, lab.Hosts[1])
	p := h.StartProgram(t, "TestMonitor", none{})
	p.Await(time.Time{}, "ready")
	var delays sample
	expect := func(kind, what string, args ...string) {
		t.Helper()
		began := time.Now()
		if len(args) > 0 {
			h.Run("ip", args...)
		}
		e := p.Await(began, "changed", kind)
		delays = append(delays, e.At.Sub(began))
		t.Logf("%s: noticed %v after ip was started", what, e.At.Sub(began))
		for _, e := range p.Events() {
			require.False(t, e.At.After(began) && e.Name == "changed" && e.About[0] != kind, "%s: %v", what, e)
		}
	}
	router := []string{"neigh", "replace", "10.78.1.254", "dev", one.Interface, "lladdr"}
	expect("address", "an address", "addr", "add", "10.9.9.9/24", "dev", one.Interface)
	expect("route", "a default route", "route", "add", "default", "via", "10.78.1.254")
	began := time.Now()
	h.Run("ip", append(router, "02:00:00:00:00:01")...) // the router becomes known
	h.Run("ip", "route", "add", "10.200.0.0/16", "via", "10.78.1.254")
	h.Run("ip", "link", "set", one.Interface, "mtu", "1400")
	h.Run("ip", "link", "add", "unused", "type", "bridge")
	h.Run("ip", "neigh", "replace", "10.78.1.77", "dev", one.Interface, "lladdr", "02:00:00:00:00:77")
	expect("address", "its end", "addr", "del", "10.9.9.9/24", "dev", one.Interface)
	for _, e := range p.Events() {
		require.False(t, e.At.After(began) && e.About[0] != "address", "%v", e)
	}
	expect("route", "another router", append(router, "02:00:00:00:00:02")...)
	expect("route", "IPv6", "-6", "route", "add", "default", "via", one.Prefixes(lab.Hosts[1], 0)[2].Addr().String(), "dev", one.Interface)
	t.Log("all:", delays)

	s, err := netlab.Call[netmon.Snapshot](p, "snapshot", none{})
	require.NoError(t, err)
	require.Equal(t, one.Interface, s.Interfaces[0].Name)
	require.Equal(t, s.Interfaces[0].Index, s.Default[netmon.IPv4].Index)
	require.Equal(t, s.Interfaces[0].Index, s.Default[netmon.IPv6].Index)
	require.Equal(t, netmon.Gateway{Addr: s.Default[netmon.IPv4].Addr, Link: "020000000002"}, s.Interfaces[0].Gateways[netmon.IPv4])
	require.Equal(t, "10.78.1.254", s.Default[netmon.IPv4].Addr.String())
	require.False(t, s.Interfaces[0].Physical)

	// The neighbor unplugs the cable and plugs it in again, before the monitor
	// looks.
	ups := s.Interfaces[0].Ups
	at := time.Now()
	one.Replug(h, one)
	p.Await(at, "changed")
	until(t, func() bool {
		s, err := netlab.Call[netmon.Snapshot](p, "snapshot", none{})
		require.NoError(t, err)
		return s.Interfaces[0].Up() && s.Interfaces[0].Ups != ups
	})
}

// A storm of events, like that of programs that run containers, leads to few
// changes, and ports of bridges to none.
func TestEventStorm(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	h := lab.Hosts[0]
	p := h.StartProgram(t, "TestMonitor", none{})
	p.Await(time.Time{}, "ready")
	began := time.Now()
	var script strings.Builder
	fmt.Fprintln(&script, "link add br0 type bridge")
	for i := range 60 {
		fmt.Fprintf(&script, "link add a%d type veth peer name b%d\nlink set a%d master br0\nlink set b%d addrgenmode none\nlink set a%d up\nlink set b%d up\n", i, i, i, i, i, i)
	}
	h.Run("sh", "-c", "ip -batch - <<'END'\n"+script.String()+"END")
	h.Run("ip", "addr", "add", "10.9.9.9/24", "dev", netlab.Interface)
	p.Await(began, "changed", "address")
	n := 0
	for _, e := range p.Events() {
		if e.Name == "changed" {
			n++
		}
	}
	require.Equal(t, 1, n, "the address")
	s, err := netlab.Call[netmon.Snapshot](p, "snapshot", none{})
	require.NoError(t, err)
	ports := 0
	for _, i := range s.Interfaces {
		if i.Port {
			ports++
		}
	}
	require.Equal(t, 60, ports)
}

// A computer moves to another network with the same prefix and the same address
// of a router that is absent: its cable is plugged into another switch. It and
// the nodes there soon know each other, and the nodes of the old network are
// lost.
func TestMovedToLookalike(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	lab.Disconnect()
	h := lab.Hosts
	one, two := lab.Segment(1, h[0], h[1]), lab.Segment(2, h[2])
	two.Remove(h[2], two.Prefixes(h[2], 0)...)
	two.Add(h[2], one.Prefixes(h[2], 0)...)
	h[0].Run("ip", "route", "add", "default", "via", "10.78.1.254")
	w, x, y := start(t, h[0], onLAN), start(t, h[1], onLAN), start(t, h[2], onLAN)
	w.discovers(x, "mdns")
	moved := time.Now()
	one.Replug(h[0], two)
	lost := w.Await(moved, "expired", x.id, "mdns").At
	found := w.Await(lost, "discovered", y.id, "mdns").At // perhaps once more
	known := y.discovers(w, "mdns")
	t.Logf("the old neighbor is gone after %v, the new one known after %v, and knows after %v", lost.Sub(moved), found.Sub(moved), known.Sub(moved))
	for _, at := range []time.Time{lost, found, known} {
		require.Less(t, at.Sub(moved), noticed)
	}
	w.meets(y, one.Prefixes(h[2], 0)...)
	y.meets(w, one.Prefixes(h[0], 0)...)
}

// A router is replaced by another one with the same address, and nothing else
// shows that the network has changed. What was learned before is dropped, and
// learned anew.
func TestRouterReplaced(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	router := lab.Hosts[2]
	router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/"+netlab.Interface+"/arp_notify")
	a, b := lab.Hosts[0], lab.Hosts[1]
	a.Run("ip", "route", "add", "default", "via", router.Addr4().String())
	talk := func() { // so that the router's link-layer address becomes known
		require.NoError(t, a.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(router.Addr4().String(), "9"))
			if err == nil {
				_, err = c.Write([]byte("hello"))
				c.Close()
			}
			return err
		}))
	}
	talk()
	until(t, func() bool { return strings.Contains(a.Run("ip", "neigh"), "lladdr") })
	na, nb := start(t, a, onLAN), start(t, b, onLAN)
	na.discovers(nb, "mdns")
	nb.discovers(na, "mdns")

	before := time.Now()
	router.Run("ip", "link", "set", netlab.Interface, "address", "02:77:00:00:00:99")
	lost := na.Await(before, "expired", nb.id, "mdns").At
	found := na.Await(lost, "discovered", nb.id, "mdns").At
	t.Logf("noticed after %v, found again after %v", lost.Sub(before), found.Sub(before))
	require.Less(t, found.Sub(before), noticed)
	na.echoes(nb)
	nb.echoes(na)
	require.Zero(t, nb.count("expired", na))
}

// Beside its interface, a host has 40 bridges, more than Linux allows
// memberships for a socket. It hears its neighbors at every start, and each
// packet once. If the limit is so low that some interfaces must be deaf, the
// interface with the default route is not among them, and the log says what to
// do.
func TestManyBridges(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	lab.Disconnect() // the bridges must be there first
	h, neighbor := lab.Hosts[0], lab.Hosts[1]
	var script strings.Builder
	for i := range 40 {
		fmt.Fprintf(&script, "link add br%d type bridge\nlink add a%d type veth peer name b%d\nlink set a%d master br%d\n", i, i, i, i, i)
		for _, name := range []string{"br", "a", "b"} {
			fmt.Fprintf(&script, "link set %s%d addrgenmode none\nlink set %s%d up\n", name, i, name, i)
		}
		fmt.Fprintf(&script, "addr add 10.99.%d.1/24 dev br%d\naddr add fe80::99:%d/64 dev br%d nodad\n", i, i, i, i)
	}
	h.Run("sh", "-c", "ip -batch - <<'END'\n"+script.String()+"END")
	lab.Connect()
	h.Run("ip", "route", "add", "default", "via", neighbor.Addr4().String())
	b := start(t, neighbor, onLAN)
	for _, allowed := range []int{20, 20, 20, 20, 1, 1, 0} {
		h.Run("sh", "-c", fmt.Sprintf("echo %d >/proc/sys/net/ipv4/igmp_max_memberships", allowed))
		before := ask[mdns.Stats](b, "stats").Sent.Total().Packets
		a := start(t, h, onLAN)
		found, known := a.discovers(b, "mdns"), b.discovers(a, "mdns")
		stats := ask[mdns.Stats](a, "stats")
		sent := ask[mdns.Stats](b, "stats").Sent.Total().Packets - before
		require.LessOrEqual(t, stats.Received.Total().Packets, sent, "nothing is heard twice")
		began := a.Await(time.Time{}, "starting").At
		t.Logf("%d memberships a socket: found after %v, known after %v; %d interfaces are deaf", allowed, found.Sub(began), known.Sub(began), len(stats.Deaf))
		logged := strings.Join(ask[[]string](a, "log"), "\n")
		warned := strings.Count(logged, "igmp_max_memberships")
		switch allowed {
		case 20:
			require.Empty(t, stats.Deaf)
			require.Zero(t, warned)
		case 1:
			require.Len(t, stats.Deaf, 41-8)
			require.False(t, slices.Contains(stats.Deaf, netlab.Interface))
			require.Equal(t, 1, warned, logged)
		case 0: // over IPv4, while there is also IPv6
			require.Len(t, stats.Deaf, 41)
			require.Equal(t, 1, warned, logged)
			require.NotContains(t, logged, "failed")
		}
		a.echoes(b)
		a.Stop()
		b.Await(began, "unavailable", a.id)
	}
}
