package netlab_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

const port = 4242

var group = netip.AddrFrom4([4]byte{224, 0, 0, 77})

// TestNode is a program that reports the packets that it gets on a UDP port,
// and sends some when asked to.
func TestNode(t *testing.T) {
	var greeting string
	console := netlab.Program(t, &greeting)
	multicast, err := net.ListenMulticastUDP("udp4", nil, &net.UDPAddr{IP: group.AsSlice(), Port: port + 1})
	if err == nil { // with an interface
		defer multicast.Close()
		go hear(console, multicast)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	require.NoError(t, err)
	defer conn.Close()
	go hear(console, conn)
	netlab.Handle(console, "say", func(to netip.AddrPort) (int, error) { return conn.WriteToUDPAddrPort([]byte(greeting), to) })
	console.Tell("ready")
	console.Serve()
}

func hear(console *netlab.Console, conn *net.UDPConn) {
	for b := make([]byte, 100); ; {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		console.Tell("heard", string(b[:n]), from.Addr().Unmap().String())
	}
}

// start starts a program on each host of a lab, which sends the host's number
// as a greeting.
func start(t *testing.T, lab *netlab.Lab) (all []*netlab.Process) {
	for i, h := range lab.Hosts {
		if i == 0 {
			h.Run("ip", "route", "add", "224.0.0.0/4", "dev", netlab.Interface)
		}
		p := h.Start(t, h.Addr4().String())
		p.Await(time.Time{}, "ready")
		all = append(all, p)
	}
	return all
}

func say(t *testing.T, from *netlab.Process, to netip.Addr, port uint16) error {
	_, err := netlab.Call[int](from, "say", netip.AddrPortFrom(to, port))
	return err
}

// Every host reaches every other one, over IPv4 and IPv6, over a cable and over
// a switch.
func TestHosts(t *testing.T) {
	for _, n := range []int{2, 3} {
		lab := netlab.New(t, n)
		all := start(t, lab)
		for i, a := range all {
			for j, b := range all {
				if i == j {
					continue
				}
				from, to := lab.Hosts[i], lab.Hosts[j]
				require.NoError(t, say(t, a, to.Addr4(), port))
				b.Await(time.Time{}, "heard", from.Addr4().String(), from.Addr4().String())
				require.NoError(t, say(t, a, to.Addr6(), port))
				b.Await(time.Time{}, "heard", from.Addr4().String(), from.Addr6().String())
				require.True(t, from.Owns(from.LinkLocal().WithZone(netlab.Interface)))
				require.False(t, from.Owns(to.Addr4()))
			}
		}
	}
}

// Links go down and come up, and interfaces come and go.
func TestLinks(t *testing.T) {
	for _, n := range []int{2, 3} {
		lab := netlab.New(t, n)
		all := start(t, lab)
		a, b := lab.Hosts[0], lab.Hosts[1]
		hears := func(to netip.Addr, by netip.Addr) {
			t.Helper()
			began := time.Now()
			require.NoError(t, say(t, all[0], to, port))
			all[1].Await(began, "heard", a.Addr4().String(), by.String())
		}
		a.LinkDown()
		require.ErrorContains(t, say(t, all[0], b.Addr4(), port), "unreachable")
		a.LinkUp()
		hears(b.Addr4(), a.Addr4())
		hears(b.Addr6(), a.Addr6())
		lab.Disconnect()
		require.NotContains(t, b.Run("ip", "link"), netlab.Interface)
		require.ErrorContains(t, say(t, all[0], b.Addr4(), port), "unreachable")
		lab.Connect()
		hears(b.Addr4(), a.Addr4())
		hears(b.Addr6(), a.Addr6())
	}
}

// A packet to a group of the link reaches all other hosts.
func TestMulticast(t *testing.T) {
	lab := netlab.New(t, 4)
	for _, h := range lab.Hosts[1:] {
		h.Run("ip", "route", "add", "224.0.0.0/4", "dev", netlab.Interface)
	}
	all := start(t, lab)
	require.NoError(t, say(t, all[0], group, port+1))
	for _, p := range all[1:] {
		p.Await(time.Time{}, "heard", lab.Hosts[0].Addr4().String())
	}
}

// Programs end when they are killed, and when they are asked to; calls return
// their errors.
func TestProcess(t *testing.T) {
	lab := netlab.New(t, 2)
	all := start(t, lab)
	_, err := netlab.Call[int](all[0], "sing", 1)
	require.ErrorContains(t, err, `does not know "sing"`)
	_, err = netlab.Call[int](all[0], "say", "to nobody")
	require.Error(t, err)
	all[0].Kill()
	_, err = netlab.Call[int](all[0], "say", netip.AddrPortFrom(lab.Hosts[1].Addr4(), port))
	require.Error(t, err)
	all[1].Stop()
	all[1].Stop()
}

// Containers reach each other, their host and hosts outside, which see their
// host's address; from outside, only published ports lead to a container.
func TestContainers(t *testing.T) {
	lab := netlab.New(t, 2)
	host, outside := lab.Hosts[0], lab.Hosts[1]
	b := host.Bridge(1)
	one, two := b.Container(), b.Container()
	run := func(h *netlab.Host) *netlab.Process {
		p := h.Start(t, h.Addr4().String())
		p.Await(time.Time{}, "ready")
		return p
	}
	atHost, atOutside, atOne, atTwo := run(host), run(outside), run(one), run(two)
	hears := func(from *netlab.Process, says *netlab.Host, to netip.Addr, port uint16, hears *netlab.Process, by netip.Addr) {
		t.Helper()
		began := time.Now()
		require.NoError(t, say(t, from, to, port))
		hears.Await(began, "heard", says.Addr4().String(), by.String())
	}
	hears(atOne, one, two.Addr4(), port, atTwo, one.Addr4())
	hears(atOne, one, b.Addr(), port, atHost, one.Addr4())
	hears(atHost, host, one.Addr4(), port, atOne, b.Addr())
	hears(atOne, one, outside.Addr4(), port, atOutside, host.Addr4())
	require.True(t, one.Owns(one.Addr4()))
	require.False(t, one.Owns(host.Addr4()))

	b.Publish(4000, one, port)
	hears(atOutside, outside, host.Addr4(), 4000, atOne, outside.Addr4())
	hears(atHost, host, host.Addr4(), 4000, atOne, host.Addr4())
	hears(atOutside, outside, host.Addr4(), port, atHost, outside.Addr4())
	b.Publish(4000, two, port) // it also counts for earlier flows
	hears(atOutside, outside, host.Addr4(), 4000, atTwo, outside.Addr4())

	outside.Run("ip", "route", "add", "172.16.0.0/12", "via", host.Addr4().String())
	began := time.Now()
	require.NoError(t, say(t, atOutside, two.Addr4(), port+2))
	require.NoError(t, say(t, atOutside, one.Addr4(), port))
	hears(atOutside, outside, host.Addr4(), 4000, atTwo, outside.Addr4())
	for _, e := range atOne.Events() {
		require.False(t, e.Name == "heard" && e.At.After(began), "%v: its port is not published", e)
	}
	b.Remove(one)
	require.ErrorContains(t, say(t, atOne, outside.Addr4(), port), "unreachable")
}
