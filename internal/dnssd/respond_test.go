package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// responder returns a node that announces "a" and has been quiet for a while,
// and a host that asks it.
func responder(t *testing.T) (*dnssdtest.Link, *node, *outsider) {
	link := dnssdtest.NewLink()
	n := run(t, hostOn(link, eth(1)), service("a", "x=1"))
	o := newOutsider(t, link, 9)
	pass(5 * time.Minute) // the node no longer repeats its announcement
	o.take()
	return link, n, o
}

// RFC 6762 §6: an answer that other hosts may also give is delayed by 20 to 120
// ms; a unique one is not. Both are multicast.
func TestAnswerDelay(t *testing.T) {
	var delays []time.Duration
	for range 20 {
		bubble(t, func(t *testing.T) {
			_, _, o := responder(t)
			start := time.Now()
			o.send(query("_sd._udp.local. PTR"))
			pass(200 * time.Millisecond)
			got := o.take()
			require.Len(t, got, 1)
			require.True(t, got[0].Dst.Addr().IsMulticast())
			delay := got[0].Time.Sub(start) - 2*time.Millisecond // minus the round trip
			require.GreaterOrEqual(t, delay, 20*time.Millisecond)
			require.LessOrEqual(t, delay, 120*time.Millisecond)
			delays = append(delays, delay)

			pass(2 * time.Second)
			start = time.Now()
			o.send(query("a._sd._udp.local. SRV"))
			pass(200 * time.Millisecond)
			got = o.take()
			require.Len(t, got, 1)
			require.Equal(t, 2*time.Millisecond, got[0].Time.Sub(start))

			// The same holds for unicast.
			start = time.Now()
			o.send(query("_sd._udp.local. PTR QU"))
			pass(200 * time.Millisecond)
			got = o.take()
			require.Len(t, got, 1)
			require.Equal(t, o.addr, got[0].Dst.Addr())
			require.GreaterOrEqual(t, got[0].Time.Sub(start), 22*time.Millisecond)
			require.LessOrEqual(t, got[0].Time.Sub(start), 122*time.Millisecond)

			// Further questions do not postpone it.
			pass(2 * time.Second)
			start = time.Now()
			for range 30 {
				o.send(query("_sd._udp.local. PTR"))
				pass(10 * time.Millisecond)
			}
			require.LessOrEqual(t, o.take()[0].Time.Sub(start), 122*time.Millisecond)
		})
	}
	require.NotEqual(t, delays[0], delays[1])
}

// RFC 6763 §12, RFC 6762 §6.1: a PTR comes with SRV, TXT and addresses; an SRV
// with addresses; an absent type is denied with NSEC.
func TestAdditionals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, _, o := responder(t)
		only4 := service("v4")
		only4.IPv6 = false
		run(t, hostOn(link, eth(2)), only4)
		pass(time.Minute)
		o.take()
		for _, test := range []struct {
			question           string
			answer, additional []string
		}{
			{"_sd._udp.local. PTR", []string{"PTR"}, []string{"A", "AAAA", "SRV", "TXT"}},
			{"a._sd._udp.local. SRV", []string{"SRV"}, []string{"A", "AAAA"}},
			{"v4._sd._udp.local. SRV", []string{"SRV"}, []string{"A", "NSEC"}},
			{"a._sd._udp.local. TXT", []string{"TXT"}, []string{}},
			{"a._sd._udp.local. ANY", []string{"SRV", "TXT"}, []string{"A", "AAAA"}},
			{"a.local. A", []string{"A"}, []string{"AAAA"}},
			{"v4.local. A", []string{"A"}, []string{"NSEC"}},
			{"v4.local. AAAA", []string{"NSEC"}, []string{}},
			{"a._sd._udp.local. A", []string{"NSEC"}, []string{}},
			{"_services._dns-sd._udp.local. PTR", []string{"PTR"}, []string{}},
		} {
			o.send(query(test.question))
			pass(2 * time.Second)
			got := o.take()
			got = slices.DeleteFunc(got, func(m message) bool { return m.Src.Addr() == eth(2).Addrs[0].Addr() && test.question[:3] == "_sd" })
			require.NotEmpty(t, got, test.question)
			require.Equal(t, test.answer, types(got[0].Answer), test.question)
			require.Equal(t, test.additional, types(got[0].Extra), test.question)
			if test.answer[0] == "NSEC" {
				nsec := got[0].Answer[0].(*dns.NSEC)
				require.Equal(t, nsec.Hdr.Name, nsec.NextDomain)
				require.Equal(t, map[string][]uint16{"v4.local.": {dns.TypeA}, "a._sd._udp.local.": {dns.TypeTXT, dns.TypeSRV}}[nsec.Hdr.Name], nsec.TypeBitMap)
			}
			if test.question[:9] == "_services" {
				require.Equal(t, "_sd._udp.local.", got[0].Answer[0].(*dns.PTR).Ptr)
			}
		}
		// Records of other names are not denied.
		o.send(query("b._sd._udp.local. SRV", "_sd._udp.local. TXT", "other.local. A"))
		pass(time.Second)
		require.Empty(t, o.take())
	})
}

