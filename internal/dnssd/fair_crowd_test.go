package dnssd_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// shared returns a reply whose records do not flush others.
func shared(t testing.TB, records ...string) *dns.Msg {
	m := reply(t, records...)
	for _, rr := range m.Answer {
		rr.Header().Class &^= 1 << 15
	}
	return m
}

// A forger announces another target of an instance, with sixteen addresses that
// come before the real one's, or four more targets, or more ports, or sixteen
// addresses of its host, either before the instance or all the time: the real
// address is always among those that are reported.
func TestCrowdedInstance(t *testing.T) {
	sixteen := func(host string) (list []string) {
		for i := range 16 {
			list = append(list, fmt.Sprintf("%s 4500 IN A 10.0.0.%d", host, 10+i))
		}
		return list
	}
	crowds := map[string]func(host string) []string{
		"another target": func(string) []string {
			return append(sixteen("zz.local."), "real._sd._udp.local. 4500 IN SRV 0 0 9 zz.local.")
		},
		"four others": func(string) (list []string) {
			for i := range 4 {
				host := fmt.Sprintf("z%d.local.", i)
				list = append(append(list, sixteen(host)...), fmt.Sprintf("real._sd._udp.local. 4500 IN SRV 0 0 %d %s", 9+i, host))
			}
			return list
		},
		"ports": func(host string) (list []string) {
			for i := range 8 {
				list = append(list, fmt.Sprintf("real._sd._udp.local. 4500 IN SRV 0 0 %d %s", 9+i, host))
			}
			return list
		},
		"its own host": sixteen,
	}
	for why, crowd := range crowds {
		for _, before := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, before %t", why, before), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					link := dnssdtest.NewLink()
					at := netip.AddrPortFrom(addr4(200), 4242)
					n := runWith(t, hostOn(link, eth4(1)), new(prover).config())
					spy := run(t, hostOn(link, eth4(2)))
					o := newOutsider(t, link, 9)
					pass(time.Minute)
					real := run(t, hostOn(link, eth4(200)), service("real"))
					pass(5 * time.Second)
					host := spy.Instances()[0].Targets[0].Host
					if before {
						real.stop()
						pass(2 * time.Minute)
						o.send(shared(t, append(crowd(host), "_sd._udp.local. 4500 IN PTR real._sd._udp.local.", "real._sd._udp.local. 4500 IN SRV 0 0 7 "+host)...))
						pass(time.Second)
						run(t, hostOn(link, eth4(200)), service("real"))
						pass(5 * time.Second)
					}
					start := time.Now()
					for range 60 {
						o.send(shared(t, crowd(host)...))
						pass(time.Second)
					}
					require.Contains(t, names(n), "real")
					require.Zero(t, n.away(start, "real", at), n.Instances())
					require.Contains(t, n.Instances()[0].Addrs, at)
					require.LessOrEqual(t, len(n.Instances()[0].Addrs), 16)
				})
			})
		}
	}
}

// An address at which an instance has answered stays, whatever is announced by
// others.
func TestProvedAddressStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		at := netip.AddrPortFrom(addr4(200), 4242)
		n := runWith(t, hostOn(link, eth4(1)), new(prover).config())
		run(t, hostOn(link, eth4(200)), service("real"))
		pass(5 * time.Second)
		n.Met("real", at)
		host := n.Instances()[0].Targets[0].Host
		start := time.Now()
		for i := range 200 { // each from another source
			o := addr4(300 + i)
			m := shared(t, fmt.Sprintf("real._sd._udp.local. 4500 IN SRV 0 0 %d %s", 10+i, host), fmt.Sprintf("%s 4500 IN A 10.0.0.%d", host, 1+i%190),
				fmt.Sprintf("real._sd._udp.local. 4500 IN SRV 0 0 9 z%d.local.", i), fmt.Sprintf("z%d.local. 4500 IN A 10.0.0.8", i))
			b, err := m.Pack()
			require.NoError(t, err)
			link.Inject(b, netip.AddrPortFrom(o, 5353), netip.MustParseAddrPort("224.0.0.251:5353"))
			pass(200 * time.Millisecond)
		}
		require.Zero(t, n.away(start, "real", at), n.log())
		require.Len(t, n.Instances()[0].Targets, 4)
	})
}
