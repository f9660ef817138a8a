package dnssd_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// Another host repeats an instance's records with a short time to live, to all
// or only to one host: this is a goodbye in disguise, and does not hide the
// instance either.
func TestShortTimesToLive(t *testing.T) {
	for what, record := range map[string]string{
		"PTR":     "_sd._udp.local. TTL IN PTR real._sd._udp.local.",
		"SRV":     "real._sd._udp.local. TTL IN SRV 0 0 4242 real.local.",
		"TXT":     "real._sd._udp.local. TTL IN TXT \"x=1\"",
		"address": "real.local. TTL IN A 10.0.0.2",
	} {
		for _, ttl := range []int{1, 5, 11} {
			for _, alone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d s, alone %t", what, ttl, alone), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						link := dnssdtest.NewLink()
						p := &prover{}
						n := runWith(t, hostOn(link, eth4(1)), p.config())
						run(t, hostOn(link, eth4(2)), service("real", "x=1"))
						o := newOutsider(t, link, 66)
						pass(10 * time.Minute)
						link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return alone && f.Src.Addr() == o.addr && to != addr4(1) })
						m := reply(t, replaceTTL(record, ttl))
						start := time.Now()
						for range 60 {
							o.send(m)
							pass(time.Second)
						}
						pass(3 * time.Minute)
						for range 20 {
							o.send(m)
							pass(21 * time.Second)
						}
						require.Zero(t, n.away(start, "real", netip.AddrPortFrom(addr4(2), 4242)), n.log())
					})
				})
			}
		}
	}
}

// Questions that only one host hears are not answered by others. They do not
// keep that host from asking its own.
func TestQuestionsToOneHostAlone(t *testing.T) {
	setup := func(t *testing.T) (link *dnssdtest.Link, n *node, question []byte, flood func(d time.Duration)) {
		link = dnssdtest.NewLink()
		p := &prover{}
		n = runWith(t, hostOn(link, eth4(1)), p.config())
		run(t, hostOn(link, eth4(3)), service("other"))
		q := query("_sd._udp.local. PTR", "real._sd._udp.local. SRV", "real._sd._udp.local. TXT", "real.local. A", "real.local. AAAA")
		b, err := q.Pack()
		require.NoError(t, err)
		link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return bytes.Equal(f.Data, b) && to != addr4(1) })
		return link, n, b, func(d time.Duration) {
			for range d / (500 * time.Millisecond) {
				link.Inject(b, netip.AddrPortFrom(addr4(3), dnssd.Port), dnssd.Groups[dnssd.IPv4])
				pass(500 * time.Millisecond)
			}
		}
	}
	at := netip.AddrPortFrom(addr4(2), 4242)
	t.Run("known", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			link, n, _, flood := setup(t)
			run(t, hostOn(link, eth4(2)), service("real", "x=1"))
			pass(10 * time.Minute)
			start := time.Now()
			flood(time.Hour)
			require.Zero(t, n.away(start, "real", at), n.log())
		})
	})
	t.Run("said goodbye", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			link, n, question, flood := setup(t)
			run(t, hostOn(link, eth4(2)), service("real", "x=1"))
			pass(10 * time.Minute)
			start := time.Now()
			o := newOutsider(t, link, 67)
			for range 20 {
				flood(2 * time.Second)
				if !slices.Contains(names(n), "real") {
					break
				}
				m := forged(t, n, "real", forgedGoodbyes["goodbye of all"])
				link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool {
					return (f.Src.Addr() == o.addr || bytes.Equal(f.Data, question)) && to != addr4(1)
				})
				o.send(m)
				flood(2 * time.Second)
			}
			require.Zero(t, n.away(start, "real", at), n.log())
		})
	})
}

// A node that leaves with a goodbye is gone within a second, however recently
// it was heard.
func TestGoneWithinASecond(t *testing.T) {
	for _, since := range []time.Duration{0, 10, 100, 300, 700, 1000, 1300, 5000, 200_000} {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprint(since, connected), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					link := dnssdtest.NewLink()
					p := &prover{at: map[string]netip.AddrPort{"real": netip.AddrPortFrom(addr4(2), 4242)}, connected: map[string]bool{"real": connected}}
					n := runWith(t, hostOn(link, eth4(1)), p.config())
					pass(time.Minute)
					real := run(t, hostOn(link, eth4(2)), service("real", "x=1"))
					for len(names(n)) == 0 {
						pass(10 * time.Millisecond)
					}
					pass(since * time.Millisecond)
					start := time.Now()
					p.mu.Lock()
					clear(p.at)
					p.mu.Unlock()
					real.stop()
					pass(20 * time.Millisecond)
					p.mu.Lock()
					clear(p.connected)
					p.mu.Unlock()
					n.Met("real", netip.AddrPort{})
					pass(time.Minute)
					all := n.seen()
					last := all[len(all)-1]
					require.Equal(t, "lost", last.what)
					require.LessOrEqual(t, last.at-start.Sub(n.start), time.Second)
				})
			})
		}
	}
}