// RFC 6762 §7.1: an answer that the questioner lists with at least half of its
// time to live is not given.
func TestKnownAnswerSuppression(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, o := responder(t)
		for ttl, answers := range map[int]int{4500: 0, 2250: 0, 2249: 1, 1: 1} {
			q := query("_sd._udp.local. PTR")
			q.Answer = parse(t, fmt.Sprint("_SD._udp.local. ", ttl, " IN PTR A._sd._UDP.local."))
			o.send(q)
			pass(2 * time.Second)
			require.Len(t, o.take(), answers, ttl)
		}
		// Another instance is not a known answer.
		q := query("_sd._udp.local. PTR")
		q.Answer = parse(t, "_sd._udp.local. 4500 IN PTR b._sd._udp.local.")
		o.send(q)
		pass(2 * time.Second)
		require.Len(t, o.take(), 1)
	})
}

// RFC 6762 §7.2: a query with the TC bit is answered after 400 to 500 ms, in
// view of the known answers that follow it.
func TestTruncatedQuery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, o := responder(t)
		q := query("_sd._udp.local. PTR")
		q.Truncated = true
		start := time.Now()
		o.send(q)
		pass(time.Second)
		got := o.take()
		require.Len(t, got, 1)
		delay := got[0].Time.Sub(start) - 2*time.Millisecond
		require.GreaterOrEqual(t, delay, 400*time.Millisecond)
		require.LessOrEqual(t, delay, 500*time.Millisecond)

		pass(2 * time.Second)
		o.send(q)
		pass(100 * time.Millisecond)
		rest := query()
		rest.Answer = parse(t, "_sd._udp.local. 4500 IN PTR a._sd._udp.local.")
		o.send(rest)
		pass(2 * time.Second)
		require.Empty(t, o.take())

		// The wait begins again with each packet except the last one, even if
		// the packet has questions of its own.
		start = time.Now()
		o.send(q)
		pass(300 * time.Millisecond)
		more := query("a._sd._udp.local. SRV")
		more.Truncated = true
		o.send(more)
		pass(300 * time.Millisecond)
		o.send(rest)
		pass(2 * time.Second)
		got = o.take()
		require.Len(t, got, 1)
		require.Zero(t, records(got, dns.TypePTR))
		require.Equal(t, 1, records(got, dns.TypeSRV))
		require.GreaterOrEqual(t, got[0].Time.Sub(start), 700*time.Millisecond)
		start = time.Now()
		for range 20 {
			o.send(q)
			pass(100 * time.Millisecond)
		}
		pass(time.Second)
		got = o.take()
		require.NotEmpty(t, got)
		require.LessOrEqual(t, got[0].Time.Sub(start), 2100*time.Millisecond, "the wait is limited")
		pass(2 * time.Second)
		o.take()

		// Known answers in the first packet count; those of another host do
		// not.
		some := q.Copy()
		some.Answer = rest.Answer
		o.send(some)
		pass(2 * time.Second)
		require.Empty(t, o.take())
		o.send(q)
		pass(100 * time.Millisecond)
		newOutsider(t, o.link, 10).send(rest)
		pass(2 * time.Second)
		require.Len(t, o.take(), 1)
	})
}

// RFC 6762 §7.4: an answer that another host gives first, with as long a time
// to live, is not given again.
func TestDuplicateAnswerSuppression(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, o := responder(t)
		const services = "_services._dns-sd._udp.local."
		o.send(query(services + " PTR"))
		pass(5 * time.Millisecond)
		o.send(reply(t, "_Services._DNS-SD._udp.local. 4500 IN PTR _sd._udp.local."))
		pass(2 * time.Second)
		require.Empty(t, o.take())

		o.send(query(services + " PTR"))
		pass(5 * time.Millisecond)
		o.send(reply(t, services+" 4000 IN PTR _sd._udp.local."))
		pass(2 * time.Second)
		require.Len(t, o.take(), 1, "a shorter time to live is not enough")
	})
}

