package dnssd_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// announcements returns the times, since a given time, at which a host
// announced everything.
func announcements(t *testing.T, link *dnssdtest.Link, from int, since time.Time) (at []time.Duration) {
	for _, m := range filter(messages(t, link, from, since), isResponse) {
		if records([]message{m}, dns.TypePTR) == 2 {
			at = append(at, m.at)
		}
	}
	return at
}

// Unanswered announcements are repeated: every 8 s for two minutes, and after
// 64 s; each time after a question.
func TestUnheard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		start := time.Now()
		run(t, hostOn(link, eth4(1)), service("a"))
		newOutsider(t, link, 2)
		pass(10 * time.Hour)
		said := announcements(t, link, 1, start)
		require.Len(t, said, 2+15+1)
		asked := filter(messages(t, link, 1, start), asksFor(dns.TypePTR))
		for i, at := range said[1:] {
			switch wait := at - said[i]; {
			case i == 0:
				require.Equal(t, time.Second, wait)
			case i <= 15:
				require.Equal(t, 8*time.Second, wait)
			default:
				require.Equal(t, 64*time.Second, wait)
			}
			require.True(t, i == 0 || len(filter(asked, func(m message) bool { return m.at == at-time.Second })) == 1, at)
		}
	})
}

// They are not repeated if another host shows that it has heard one: if it
// lists the instance as known, asks for it by name, or answered a question
// before the announcement. If a node only answers later, there is one more
// announcement.
func TestHeard(t *testing.T) {
	known := func(m *dns.Msg, ttl string) *dns.Msg {
		m.Answer = parse(t, "_sd._udp.local. "+ttl+" IN PTR A._sd._udp.local.")
		return m
	}
	probe := query("a._sd._udp.local. ANY")
	probe.Ns = parse(t, "a._sd._udp.local. 120 IN SRV 0 0 4242 a.local.")
	for _, test := range []struct {
		name  string
		say   *dns.Msg
		again int // announcements after the packet
	}{
		{"known answer", known(query("_sd._udp.local. PTR"), "4000"), 0},
		{"known answer of another question", known(query("_ipp._tcp.local. PTR"), "4000"), 0},
		{"known answer that runs out", known(query("_sd._udp.local. PTR"), "2000"), 16},
		{"question for all", query("_sd._udp.local. PTR"), 16},
		{"question for the instance", query("a._sd._udp.local. SRV"), 0},
		{"question for the host", query("A.local. A"), 0},
		{"question for another", query("b._sd._udp.local. SRV"), 16},
		{"probe", probe, 16},
		{"answer to nothing", instance(t, "b", "10.0.0.2", "x=1"), 16},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				run(t, hostOn(link, eth4(1)), service("a"))
				o := newOutsider(t, link, 2)
				pass(5 * time.Second)
				start := time.Now()
				o.send(test.say)
				pass(time.Hour)
				require.Len(t, announcements(t, link, 1, start), test.again)
			})
		})
	}
	for _, test := range []struct {
		late         time.Duration
		before, then int
	}{{0, 2, 0}, {30 * time.Second, 5, 1}} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			start := time.Now()
			if test.late == 0 {
				crowd(t, link, 1)
			}
			n := run(t, hostOn(link, eth4(1)), service("a"))
			pass(30 * time.Second)
			require.Len(t, announcements(t, link, 1, start), test.before)
			if test.late > 0 {
				crowd(t, link, 1)
			}
			start = time.Now()
			pass(time.Hour)
			require.Len(t, announcements(t, link, 1, start), test.then)
			require.Contains(t, n.log(), "found peer00000")
		})
	}
}

// An answer to our question about an instance that we know shows who hears us,
// if the other hosts have nothing to announce. An answer to another host's
// question does not.
func TestAnswersThatCount(t *testing.T) {
	for _, test := range []struct {
		name   string
		typ    uint16
		answer []string
		other  bool // another host has asked
		then   int
	}{
		{"answer to us", dns.TypeSRV, []string{"b._sd._udp.local. 120 IN SRV 0 0 4242 b.local."}, false, 1},
		{"answer to another", dns.TypeSRV, []string{"b._sd._udp.local. 120 IN SRV 0 0 4242 b.local."}, true, 16},
		{"answer to us for all", dns.TypePTR, []string{"_sd._udp.local. 4500 IN PTR b._sd._udp.local."}, false, 1},
		{"answer to another for all", dns.TypePTR, []string{"_sd._udp.local. 4500 IN PTR b._sd._udp.local."}, true, 15}, // answered before announcing
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				run(t, hostOn(link, eth4(1)), service("a"))
				o, other := newOutsider(t, link, 2), newOutsider(t, link, 3)
				for len(announcements(t, link, 1, time.Now().Add(-10*time.Second))) < 2 {
					pass(time.Millisecond)
				}
				start := time.Now()
				pass(900 * time.Millisecond) // long after a question
				o.send(instance(t, "b", "10.0.0.2", "x=1"))
				pass(6100*time.Millisecond + 10*time.Millisecond)
				asked := filter(messages(t, link, 1, start), func(m message) bool { return m.at > 6900*time.Millisecond })
				require.Len(t, asked, 1)
				require.Equal(t, []string{"b._sd._udp.local.", "_sd._udp.local."}, []string{asked[0].Question[1].Name, asked[0].Question[0].Name})
				if test.other {
					other.send(query(test.answer[0][:strings.Index(test.answer[0], " ")] + " " + dns.TypeToString[test.typ]))
					pass(10 * time.Millisecond)
				}
				o.send(reply(t, test.answer...))
				pass(time.Hour)
				require.Len(t, announcements(t, link, 1, start), test.then)
			})
		})
	}
}