// A goodbye that is forged just when a node was heard does not hide it either,
// although the node may not multicast the same records again so soon.
func TestForgedGoodbyeJustNow(t *testing.T) {
	for _, since := range []time.Duration{0, 10, 100, 200, 300, 700, 1000, 1200} {
		for _, alone := range []bool{false, true} {
			t.Run(fmt.Sprint(since, alone), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					link := dnssdtest.NewLink()
					at := netip.AddrPortFrom(addr4(2), 4242)
					p := &prover{}
					n := runWith(t, hostOn(link, eth4(1)), p.config())
					o := newOutsider(t, link, 66)
					link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return alone && f.Src.Addr() == o.addr && to != addr4(1) })
					pass(time.Minute)
					run(t, hostOn(link, eth4(2)), service("real", "x=1"))
					for len(names(n)) == 0 {
						pass(time.Millisecond)
					}
					start := time.Now()
					m := forged(t, n, "real", forgedGoodbyes["goodbye of all"])
					pass(since * time.Millisecond)
					o.send(m)
					pass(time.Minute)
					require.Zero(t, n.away(start, "real", at), n.log())
				})
			})
		}
	}
}

// Forged goodbyes for many instances at the same time hide none that is there.
func TestForgedGoodbyesOfMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		p := &prover{}
		n := runWith(t, hostOn(link, eth4(1)), p.config())
		var all []dnssd.Service
		for i := range 150 {
			all = append(all, service(fmt.Sprintf("real%d", i)))
		}
		run(t, hostOn(link, eth4(2)), all...)
		o := newOutsider(t, link, 900)
		pass(5 * time.Minute)
		require.Len(t, names(n), 150)
		start := time.Now()
		for range 20 {
			for i := 0; i < 150; i += 15 {
				var all []string
				for j := i; j < i+15; j++ {
					all = append(all, fmt.Sprintf("_sd._udp.local. 0 IN PTR real%d._sd._udp.local.", j), fmt.Sprintf("real%d._sd._udp.local. 0 IN SRV 0 0 4242 real%d.local.", j, j))
				}
				o.send(reply(t, all...))
			}
			pass(time.Second)
		}
		pass(time.Minute)
		lost := 0
		for _, e := range n.seen() {
			if e.what == "lost" && e.at > start.Sub(n.start) {
				lost++
			}
		}
		require.Zero(t, lost)
		require.Len(t, names(n), 150)
	})
}

func replaceTTL(record string, ttl int) string {
	return strings.Replace(record, "TTL", fmt.Sprint(ttl), 1)
}

// A node that shuts down sends its goodbye first, and answers over its
// connections until these end: it is gone when they do, or once its goodbye
// counts.
func TestGoneWithItsConnection(t *testing.T) {
	for _, parts := range []time.Duration{50, 200, 400, 800, 900, 3000} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			p := &prover{at: map[string]netip.AddrPort{"real": netip.AddrPortFrom(addr4(2), 4242)}, connected: map[string]bool{"real": true}}
			n := runWith(t, hostOn(link, eth4(1)), p.config())
			real := run(t, hostOn(link, eth4(2)), service("real", "x=1"))
			pass(time.Minute)
			start := time.Now()
			real.stop()
			pass(parts * time.Millisecond)
			p.mu.Lock()
			clear(p.at)
			clear(p.connected)
			p.mu.Unlock()
			n.Met("real", netip.AddrPort{})
			pass(time.Minute)
			require.Equal(t, "found real, lost real", n.log())
			require.LessOrEqual(t, n.seen()[1].at-start.Sub(n.start), max(time.Second, parts*time.Millisecond))
		})
	}
}

// No forger can make a node send packets to a host outside the link: an
// instance that is announced elsewhere is not probed there when it is
// withdrawn, unless it has answered there.
func TestProbesStayOnTheLink(t *testing.T) {
	for _, answered := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			p := &prover{}
			n := runWith(t, hostOn(link, eth4(1)), p.config())
			o := newOutsider(t, link, 66)
			pass(time.Minute)
			at := netip.MustParseAddrPort("203.0.113.9:4242")
			for i := range 10 {
				label := fmt.Sprint("forged", i)
				m := instance(t, label, "203.0.113.9", "x=1")
				o.send(m)
				pass(500 * time.Millisecond)
				if answered {
					n.Met(label, at)
					pass(time.Millisecond)
				}
				m.Answer = m.Answer[:1]
				m.Answer[0].Header().Ttl = 0
				o.send(m)
				pass(5 * time.Second)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			require.Equal(t, answered, slices.Contains(p.addrs, at))
		})
	}
}