// RFC 6762 §6.6: a host that sends a goodbye for a record that we still have is
// corrected.
func TestRescue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, _, o := responder(t)
		o.send(reply(t, "_SD._udp.local. 0 IN PTR a._sd._udp.local."))
		pass(125 * time.Millisecond)
		require.Equal(t, 1, records(o.take(), dns.TypePTR), "although there was no question")

		b := run(t, hostOn(link, eth(2)))
		pass(5 * time.Second)
		o.take()
		o.send(reply(t, "_sd._udp.local. 0 IN PTR a._sd._udp.local."))
		pass(3 * time.Second)
		require.Equal(t, 1, records(o.take(), dns.TypePTR))
		require.Equal(t, "found a", b.log())
	})
}

// RFC 6762 §6.3: the answers to several questions of a packet share a packet,
// and none occurs twice.
func TestSeveralQuestions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, n, o := responder(t)
		o.send(query("a._sd._udp.local. SRV", "a._sd._udp.local. TXT", "a._sd._udp.local. ANY", "A.local. A", "a.local. AAAA", "nobody.local. A"))
		pass(time.Second)
		got := o.take()
		require.Len(t, got, 1)
		require.Equal(t, []string{"A", "AAAA", "SRV", "TXT"}, types(append(got[0].Answer, got[0].Extra...)))

		// The same holds for questions in several packets.
		pass(2 * time.Second)
		o.send(query("_sd._udp.local. PTR"))
		o.send(query("_sd._udp.local. PTR", "_services._dns-sd._udp.local. PTR"))
		pass(time.Second)
		require.Equal(t, 2, records(o.take(), dns.TypePTR))

		// It also holds if unicast answers are asked for, and if two services
		// have a record in common.
		require.NoError(t, n.Publish(service("a", "x=1"), service("b")))
		pass(time.Minute)
		o.take()
		o.send(query("_services._dns-sd._udp.local. PTR", "a._sd._udp.local. SRV QU", "A._sd._udp.local. ANY QU", "_services._dns-sd._udp.local. PTR QU"))
		pass(time.Second)
		for _, m := range o.take() {
			got := types(append(m.Answer, m.Extra...))
			require.Equal(t, slices.Compact(slices.Clone(got)), got)
		}
	})
}

// RFC 6762 §6: a record is not multicast again within a second; a question in
// that time is answered after it. A probe is answered after 250 ms.
func TestAnswerRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, o := responder(t)
		start := time.Now()
		for range 50 {
			o.send(query("a._sd._udp.local. SRV"))
			pass(20 * time.Millisecond)
		}
		pass(2 * time.Second)
		got := o.take()
		require.Len(t, got, 2)
		require.Equal(t, time.Second, got[1].Time.Sub(got[0].Time))
		require.Less(t, got[0].Time.Sub(start), 20*time.Millisecond)

		o.send(query("a._sd._udp.local. SRV"))
		pass(20 * time.Millisecond)
		probe := query("a._sd._udp.local. ANY QU")
		probe.Ns = parse(t, "a._sd._udp.local. 120 IN SRV 0 0 1 other.local.")
		o.send(probe)
		pass(time.Second)
		got = filter(o.take(), func(m message) bool { return m.Dst.Addr().IsMulticast() })
		require.Len(t, got, 3, "SRV; TXT at once; SRV after 250 ms")
		require.Equal(t, 250*time.Millisecond, got[2].Time.Sub(got[0].Time))
	})
}

// RFC 6762 §5.4: a question with the QU bit is answered by unicast, and by
// multicast only if the record was not multicast for a quarter of its time to
// live.
func TestUnicastResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, o := responder(t)
		ask := func() (unicast, multicast int) {
			o.send(query("a._sd._udp.local. SRV QU"))
			pass(500 * time.Millisecond)
			for _, m := range o.take() {
				require.Equal(t, "SRV", types(m.Answer)[0])
				require.Zero(t, m.Id)
				require.NotZero(t, m.Answer[0].Header().Class&(1<<15))
				if m.Dst.Addr() == o.addr {
					unicast++
				} else {
					multicast++
				}
			}
			return
		}
		u, m := ask() // last announced minutes ago: more than 30 s
		require.Equal(t, []int{1, 1}, []int{u, m})
		pass(20 * time.Second)
		u, m = ask()
		require.Equal(t, []int{1, 0}, []int{u, m})
		pass(20 * time.Second)
		u, m = ask()
		require.Equal(t, []int{1, 1}, []int{u, m})
	})
}

