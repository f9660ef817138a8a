package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// RFC 6762 §8.3, §10, §10.2: two announcements a second apart with all records;
// the cache-flush bit on unique ones only; 4500 s, and 120 s for records with a
// host name.
func TestAnnouncing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		start := time.Now()
		n := run(t, hostOn(link, eth(1)), service("a", "x=1"))
		pass(5 * time.Second)
		said := filter(messages(t, link, 1, start), isResponse)
		require.Len(t, said, 2)
		require.Equal(t, time.Second, said[1].at-said[0].at)
		require.LessOrEqual(t, said[0].at, time.Second)
		for _, m := range said {
			require.Zero(t, m.Id)
			require.True(t, m.Authoritative)
			require.Empty(t, m.Question)
			require.Equal(t, []string{"A", "AAAA", "PTR", "PTR", "SRV", "TXT"}, types(m.Answer))
			require.Equal(t, []string{"NSEC", "NSEC"}, types(m.Extra))
			for _, rr := range append(m.Answer, m.Extra...) {
				h := rr.Header()
				require.Equal(t, h.Rrtype != dns.TypePTR, h.Class&(1<<15) != 0, rr)
				ttl := uint32(120)
				if h.Rrtype == dns.TypePTR || h.Rrtype == dns.TypeTXT {
					ttl = 4500
				}
				require.Equal(t, ttl, h.Ttl, rr)
			}
		}
		require.EqualValues(t, 4, n.Stats().Sent.Announcements.Packets, "over both families")
		require.EqualValues(t, 6, n.Stats().Sent.Probes.Packets)
	})
}

// RFC 6762 §8.4, §10.2: a change is announced within 50 ms, twice; old records
// are flushed; browsers report it once, and do not report the repetition.
func TestChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth(1)), service("a", "v=1"))
		b := run(t, hostOn(link, eth(2)))
		pass(5 * time.Minute) // a no longer repeats its announcement
		start := time.Now()
		require.NoError(t, a.Publish(service("a", "v=2")))
		pass(52 * time.Millisecond)
		require.Len(t, filter(messages(t, link, 1, start), isResponse), 1)
		pass(time.Minute)
		require.Len(t, filter(messages(t, link, 1, start), isResponse), 2)
		require.Empty(t, filter(messages(t, link, 1, start), isProbe), "no new name, no probe")
		require.Equal(t, "found a, found a", b.log())
		require.Equal(t, []string{"v=2"}, b.Instances()[0].TXT)

		// The port changes.
		moved := service("a", "v=2")
		moved.Port = 5555
		require.NoError(t, a.Publish(moved))
		pass(time.Minute)
		require.Len(t, b.seen(), 3)
		require.Equal(t, "[10.0.0.1:5555]", sprint(b.Instances()[0].Addrs))

		// One family goes, and comes back.
		only4 := moved
		only4.IPv6 = false
		require.NoError(t, a.Publish(only4))
		pass(time.Minute)
		require.Empty(t, b.Instances()[0].LinkLocal)
		start = time.Now()
		require.NoError(t, a.Publish(moved))
		pass(time.Minute)
		require.Equal(t, "[[fe80::1%eth0]:5555]", sprint(b.Instances()[0].LinkLocal))
		for _, m := range filter(messages(t, link, 1, start), isResponse) {
			for _, rr := range m.Answer {
				require.NotZero(t, rr.Header().Ttl, "records that were withdrawn before must not be withdrawn again")
			}
		}
		require.Len(t, b.seen(), 5)

		// Publishing the same service again is no change.
		start = time.Now()
		require.NoError(t, a.Publish(moved))
		pass(time.Minute)
		require.Empty(t, filter(messages(t, link, 1, start), func(m message) bool { return isProbe(m) || m.Response && len(m.Answer) > 4 }))
		require.Len(t, b.seen(), 5)
		pass(2 * time.Hour)
		require.Len(t, b.seen(), 5, "refreshes are no events")

		// A goodbye also withdraws a change that was about to be announced.
		start = time.Now()
		require.NoError(t, a.Publish(only4))
		pass(10 * time.Millisecond)
		a.Withdraw()
		pass(time.Second)
		said := messages(t, link, 1, start)
		require.Len(t, said, 1)
		require.Equal(t, []string{"A", "AAAA", "PTR", "SRV", "TXT"}, types(said[0].Answer))
	})
}

// RFC 6762 §8.4: a hundred changes at the same time lead to one announcement
// and its repetition; spread over a second, they lead to two: of the first ones
// and of the last state.
func TestChangesCoalesce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)), service("a", "v=0"))
		b := run(t, hostOn(link, eth4(2)))
		pass(time.Minute)
		start := time.Now()
		for i := range 100 {
			require.NoError(t, a.Publish(service("a", fmt.Sprint("v=", i+1))))
			pass(9 * time.Millisecond)
		}
		pass(200 * time.Millisecond)
		require.Len(t, filter(messages(t, link, 1, start), isResponse), 2)
		pass(time.Minute)
		require.Equal(t, "found a, found a, found a", b.log())
		require.Equal(t, []string{"v=100"}, b.Instances()[0].TXT)

		start = time.Now()
		for i := range 100 {
			require.NoError(t, a.Publish(service("a", fmt.Sprint("w=", i))))
			synctest.Wait()
		}
		pass(time.Minute)
		require.Len(t, filter(messages(t, link, 1, start), func(m message) bool { return m.Response && len(m.Answer) > 4 }), 2)
		require.Len(t, b.seen(), 4)
		require.Equal(t, []string{"w=99"}, b.Instances()[0].TXT)
	})
}