// A change of the service does not lead to another question.
func TestHeardOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)), service("a"))
		o := newOutsider(t, link, 2)
		pass(5 * time.Second)
		o.send(query("a.local. A"))
		pass(20 * time.Minute)
		start := time.Now()
		for range 3 {
			require.NoError(t, n.Publish(service("a", fmt.Sprint(time.Now()))))
			pass(time.Minute)
		}
		require.Empty(t, filter(messages(t, link, 1, start), asksFor(dns.TypePTR)))
	})
}

// After a link comes up anew, or a socket has failed, it is unknown who hears
// us.
func TestUnheardAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)), service("a"))
		o := newOutsider(t, link, 2)
		pass(5 * time.Second)
		o.send(query("a.local. A"))
		pass(time.Hour)
		n.host.Sleep(2 * time.Minute)
		pass(3 * time.Minute)
		start := time.Now()
		pass(5 * time.Minute)
		require.Greater(t, len(announcements(t, link, 1, start)), 3)
	})
}

// A question for instances from an address at which we know none is a reason to
// ask: 2 to 3 s later, if there is still none, at most every 8 s, and less and
// less often because of the same address.
func TestStranger(t *testing.T) {
	asks := func(t *testing.T, link *dnssdtest.Link, since time.Time) []message {
		return filter(messages(t, link, 1, since), asksFor(dns.TypePTR))
	}
	for _, q := range []string{"_sd._udp.local. PTR", "_SD._udp.local. PTR", "b._sd._udp.local. SRV", "a._sd._udp.local. TXT"} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			run(t, hostOn(link, eth4(1)), service("a"))
			o := newOutsider(t, link, 2)
			pass(80 * time.Minute)
			start := time.Now()
			o.send(query("_ipp._tcp.local. PTR"))
			probe := query("b._sd._udp.local. ANY QU")
			probe.Ns = parse(t, "b._sd._udp.local. 120 IN SRV 0 0 1 b.local.")
			o.send(probe)
			o.sendFrom(999, query("_sd._udp.local. PTR"))
			pass(20 * time.Second)
			require.Empty(t, asks(t, link, start), "only questions for our service count")

			start = time.Now()
			o.send(query(q))
			pass(10 * time.Second)
			require.Len(t, asks(t, link, start), 1)
			require.GreaterOrEqual(t, asks(t, link, start)[0].at, 2*time.Second)
			require.Less(t, asks(t, link, start)[0].at, 3*time.Second+10*time.Millisecond)
			pass(20 * time.Second)

			start = time.Now()
			for range 1200 {
				o.send(query(q))
				pass(time.Second)
			}
			require.Len(t, asks(t, link, start), 6, "after 32, 64 … 512 s")

			start = time.Now()
			newOutsider(t, link, 3).send(query(q))
			pass(time.Second)
			newOutsider(t, link, 3).send(instance(t, "b", "10.0.0.3", "x=1"))
			pass(20 * time.Second)
			require.Empty(t, asks(t, link, start), "the stranger has announced itself")
			newOutsider(t, link, 3).send(query(q))
			pass(20 * time.Second)
			require.Empty(t, asks(t, link, start), "the host is no longer a stranger")
		})
	}
	// Many strangers do not displace a question that is due.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		pass(8 * time.Second)
		b, err := query("_sd._udp.local. PTR").Pack()
		require.NoError(t, err)
		for i := range 400 {
			link.Inject(b, netip.AddrPortFrom(addr4(1000+i), dnssd.Port), dnssd.Groups[dnssd.IPv4])
			pass(200 * time.Millisecond)
		}
		require.LessOrEqual(t, len(asks(t, link, n.start)), 4+10+3)
		require.GreaterOrEqual(t, len(asks(t, link, n.start)), 4+9+3)
		for _, at := range []time.Duration{15, 31, 63} {
			require.NotEmpty(t, filter(asks(t, link, n.start), func(m message) bool {
				return m.at >= at*time.Second && m.at <= (at*9/8+1)*time.Second
			}))
		}
	})
}