// RFC 6762 §6.7: a one-shot query from another port is answered by unicast,
// with its id and question, without the cache-flush bit, with times to live of
// at most 10 s.
func TestLegacyQuery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, n, o := responder(t)
		q := query("A._sd._udp.local. SRV")
		q.Id = 4711
		start := time.Now()
		o.sendFrom(50000, q)
		pass(time.Second)
		got := messages(t, link, 1, start)
		require.Len(t, got, 1)
		require.Equal(t, "10.0.0.9:50000", got[0].Dst.String())
		require.EqualValues(t, 4711, got[0].Id)
		require.Equal(t, q.Question, got[0].Question)
		require.Equal(t, []string{"SRV"}, types(got[0].Answer))
		require.Equal(t, []string{"A", "AAAA"}, types(got[0].Extra))
		for _, rr := range append(got[0].Answer, got[0].Extra...) {
			require.EqualValues(t, 10, rr.Header().Ttl)
			require.EqualValues(t, dns.ClassINET, rr.Header().Class)
		}
		require.EqualValues(t, 1, n.Stats().Sent.Legacy.Packets)
		require.EqualValues(t, 1, n.Stats().Received.Legacy.Packets)

		// There are several questions. Answers that do not fit in the packet
		// are dropped.
		require.NoError(t, n.Publish(service("a", slices.Repeat([]string{strings.Repeat("x", 200)}, 8)...)))
		pass(10 * time.Second)
		start = time.Now()
		o.sendFrom(50000, query("_sd._udp.local. PTR", "a.local. A"))
		pass(time.Second)
		got = messages(t, link, 1, start)
		require.Len(t, got, 1)
		require.Equal(t, []string{"A", "PTR"}, types(got[0].Answer))
		require.Equal(t, []string{"AAAA", "SRV"}, types(got[0].Extra))
	})
}

// RFC 6762 §16: names are compared without regard to the case of ASCII letters;
// labels with arbitrary bytes work.
func TestNames(t *testing.T) {
	for _, label := range []string{"O2onvM62/Z2+ik", "Zoë's Büro", `back\slash`, "dot.ted", `"quoted" (a; b@c)`, "\x00\x1f\x7f\xff", "日本語", "123", "+", `\032`} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			txt := []string{"name=Zoë", `path=C:\x\065`, `q="'`, "bin=\x00\xff\\", "=", "flag"}
			run(t, hostOn(link, eth(1)), service(label, txt...))
			b := run(t, hostOn(link, eth(2)))
			pass(3 * time.Second)
			require.Equal(t, "found "+label, b.log())
			require.Equal(t, txt, b.Instances()[0].TXT)
		})
	}
	bubble(t, func(t *testing.T) {
		_, n, o := responder(t)
		o.send(query("_SD._UDP.LOCAL. PTR"))
		o.send(query("A._sd._UDP.local. SRV"))
		pass(time.Second)
		require.Len(t, o.take(), 2)
		// An instance keeps the spelling in which it was seen.
		o.send(reply(t, "_SD._udp.LOCAL. 4500 IN PTR Bb._sd._UDP.local."))
		o.send(reply(t, "bB._SD._udp.local. 120 IN SRV 0 0 1 hOst.local.", "BB._sd._udp.local. 4500 IN TXT \"\"", "HOST.local. 120 IN A 10.0.0.9"))
		pass(time.Second)
		require.Equal(t, "found Bb", n.log())
		require.Empty(t, n.Instances()[0].TXT)
		require.NoError(t, n.Publish(service("Own")))
		pass(3 * time.Second)
		o.send(instance(t, "oWN", "10.0.0.9", "not=ours"))
		pass(time.Second)
		require.Equal(t, []string{"Bb"}, names(n), "our own name in another case is ours")
	})
}

// Many queries whose sources announce further known answers do not keep others
// from being answered.
func TestTruncatedFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, _, o := responder(t)
		q := query("_sd._udp.local. PTR")
		q.Truncated = true
		b, err := q.Pack()
		require.NoError(t, err)
		pass(time.Minute)
		for i := range 200 {
			link.Inject(b, netip.AddrPortFrom(addr4(300+i), dnssd.Port), dnssd.Groups[dnssd.IPv4])
		}
		pass(350 * time.Millisecond)
		o.take()
		q = query("_sd._udp.local. PTR QU")
		q.Truncated = true
		o.send(q)
		pass(time.Second)
		require.NotEmpty(t, filter(o.take(), func(m message) bool { return m.Dst.Addr() == o.addr }))
	})
}