// Publish replaces the set of services: services that are no longer in it are
// withdrawn, and new ones are probed for.
func TestPublishSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth(1)), service("one"), service("two"))
		b := run(t, hostOn(link, eth(2)))
		pass(5 * time.Second)
		require.Len(t, b.Instances(), 2)
		require.NoError(t, a.Publish(service("two"), service("three")))
		pass(5 * time.Second)
		names := []string{}
		for _, i := range b.Instances() {
			names = append(names, i.Name)
		}
		require.Equal(t, []string{"three", "two"}, names)
		require.NotContains(t, b.log(), "lost two")

		require.Error(t, a.Publish(service("one"), service("ONE")))
		for _, s := range []dnssd.Service{
			{Instance: "", Port: 1, IPv4: true},
			{Instance: strings.Repeat("x", 64), Port: 1, IPv4: true},
			{Instance: "a", IPv4: true},
			{Instance: "a", Port: 1},
			{Instance: "a", Port: 1, IPv4: true, TXT: []string{strings.Repeat("x", 256)}},
			{Instance: "a", Port: 1, IPv4: true, TXT: slices.Repeat([]string{"x"}, 130)},
			{Instance: "a", Port: 1, IPv4: true, TXT: slices.Repeat([]string{strings.Repeat("x", 255)}, 33)},
		} {
			require.ErrorIs(t, a.Publish(s), dnssd.ErrInvalidService)
		}
	})
}

// RFC 6762 §10.1: Withdraw and the end of Run send goodbyes, once, and nothing
// after that; browsers drop the instance a second later. The service type,
// which others announce as well, is not withdrawn.
func TestGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth4(1))
		a := run(t, h, service("a"))
		b := run(t, hostOn(link, eth4(2)))
		pass(10 * time.Second)
		start := time.Now()
		a.Withdraw()
		a.Withdraw()
		pass(20 * time.Millisecond)
		said := messages(t, link, 1, start)
		require.Len(t, said, 1)
		require.Equal(t, []string{"A", "PTR", "SRV", "TXT"}, types(said[0].Answer))
		for _, rr := range said[0].Answer {
			require.Zero(t, rr.Header().Ttl)
		}
		require.Equal(t, "found a", b.log(), "kept for a second")
		pass(time.Second)
		require.Equal(t, "found a, lost a", b.log())

		o := newOutsider(t, link, 9)
		o.send(query("a._sd._udp.local. SRV", "_sd._udp.local. PTR"))
		o.send(query("a._sd._udp.local. SRV QU"))
		pass(time.Second)
		require.Empty(t, o.take())

		// The same once more, and then the end of the engine.
		require.NoError(t, a.Publish(service("a")))
		pass(10 * time.Second)
		require.Equal(t, "found a, lost a, found a", b.log())
		start = time.Now()
		a.stop()
		a.stop()
		require.Zero(t, h.Sockets())
		require.Len(t, messages(t, link, 1, start), 1)
		pass(1050 * time.Millisecond)
		require.Equal(t, "found a, lost a, found a, lost a", b.log())
		require.EqualValues(t, 2, a.Stats().Sent.Goodbyes.Packets)
		// Calls after the end are ignored.
		require.NoError(t, a.Publish(service("a")))
		a.Reconfirm("a")
		pass(time.Second)
		require.Len(t, messages(t, link, 1, start), 1)
	})
}

// RFC 6762 §10.1: a goodbye may be forged, and the owner may not hear it. Each
// node that hears it asks, and the owner's answer comes before the instance is
// dropped.
func TestForgedGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		run(t, hostOn(link, eth4(1)), service("a"))
		b := run(t, hostOn(link, eth4(2)))
		pass(30 * time.Minute)
		link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool {
			return f.Src.Addr() == eth4(9).Addrs[0].Addr() && to == eth4(1).Addrs[0].Addr()
		})
		m := reply(t,
			"_sd._udp.local. 0 IN PTR a._sd._udp.local.",
			"a._sd._udp.local. 0 IN SRV 0 0 4242 a.local.",
			"a.local. 0 IN A 10.0.0.1")
		o := newOutsider(t, link, 9)
		o.send(m)
		pass(time.Minute)
		require.Equal(t, "found a", b.log())
	})
}

// RFC 6762 §8.4, §10.1: an address that went and came back before this was
// announced is announced, and not withdrawn.
func TestAddressBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth(1)), service("a"))
		b := run(t, hostOn(link, eth(2)))
		pass(10 * time.Second)
		without := service("a")
		without.IPv6 = false
		require.NoError(t, a.Publish(without))
		pass(300 * time.Millisecond)
		start := time.Now()
		require.NoError(t, a.Publish(service("a")))
		pass(10 * time.Second)
		require.Len(t, b.Instances()[0].LinkLocal, 1)
		for _, m := range messages(t, link, 1, start) {
			for _, rr := range m.Answer {
				require.NotZero(t, rr.Header().Ttl, rr)
			}
		}
	})
}

// A node that stops while it probes again, since the computer has just woken
// up, sends a goodbye as well.
func TestGoodbyeAfterSleep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		h := hostOn(link, eth4(2))
		real := run(t, h, service("real"))
		pass(10 * time.Minute)
		h.Sleep(30 * time.Second)
		pass(30*time.Second + 300*time.Millisecond)
		real.stop()
		pass(3 * time.Second)
		// n loses it during the sleep as well if its last answer is so old that it
		// was asked for another one then.
		require.Regexp(t, "^found real, (lost real, found real, )?lost real$", n.log())
	})
}
