package dnssd_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// RFC 6762 §5.2, §10: records are asked for again at 80, 85, 90 and 95 % of
// their time to live; without an answer the instance is lost at 100 %, without
// any packet.
func TestRefreshAndExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(time.Minute)
		start := time.Now()
		o.send(instance(t, "peer", "10.0.0.2", "x=1"))
		pass(119 * time.Second)
		require.Equal(t, "found peer", n.log())
		asked := filter(messages(t, link, 1, start), asksFor(dns.TypeSRV))
		require.Len(t, asked, 4)
		for i, m := range asked {
			require.Len(t, m.Question, 2, "SRV and A together")
			percent := float64(m.at) / float64(120*time.Second) * 100
			require.InDelta(t, 80+5*i+1, percent, 1.1)
		}
		require.Empty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeTXT)))
		pass(1002 * time.Millisecond)
		require.Equal(t, "found peer, lost peer", n.log())
	})
	bubble(t, func(t *testing.T) { // of any type, and together
		link := dnssdtest.NewLink()
		run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(time.Minute)
		announce := func(label string) {
			m := instance(t, label, "10.0.0.2", "x=1")
			for _, rr := range m.Answer {
				rr.Header().Ttl = 1000
			}
			o.send(m)
		}
		start := time.Now()
		announce("peer")
		pass(10 * time.Minute)
		announce("later")
		require.Empty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeTXT)))
		pass(390 * time.Second)
		asked := filter(messages(t, link, 1, start), asksFor(dns.TypeTXT))
		require.Len(t, asked, 4)
		for _, m := range asked {
			require.Len(t, m.Question, 4, "PTR, SRV, TXT and A")
			require.Equal(t, []string{"PTR"}, types(m.Answer), "known: later")
		}
	})
}

// RFC 6762 §5.2: a peer that answers refreshes stays.
func TestRefreshed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth(1)), service("a"))
		b := run(t, hostOn(link, eth(2)), service("b"))
		pass(24 * time.Hour)
		require.Equal(t, "found b", a.log())
		require.Equal(t, "found a", b.log())
	})
}

// RFC 6762 §10.2: records with the cache-flush bit replace older ones of the
// same type, and no others.
func TestCacheFlush(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)))
		o := newOutsider(t, link, 2)
		pass(time.Second)
		o.send(instance(t, "p", "10.0.0.2", "x=1"))
		o.send(reply(t, "p.local. 120 IN A 10.0.0.3"))
		pass(500 * time.Millisecond)
		require.Equal(t, "[10.0.0.2:4242 10.0.0.3:4242]", sprint(n.Instances()[0].Addrs), "within a second, records belong to the same set")
		pass(5 * time.Second)
		o.send(reply(t, "p.local. 120 IN A 10.0.0.4"))
		pass(500 * time.Millisecond)
		require.Equal(t, "[10.0.0.4:4242]", sprint(n.Instances()[0].Addrs))
		pass(time.Minute)
		require.Equal(t, "[10.0.0.4:4242]", sprint(n.Instances()[0].Addrs))
		require.Equal(t, "found p, found p, found p", n.log())

		// Only records of the same type are flushed, and a goodbye flushes
		// none.
		o.send(reply(t, "p.local. 120 IN AAAA fe80::2"))
		pass(5 * time.Second)
		o.send(reply(t, "p.local. 120 IN A 10.0.0.4", "p.local. 120 IN A 10.0.0.6"))
		pass(5 * time.Second)
		o.send(reply(t, "p.local. 0 IN A 10.0.0.6", "p.local. 0 IN AAAA fe80::3"))
		pass(5 * time.Second)
		require.Equal(t, "[10.0.0.4:4242]", sprint(n.Instances()[0].Addrs))
		require.Equal(t, "[[fe80::2%eth0]:4242]", sprint(n.Instances()[0].LinkLocal))

		// Records that were flushed do not come back.
		o.send(reply(t, "p.local. 120 IN A 10.0.0.5"))
		pass(3 * time.Second)
		o.send(reply(t, "p.local. 0 IN A 10.0.0.5", "p.local. 0 IN AAAA fe80::2"))
		pass(3 * time.Second)
		require.Empty(t, n.Instances())
		o.send(instance(t, "p", "10.0.0.4", "x=1"))
		pass(time.Second)

		// A change of the priority is reported, too.
		o.send(reply(t, "p._sd._udp.local. 120 IN SRV 7 0 4242 p.local."))
		pass(3 * time.Second)
		require.EqualValues(t, 7, n.Instances()[0].Targets[0].Priority)

		// Several SRV records without the bit are kept side by side; loopback
		// addresses and invalid ones do not count.
		m := reply(t, "p._sd._udp.local. 120 IN SRV 1 0 99 q.local.", "q.local. 120 IN A 10.0.0.5", "q.local. 120 IN A 127.0.0.1",
			"q.local. 120 IN A 224.0.0.1", "q.local. 120 IN A 0.0.0.0", "q.local. 120 IN A 192.0.2.7", "q.local. 120 IN AAAA fe80::7")
		m.Answer[0].Header().Class &^= 1 << 15
		o.send(m)
		pass(time.Second)
		got := n.Instances()[0]
		require.Len(t, got.Targets, 2)
		require.EqualValues(t, 7, got.Targets[1].Priority)
		require.Equal(t, "[10.0.0.5:99 10.0.0.4:4242]", sprint(got.Addrs), "in the order of priority")
		require.Equal(t, "[192.0.2.7:99]", sprint(got.OffLink))
		require.Equal(t, "[[fe80::7%eth0]:99]", sprint(got.LinkLocal))
	})
}

// A record without a port is ignored.
func TestNoPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(time.Second)
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR a._sd._udp.local.", "a._sd._udp.local. 120 IN SRV 0 0 0 a.local.",
			"a._sd._udp.local. 4500 IN TXT \"x=1\"", "a.local. 120 IN A 10.0.0.2"))
		pass(time.Minute)
		require.Empty(t, n.log())
	})
}
