package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

var (
	wifi = dnssd.Interface{Index: 2, Name: "wifi", Up: true, Multicast: true, Addrs: []netip.Prefix{
		netip.MustParsePrefix("192.168.1.7/24"), netip.MustParsePrefix("fe80::7/64"),
	}}
	bridge  = dnssd.Interface{Index: 3, Name: "bridge", Up: true, Multicast: true, Addrs: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}}
	loop    = dnssd.Interface{Index: 1, Name: "loop", Up: true, Loopback: true, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	vpn     = dnssd.Interface{Index: 4, Name: "vpn", Up: true, Multicast: true, PointToPoint: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32")}}
	bare    = dnssd.Interface{Index: 5, Name: "bare", Up: true, Multicast: true}
	down    = dnssd.Interface{Index: 6, Name: "down", Multicast: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")}}
	deaf    = dnssd.Interface{Index: 7, Name: "deaf", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.10.0.2/24")}}
	printer = netip.MustParseAddrPort("192.168.1.9:5353")
)

// host returns a computer in memory, each of whose interfaces is on a link of
// its own, and a doctor for it.
func host(interfaces ...dnssd.Interface) (*doctor, *dnssdtest.Host, []*dnssdtest.Link) {
	h := dnssdtest.NewHost()
	var links []*dnssdtest.Link
	for _, i := range interfaces {
		links = append(links, dnssdtest.NewLink())
		h.Plug(links[len(links)-1], i)
	}
	return &doctor{app: "test", port: 7373, wait: 3 * time.Second, network: h}, h, links
}

// looks collects the facts about interfaces.
func (d *doctor) looks() *facts {
	f := &facts{system: "linux", on: d.on, app: d.app, port: d.port, wait: d.wait}
	d.links(f)
	return f
}

// listens returns the checks of multicast, by subject.
func (d *doctor) listens(ctx context.Context) (map[string]check, []source) {
	f := d.looks()
	f.ears = d.listen(ctx, f)
	found := map[string]check{}
	for _, c := range f.multicast() {
		found[c.Subject] = c
	}
	return found, f.report().Heard
}

func TestInterfaces(t *testing.T) {
	d, _, _ := host(wifi, bridge, loop, vpn, bare, down, deaf)
	f := d.looks()
	require.Len(t, f.used(), 2)
	require.True(t, f.owns(netip.MustParseAddr("fe80::7")))
	said := map[string]string{}
	for _, c := range f.interfaces() {
		require.Equal(t, fine, c.Verdict)
		said[c.Subject] = c.Value
	}
	require.Equal(t, map[string]string{
		"loop": "127.0.0.1/8, not used: loopback", "wifi": "192.168.1.7/24, fe80::7/64, used", "bridge": "172.17.0.1/16, used",
		"vpn": "10.8.0.2/32, not used: point-to-point, as most VPNs are", "bare": "not used: it has no address",
		"deaf": "10.10.0.2/24, not used: it does not support multicast",
	}, said)

	for _, on := range []string{"vpn", "loop", "deaf"} { // interfaces that are named are used
		d.on = on
		used := d.looks().used()
		require.Len(t, used, 1)
		require.Equal(t, on, used[0].Name)
	}
	for on, says := range map[string]string{"down": "switched off", "bare": "no address", "none": "there is no such interface"} {
		d.on = on
		f = d.looks()
		require.Empty(t, f.used())
		checks := f.interfaces()
		last := checks[len(checks)-1]
		require.Equal(t, fail, last.Verdict)
		require.Equal(t, on, last.Subject)
		require.Contains(t, last.Value, says)
		require.Equal(t, on == "none", strings.Contains(last.Advice, "wifi"))
	}
	d, _, _ = host(loop, vpn)
	require.Equal(t, fail, d.looks().interfaces()[2].Verdict)
	d.network = unlisted{}
	checks := d.looks().interfaces()
	require.Equal(t, fail, checks[0].Verdict)
	require.NotEmpty(t, checks[0].Advice)
}

type unlisted struct{ dnssd.Network }

func (unlisted) Interfaces() ([]dnssd.Interface, error) { return nil, syscall.EPERM }

// The doctor recognizes its own query when it comes back. It counts packets by
// their sender, on the interface on which they came.
func TestMulticast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h, links := host(wifi, bridge, loop)
		said := func(text string, from netip.AddrPort, group int) {
			links[0].Inject([]byte(text), from, dnssd.Groups[group])
		}
		go func() {
			time.Sleep(time.Second)
			said("a", printer, 0)
			said("b", netip.MustParseAddrPort("192.168.1.8:5353"), 0)
			said("b", netip.MustParseAddrPort("192.168.1.8:5353"), 0)
			said("own", netip.MustParseAddrPort("192.168.1.7:5353"), 0) // sent by another program
			for _, f := range links[0].Frames() {
				if f.Src.Addr() == wifi.Addrs[0].Addr() && f.Dst == dnssd.Groups[0] && len(f.Data) > len("own") {
					links[0].Inject(f.Data, printer, f.Dst) // sent by a reflector
					break
				}
			}
			time.Sleep(d.wait)
			said("late", printer, 0)
		}()
		began := time.Now()
		checks, heard := d.listens(t.Context())
		require.Equal(t, d.wait, time.Since(began))
		require.Zero(t, h.Sockets())
		require.Equal(t, check{"multicast", "wifi IPv4", fine, codeOK,
			"its own query came back after 1ms; 4 from 2 others: 192.168.1.8 (2), 192.168.1.9 (2); 1 from programs on this host", ""}, checks["wifi IPv4"])
		require.Equal(t, check{"multicast", "wifi IPv6", fine, codeOK, "its own query came back after 1ms; nothing from others", ""}, checks["wifi IPv6"], "one family that hears others is enough")
		silent := checks["bridge IPv4"]
		require.Equal(t, warn, silent.Verdict)
		require.Equal(t, "its own query came back after 1ms; nothing from others", silent.Value)
		for _, word := range []string{"Wi-Fi", "firewall", "Docker"} {
			require.Contains(t, silent.Advice, word)
		}
		require.Len(t, checks, 3)
		require.Equal(t, []source{
			{"wifi", "IPv4", netip.MustParseAddr("192.168.1.8"), 2}, {"wifi", "IPv4", printer.Addr(), 2},
		}, heard)

		var asked []time.Duration
		for _, f := range links[0].Frames() {
			if m, err := dns.Unpack(f.Data); err == nil && f.Src.Addr() == wifi.Addrs[0].Addr() {
				require.False(t, m.Response)
				require.Equal(t, "_services._dns-sd._udp.local.", m.Question[0].Name)
				require.Equal(t, "_test._udp.local.", m.Question[1].Name)
				direct := m.Question[0].Class&unicastAnswer != 0
				require.Equal(t, len(asked)%2 == 1, direct, "every other query must ask for answers by unicast")
				asked = append(asked, f.Time.Sub(began))
			}
		}
		require.Equal(t, []time.Duration{0, time.Second / 2, time.Second, 2 * time.Second, 3 * time.Second}[:min(len(asked), 5)], asked)
		require.GreaterOrEqual(t, len(asked), 4)
		time.Sleep(time.Minute) // until the goroutine above has ended
	})
}

