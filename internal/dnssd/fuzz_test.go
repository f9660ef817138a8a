package dnssd

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// deaf is a network that accepts packets and delivers none.
type deaf struct {
	sent       int
	joined     int
	refuse     bool // whether joining fails
	interfaces int  // number of further interfaces
	addresses  int  // number of further addresses
}

func (d *deaf) Interfaces() ([]Interface, error) {
	list := []Interface{{Index: 1, Name: "eth0", MTU: 1500, Up: true, Multicast: true, Addrs: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64"),
	}}}
	for i := range d.addresses {
		list[0].Addrs = append(list[0].Addrs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(200 + i)}), 24))
	}
	for i := range d.interfaces {
		more := list[0]
		more.Index += i + 1
		list = append(list, more)
	}
	return list, nil
}

func (d *deaf) Open(Family, func(Packet), func(error)) (Conn, error) { return d, nil }
func (d *deaf) Leave(Interface)                                      { d.joined-- }
func (d *deaf) Close() error                                         { return nil }
func (d *deaf) Send(b []byte, _ Interface, _ netip.AddrPort) error   { d.sent++; return nil }

func (d *deaf) Join(Interface) error {
	if d.refuse {
		return errors.New("refused")
	}
	d.joined++
	return nil
}

// advance lets time pass for an engine that is not running.
func (e *Engine) advance(d time.Duration) {
	for end := e.now.Add(d); ; {
		at, ok := e.timers.next()
		if !ok || at.After(end) {
			e.now = end
			return
		}
		if at.After(e.now) {
			e.now = at
		}
		e.timers.run(e.now)
		e.runPosted()
		e.flushEvents()
	}
}

// FuzzPacket feeds two packets to an engine that announces an instance, knows
// another, and is probing for a third. It must not panic, and its tables must
// stay bounded and consistent.
func FuzzPacket(f *testing.F) {
	seed := func(m *miekg.Msg) []byte {
		b, err := m.Pack()
		require.NoError(f, err)
		return b
	}
	rr := func(s string) miekg.RR {
		r, err := miekg.NewRR(s)
		require.NoError(f, err)
		return r
	}
	ask := &miekg.Msg{}
	ask.SetQuestion("_sd._udp.local.", miekg.TypePTR)
	tell := &miekg.Msg{MsgHdr: miekg.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	for _, s := range []string{
		"_sd._udp.local. 4500 IN PTR b._sd._udp.local.",
		"b._sd._udp.local. 120 CLASS32769 SRV 0 0 4242 b.local.",
		"b._sd._udp.local. 4500 IN TXT \"x=1\" \"\\\\\\\"\"",
		"b.local. 120 IN A 10.0.0.2",
		"b.local. 120 IN AAAA fe80::2",
		"a._sd._udp.local. 120 IN SRV 0 0 1 z.local.",
		"a.local. 120 IN NSEC a.local. A",
	} {
		if r, err := miekg.NewRR(s); err == nil {
			tell.Answer = append(tell.Answer, r)
		}
	}
	bye := &miekg.Msg{MsgHdr: miekg.MsgHdr{Response: true, Authoritative: true}}
	bye.Answer = []miekg.RR{rr("_sd._udp.local. 0 IN PTR b._sd._udp.local.")}
	probe := &miekg.Msg{Question: []miekg.Question{{Name: "c._sd._udp.local.", Qtype: miekg.TypeANY, Qclass: miekg.ClassINET | unicastBit}}}
	probe.Ns = []miekg.RR{rr("c._sd._udp.local. 120 IN SRV 9 9 9 z.local.")}
	truncated := ask.Copy()
	truncated.Truncated = true
	truncated.Answer = tell.Answer[:1]
	for _, m := range []*miekg.Msg{ask, tell, bye, probe, truncated} {
		f.Add(seed(m), seed(tell), uint16(5353), byte(0))
		f.Add(seed(tell), seed(m), uint16(999), byte(1))
		f.Add(seed(tell), seed(m), uint16(5353), byte(4))
		f.Add(seed(m), seed(tell), uint16(5353), byte(12))
	}
	f.Fuzz(func(t *testing.T, one, two []byte, port uint16, how byte) {
		d := &deaf{}
		shown := map[string]bool{}
		probe := func(_ string, at []netip.AddrPort, answered func(netip.AddrPort, error)) {
			switch {
			case how&8 != 0 && len(at) > 0:
				answered(at[0], nil)
			case how&16 != 0:
				answered(netip.AddrPort{}, ErrNoProbe)
			default:
				answered(netip.AddrPort{}, errors.New("no answer"))
			}
		}
		if how&4 == 0 {
			probe = nil
		}
		e, err := New(Config{Service: "_sd._udp", Network: d, MaxInstances: 8, Probe: probe,
			Found: func(i Instance) { shown[i.Name] = true }, Lost: func(name string) { delete(shown, name) }})
		require.NoError(t, err)
		require.NoError(t, e.Publish(Service{Instance: "a", Port: 1, IPv4: true, IPv6: true}))
		e.now = time.Unix(0, 0)
		require.NoError(t, e.openSockets())
		e.pollInterfaces()
		e.applyWanted()
		e.advance(5 * time.Second)
		require.NoError(t, e.Publish(Service{Instance: "a", Port: 1, IPv4: true, IPv6: true}, Service{Instance: "c", Port: 1, IPv4: true}))
		e.applyWanted()
		e.advance(300 * time.Millisecond)

		family, src, dst := IPv4, "10.0.0.2", Groups[IPv4].Addr()
		if how&1 != 0 {
			family, src, dst = IPv6, "fe80::2%eth0", Groups[IPv6].Addr()
		}
		if how&2 != 0 {
			dst = netip.MustParseAddr("10.0.0.1")
		}
		for _, b := range [][]byte{one, two, one} {
			e.receive(received{Packet{b, netip.AddrPortFrom(netip.MustParseAddr(src), port), dst, 1}, family})
			e.advance(700 * time.Millisecond)
		}
		require.LessOrEqual(t, len(e.table), 8)
		require.LessOrEqual(t, len(e.links[1].seen), 8)
		require.Less(t, d.sent, 400)
		before := d.sent
		e.advance(3 * time.Hour)
		require.Less(t, d.sent-before, 600, "only a limited number of missing records may be asked for")
		require.Empty(t, e.links[1].seen, "everything expires")
		require.Empty(t, e.links[1].hosts)
		require.Empty(t, e.table)
		require.Empty(t, e.origins)
		require.Empty(t, e.links[1].held)
		require.Empty(t, e.links[1].timers)
		require.Empty(t, e.Instances())
		require.Empty(t, shown)
		e.withdrawAll()
	})
}
