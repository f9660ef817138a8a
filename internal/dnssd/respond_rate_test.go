package dnssd_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// RFC 6762 §6: whatever is asked at whatever time, no record is multicast again
// within a second, either as an answer or as an additional record.
func TestRecordRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, _, o := responder(t)
		questions := []string{
			"_sd._udp.local. PTR", "a._sd._udp.local. SRV", "a._sd._udp.local. TXT", "a._sd._udp.local. ANY", "a._sd._udp.local. A",
			"a.local. A", "a.local. AAAA", "a._sd._udp.local. SRV QU", "_services._dns-sd._udp.local. PTR",
		}
		start := time.Now()
		for range 2000 {
			o.send(query(questions[rand.N(len(questions))]))
			pass(rand.N(300 * time.Millisecond))
		}
		last := make(map[string]time.Duration)
		for _, m := range messages(t, link, 1, start) {
			if !m.Response || !m.Dst.Addr().IsMulticast() {
				continue
			}
			for _, rr := range m.Answer {
				if at, ok := last[rr.String()]; ok {
					require.GreaterOrEqual(t, m.at-at, time.Second, rr)
				}
			}
			for _, rr := range append(m.Answer, m.Extra...) {
				last[rr.String()] = m.at
			}
		}
		require.Len(t, last, 7)
	})
}

// RFC 6762 §6, §8.3: an announcement counts, too: a question between the two is
// answered by the second one.
func TestQuestionBetweenAnnouncements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		o := newOutsider(t, link, 9)
		run(t, hostOn(link, eth4(1)), service("a"))
		for len(o.take()) == 0 {
			pass(10 * time.Millisecond)
		}
		o.send(query("a._sd._udp.local. SRV", "a.local. A"))
		o.send(query("_sd._udp.local. PTR"))
		pass(10 * time.Second)
		got := o.take()
		require.Len(t, got, 1)
		require.Equal(t, []string{"A", "PTR", "PTR", "SRV", "TXT"}, types(got[0].Answer))
	})
}

// RFC 6762 §5.5: a query that comes by unicast is answered by unicast.
func TestUnicastQuery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, n, o := responder(t)
		o.send(query("a._sd._udp.local. SRV"))
		pass(5 * time.Second)
		o.take()
		b, err := query("a._sd._udp.local. SRV").Pack()
		require.NoError(t, err)
		link.Inject(b, netip.AddrPortFrom(o.addr, dnssd.Port), netip.AddrPortFrom(addr4(1), dnssd.Port))
		pass(time.Second)
		got := o.take()
		require.Len(t, got, 1)
		require.Equal(t, o.addr, got[0].Dst.Addr())
		require.Zero(t, n.Stats().Sent.Legacy)
	})
}

// RFC 6762 §8.3, §10.1: after the goodbye nothing is sent: neither the second
// announcement, nor an answer that was waiting. Records that changed meanwhile
// are not sent as answers either (§8.4).
func TestNothingAfterGoodbye(t *testing.T) {
	const slow = "_sd._udp.local. PTR" // a shared record, answered after 20 ms or more
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		o := newOutsider(t, link, 9)
		n := run(t, hostOn(link, eth4(1)), service("a"))
		for len(o.take()) == 0 {
			pass(10 * time.Millisecond)
		}
		n.Withdraw()
		pass(5 * time.Second)
		require.Len(t, o.take(), 1)
	})
	for _, qu := range []string{"", " QU"} {
		bubble(t, func(t *testing.T) {
			_, n, o := responder(t)
			o.send(query(slow + qu))
			pass(5 * time.Millisecond)
			n.Withdraw()
			pass(5 * time.Second)
			got := o.take()
			require.Len(t, got, 1)
			require.Zero(t, got[0].Answer[0].Header().Ttl)
		})
		bubble(t, func(t *testing.T) {
			_, n, o := responder(t)
			o.send(query(slow+qu, "a._sd._udp.local. TXT"+qu))
			pass(5 * time.Millisecond)
			require.NoError(t, n.Publish(service("a", "x=2")))
			pass(5 * time.Second)
			for _, m := range o.take() {
				require.NotContains(t, m.String(), "x=1")
			}
		})
	}
	// RFC 6762 §9: a node that has to probe again does not send a waiting
	// unicast answer either.
	bubble(t, func(t *testing.T) {
		_, _, o := responder(t)
		o.send(query(slow + " QU"))
		pass(5 * time.Millisecond)
		o.send(reply(t, "a._sd._udp.local. 120 IN SRV 0 0 1 z.local."))
		pass(200 * time.Millisecond)
		require.Empty(t, o.take())
	})
}

// RFC 6762 §7.1: known answers are listed with the rest of their time to live,
// and not at all if that is less than half.
func TestAgeOfKnownAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(10 * time.Second)
		start := time.Now()
		m := instance(t, "peer", "10.0.0.2", "x=1")
		for _, rr := range m.Answer {
			rr.Header().Ttl = 4500
		}
		o.send(m)
		pass(4499 * time.Second)
		require.Equal(t, "found peer", n.log())
		listed := 0
		for _, m := range filter(messages(t, link, 1, start), asksFor(dns.TypePTR)) {
			age := m.at - time.Millisecond
			require.Equal(t, age <= 2250*time.Second, len(m.Answer) == 1, age)
			if len(m.Answer) == 1 {
				listed++
				require.EqualValues(t, (4500*time.Second-age)/time.Second, m.Answer[0].Header().Ttl)
			}
		}
		require.Greater(t, listed, 5)
	})
}

// RFC 6762 §6: the second between two multicasts of a record also applies to
// additional records and to announcements of a change.
func TestAdditionalRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)), service("a", "v=1"))
		o := newOutsider(t, link, 9)
		pass(time.Minute)
		start := time.Now()
		for _, q := range []string{"a.local. A", "a._sd._udp.local. SRV", "_sd._udp.local. PTR"} {
			o.send(query(q))
			pass(100 * time.Millisecond)
		}
		require.NoError(t, a.Publish(service("a", "v=2")))
		pass(10 * time.Second)
		last := map[string]time.Duration{}
		for _, m := range filter(messages(t, link, 1, start), isResponse) {
			for _, rr := range append(m.Answer, m.Extra...) {
				if at, ok := last[rr.String()]; ok {
					require.GreaterOrEqual(t, m.at-at, time.Second, rr)
				}
				last[rr.String()] = m.at
			}
		}
		require.Contains(t, sprint(last), "v=2")
	})
}