func TestMulticastOnLoopback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := host(loop)
		d.on = "loop"
		checks, heard := d.listens(t.Context())
		require.Equal(t, map[string]check{"loop IPv4": {"multicast", "loop IPv4", fine, codeOK, "its own query came back after 1ms; there are no others on loopback", ""}}, checks)
		require.Empty(t, heard)
		require.NotNil(t, heard, "nil would be null in JSON")
	})
}

// Memory is bounded, whatever others send, and the count is right nevertheless.
func TestMulticastFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, links := host(bridge)
		time.AfterFunc(time.Second, func() {
			for i := range 3 * maxSources {
				links[0].Inject([]byte{1}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 17, 1 + byte(i>>8), byte(i)}), 5353), dnssd.Groups[0])
			}
		})
		checks, heard := d.listens(t.Context())
		require.Len(t, heard, maxSources)
		require.Contains(t, checks["bridge IPv4"].Value, fmt.Sprint(3*maxSources, " from ", maxSources, " others"))
	})
}

// Devices that answer only by unicast when asked to are told apart from devices
// that always do, and from devices that are heard by multicast.
func TestMulticastKeptBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, links := host(bridge)
		answer := func(after time.Duration, from string, to netip.AddrPort) {
			time.AfterFunc(after, func() { links[0].Inject([]byte(from), netip.MustParseAddrPort(from+":5353"), to) })
		}
		here := netip.AddrPortFrom(bridge.Addrs[0].Addr(), 5353)
		answer(100*time.Millisecond, "172.17.0.2", here) // before any query asked for unicast
		answer(600*time.Millisecond, "172.17.0.2", here)
		answer(600*time.Millisecond, "172.17.0.3", here)
		answer(600*time.Millisecond, "172.17.0.1", here) // the host itself
		f := d.looks()
		f.ears = d.listen(t.Context(), f)
		require.Equal(t, []netip.Addr{netip.MustParseAddr("172.17.0.3")}, f.ears[0].direct)
		require.Zero(t, f.ears[0].packets)
		require.Equal(t, codeSnooping, f.multicast()[0].Code)

		answer(600*time.Millisecond, "172.17.0.3", here)
		answer(700*time.Millisecond, "172.17.0.3", dnssd.Groups[0])
		f.ears = d.listen(t.Context(), f)
		require.Equal(t, codeOK, f.multicast()[0].Code)
	})
}

// A sick network has a fault in its sockets.
type sick struct {
	dnssd.Network
	openErr, sendErr, receiveErr error
	blind                        bool   // does not tell on which interface a packet came
	sent                         func() // called for each packet, if not nil
	passes                       int    // number of packets after which sendErr ends; 0 for never
}

