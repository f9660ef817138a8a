package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// A prover stands in for the proof of keys: it knows which node holds which
// key.
type prover struct {
	mu        sync.Mutex
	at        map[string]netip.AddrPort // the address at which an instance answers
	connected map[string]bool
	asked     []string
	addrs     []netip.AddrPort
}

func (p *prover) config() dnssd.Config {
	return dnssd.Config{
		Probe: func(instance string, at []netip.AddrPort, answered func(netip.AddrPort, error)) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.asked, p.addrs = append(p.asked, instance), append(p.addrs, at...)
			from, ok := p.at[instance]
			connected := p.connected[instance]
			go func() {
				time.Sleep(10 * time.Millisecond)
				if ok && (connected || slices.Contains(at, from)) {
					answered(from, nil)
					return
				}
				time.Sleep(500 * time.Millisecond)
				answered(netip.AddrPort{}, fmt.Errorf("no answer from %v", at))
			}()
		},
		Connected: func(instance string) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.connected[instance]
		},
	}
}

// forgedGoodbyes are records that withdraw or replace those that "real" on host
// 2 announces, with HOST for its host.
var forgedGoodbyes = map[string][]string{
	"goodbye of its PTR":     {"_sd._udp.local. 0 IN PTR real._sd._udp.local."},
	"goodbye of its SRV":     {"real._sd._udp.local. 0 IN SRV 0 0 4242 HOST"},
	"goodbye of its TXT":     {"real._sd._udp.local. 0 IN TXT \"x=1\""},
	"goodbye of its address": {"HOST 0 IN A 10.0.0.2"},
	"goodbye of all":         {"_sd._udp.local. 0 IN PTR real._sd._udp.local.", "real._sd._udp.local. 0 IN SRV 0 0 4242 HOST", "HOST 0 IN A 10.0.0.2"},
	"another SRV":            {"real._sd._udp.local. 4500 IN SRV 0 0 9 zz.local.", "zz.local. 120 IN A 10.0.0.66"},
	"another address":        {"HOST 4500 IN A 10.0.0.66"},
}

func forged(t testing.TB, n *node, name string, records []string) *dns.Msg {
	t.Helper()
	i := slices.IndexFunc(n.Instances(), func(in dnssd.Instance) bool { return in.Name == name })
	require.GreaterOrEqual(t, i, 0)
	var all []string
	for _, r := range records {
		all = append(all, strings.ReplaceAll(r, "HOST", n.Instances()[i].Targets[0].Host))
	}
	return reply(t, all...)
}

// away returns how long, since a time, an instance was not shown, or not with a
// given address.
func (n *node) away(since time.Time, name string, addr netip.AddrPort) (away time.Duration) {
	var from time.Duration
	gone := false
	note := func(at time.Duration, is bool) {
		switch {
		case is && !gone:
			from, gone = at, true
		case !is && gone:
			away, gone = away+at-from, false
		}
	}
	for _, e := range n.seen() {
		if e.name == name && e.at >= since.Sub(n.start) {
			note(e.at, e.what != "found" || !slices.Contains(e.found.Addrs, addr))
		}
	}
	note(time.Since(n.start), false)
	return away
}

// A forged goodbye, or another record that replaces a real one, does not hide a
// node: whether it is sent once or every second, to all or only to one host.
// The instance is there, and answers.
func TestForgedGoodbyes(t *testing.T) {
	for why, records := range forgedGoodbyes {
		for _, connected := range []bool{false, true} {
			for _, alone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, connected %t, alone %t", why, connected, alone), func(t *testing.T) {
					bubble(t, func(t *testing.T) { forgeGoodbyes(t, records, connected, alone) })
				})
			}
		}
	}
}

func forgeGoodbyes(t *testing.T, records []string, connected, alone bool) {
	link := dnssdtest.NewLink()
	at := netip.AddrPortFrom(addr4(2), 4242)
	p := &prover{at: map[string]netip.AddrPort{"real": at}, connected: map[string]bool{"real": connected}}
	n := runWith(t, hostOn(link, eth4(1)), p.config())
	run(t, hostOn(link, eth4(2)), service("real", "x=1"))
	o := newOutsider(t, link, 66)
	pass(10 * time.Minute)
	m := forged(t, n, "real", records)
	link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return alone && f.Src.Addr() == o.addr && to != addr4(1) })
	start := time.Now()
	for range 60 {
		o.send(m)
		pass(time.Second)
	}
	pass(time.Hour)
	require.Zero(t, n.away(start, "real", at), n.log())
	require.Contains(t, names(n), "real")
}