type sickConn struct {
	dnssd.Conn
	sick *sick
}

func (s *sick) Open(f dnssd.Family, deliver func(dnssd.Packet), failed func(error)) (dnssd.Conn, error) {
	if s.openErr != nil {
		return nil, s.openErr
	}
	if s.receiveErr != nil {
		failed(s.receiveErr)
	}
	inner := deliver
	if s.blind {
		deliver = func(p dnssd.Packet) { p.Index = 0; inner(p) }
	}
	c, err := s.Network.Open(f, deliver, failed)
	return sickConn{c, s}, err
}

func (c sickConn) Send(data []byte, ifc dnssd.Interface, to netip.AddrPort) error {
	if err := c.sick.sendErr; err != nil {
		if c.sick.passes--; c.sick.passes == 0 {
			c.sick.sendErr = nil
		}
		return err
	}
	if c.sick.sent != nil {
		c.sick.sent()
	}
	return c.Conn.Send(data, ifc, to)
}

// A temporary fault, such as an IPv6 address that is still being checked, is
// not reported.
func TestMulticastFaultPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h, _ := host(bridge)
		d.network = &sick{Network: h, sendErr: syscall.EADDRNOTAVAIL, passes: 2}
		f := d.looks()
		f.ears = d.listen(t.Context(), f)
		require.NoError(t, f.ears[0].err)
		require.Equal(t, codeUnheard, f.multicast()[0].Code)
	})
}

func TestMulticastFaults(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "listen", Net: "udp4", Err: err} }
	for name, c := range map[string]struct {
		fault  sick
		deaf   bool // nothing arrives
		refuse bool // joining the group fails
		v      verdict
		code   code
		says   []string
	}{
		"healthy":     {v: warn, code: codeUnheard, says: []string{"its own query came back"}},
		"blind":       {fault: sick{blind: true}, v: warn, code: codeUnheard, says: []string{"its own query came back"}},
		"firewall":    {deaf: true, v: fail, code: codeBlockedIn, says: []string{"own query does not come back", "firewall", "5353"}},
		"sends not":   {fault: sick{sendErr: op(syscall.EPERM)}, v: fail, code: codeBlockedOut, says: []string{"cannot send", "not permitted", "5353"}},
		"unreachable": {fault: sick{sendErr: op(syscall.ENETDOWN)}, v: fail, code: codeMute, says: []string{"cannot send", "connected"}},
		"joins not":   {refuse: true, v: fail, code: codeDeaf, says: []string{"cannot join the multicast group"}},
		"taken":       {fault: sick{openErr: op(syscall.EADDRINUSE)}, v: fail, code: codePortTaken, says: []string{"another program has UDP port 5353", "names it"}},
		"no family":   {fault: sick{openErr: op(syscall.EAFNOSUPPORT)}, v: fine, code: codeOK, says: []string{"this host has no IPv4"}},
		"breaks":      {fault: sick{receiveErr: op(syscall.EIO)}, v: fail, code: codeRefused, says: []string{"no socket", "input/output error"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, h, links := host(bridge)
				if c.deaf {
					links[0].Drop(func(dnssdtest.Frame, netip.Addr) bool { return true })
				}
				h.RefuseJoin(c.refuse)
				c.fault.Network = h
				d.network = &c.fault
				checks, _ := d.listens(t.Context())
				got := checks["bridge IPv4"]
				require.Equal(t, c.v, got.Verdict, got)
				require.Equal(t, c.code, got.Code, got)
				require.Equal(t, got.Verdict == fine, got.Advice == "")
				for _, word := range c.says {
					require.Contains(t, got.Value+got.Advice, word)
				}
				require.Zero(t, h.Sockets())
			})
		})
	}
}

// Where the system does not tell on which interface a packet came, the packet's
// source address does.
func TestMulticastBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h, links := host(bridge, wifi)
		d.network = &sick{Network: h, blind: true}
		time.AfterFunc(time.Second, func() { links[1].Inject([]byte("a"), printer, dnssd.Groups[0]) })
		checks, heard := d.listens(t.Context())
		require.Equal(t, []source{{"wifi", "IPv4", printer.Addr(), 1}}, heard)
		require.Equal(t, fine, checks["wifi IPv4"].Verdict)
		require.Equal(t, warn, checks["bridge IPv4"].Verdict)
	})
}

// When the user interrupts the doctor, it ends at once, without half of a
// report.
func TestInterrupted(t *testing.T) {
	d, h, _ := host(bridge)
	ctx, interrupt := context.WithCancel(t.Context())
	d.wait, d.port = time.Hour, freePort(t)
	d.network = &sick{Network: h, sent: interrupt}
	_, err := d.examine(ctx, &target{text: "x", peer: identity.New().Remote()})
	require.ErrorContains(t, err, "interrupted")
	require.Zero(t, h.Sockets())
}