// The same holds if none of the instance's multicasts arrives for 7 s, while
// goodbyes come twice a second, but its connection is alive.
func TestForgedGoodbyesOfAMutedInstance(t *testing.T) {
	for why, records := range forgedGoodbyes {
		t.Run(why, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				at := netip.AddrPortFrom(addr4(2), 4242)
				p := &prover{at: map[string]netip.AddrPort{"real": at}, connected: map[string]bool{"real": true}}
				n := runWith(t, hostOn(link, eth4(1)), p.config())
				run(t, hostOn(link, eth4(2)), service("real", "x=1"))
				o := newOutsider(t, link, 66)
				pass(time.Minute)
				var muted atomic.Bool
				muted.Store(true)
				link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool {
					return f.Src.Addr() == o.addr && to != addr4(1) || muted.Load() && f.Src.Addr() == addr4(2)
				})
				m := forged(t, n, "real", records)
				start := time.Now()
				for i := range 60 {
					o.send(m)
					pass(time.Second / 2)
					muted.Store(i < 14)
				}
				pass(time.Minute)
				require.Zero(t, n.away(start, "real", at), n.log())
				require.Contains(t, names(n), "real")
			})
		})
	}
}

// An instance that is connected, or has answered within two minutes, is probed
// before a goodbye counts; others are not. If it does not answer, it is gone
// 0.85 s later; if it answers the probe, it has 10 s to answer by multicast.
func TestProbeOfGoodbye(t *testing.T) {
	for _, test := range []struct {
		why             string
		connected       bool
		answered        time.Duration // time since its last answer
		answers, speaks bool          // whether it answers the probe; and by multicast 3.5 s later
		parts           bool          // whether its connection ends then, and it no longer answers
		probed          bool
		gone            time.Duration // when it is gone; 0: it stays
	}{
		{why: "connected", connected: true, answered: time.Hour, answers: true, speaks: true, probed: true},
		{why: "answered lately", answered: time.Minute, answers: true, speaks: true, probed: true},
		{why: "answered long ago", answered: 3 * time.Minute, answers: true, speaks: true, gone: 850 * time.Millisecond},
		{why: "gone", connected: true, answered: time.Hour, probed: true, gone: 850 * time.Millisecond},
		{why: "gone, and was not connected", answered: time.Minute, probed: true, gone: 850 * time.Millisecond},
		{why: "withdrawn, and still there", connected: true, answered: time.Hour, answers: true, probed: true, gone: 10 * time.Second},
		{why: "going", connected: true, answered: time.Hour, answers: true, parts: true, probed: true, gone: 3500 * time.Millisecond},
	} {
		t.Run(test.why, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				at := netip.AddrPortFrom(addr4(2), 4242)
				p := &prover{at: map[string]netip.AddrPort{}, connected: map[string]bool{"real": test.connected}}
				if test.answers {
					p.at["real"] = at
				}
				n := runWith(t, hostOn(link, eth4(1)), p.config())
				o := newOutsider(t, link, 2)
				pass(time.Minute)
				announcement := instance(t, "real", "10.0.0.2", "x=1")
				for _, rr := range announcement.Answer {
					rr.Header().Ttl = 4500
				}
				o.send(announcement)
				pass(10 * time.Second)
				n.Met("real", at)
				pass(test.answered % time.Hour)
				start := time.Now()
				o.send(forged(t, n, "real", forgedGoodbyes["goodbye of all"]))
				pass(3500 * time.Millisecond)
				if test.speaks && test.gone == 0 {
					o.send(announcement)
				}
				if test.parts {
					p.mu.Lock()
					clear(p.at)
					p.mu.Unlock()
					n.Met("real", netip.AddrPort{})
				}
				pass(time.Minute)
				if test.gone == 0 {
					require.Equal(t, "found real", n.log())
				} else {
					require.Equal(t, "found real, lost real", n.log())
					lost := n.seen()[1].at - start.Sub(n.start)
					require.GreaterOrEqual(t, lost, test.gone)
					require.LessOrEqual(t, lost, test.gone+200*time.Millisecond)
				}
				require.Equal(t, test.probed, slices.Contains(p.asked, "real"))
				for _, a := range p.addrs {
					require.Equal(t, at, a)
				}
			})
		})
	}
}

// A node that comes back at another port or address is gone from the former one
// a second later, whatever others ask.
func TestReplacedRecordsGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		p := &prover{at: map[string]netip.AddrPort{"real": netip.AddrPortFrom(addr4(2), 5555)}, connected: map[string]bool{"real": true}}
		n := runWith(t, hostOn(link, eth4(1)), p.config())
		h := hostOn(link, eth4(2))
		real := run(t, h, service("real", "x=1"))
		pass(10 * time.Minute)
		moved := service("real", "x=1")
		moved.Port = 5555
		require.NoError(t, real.Publish(moved))
		pass(2 * time.Second)
		require.Equal(t, []netip.AddrPort{netip.AddrPortFrom(addr4(2), 5555)}, n.Instances()[0].Addrs)
		pass(time.Minute)
		p.mu.Lock()
		p.at["real"] = netip.AddrPortFrom(addr4(3), 5555)
		p.mu.Unlock()
		h.Change(eth4(3))
		pass(5 * time.Second)
		require.Equal(t, []netip.AddrPort{netip.AddrPortFrom(addr4(3), 5555)}, n.Instances()[0].Addrs)
		require.NotContains(t, n.log(), "lost")
	})
}
