package dnssd_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// RFC 6762 §10.4: an instance that cannot be reached is asked for, and lost
// after 10 s without an answer; an instance that answers stays.
func TestReconfirm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)))
		run(t, hostOn(link, eth(2)), service("alive"))
		o := newOutsider(t, link, 3)
		pass(5 * time.Second)
		o.send(instance(t, "dead", "10.0.0.3", "x=1"))
		pass(5 * time.Second)
		require.Equal(t, "found alive, found dead", n.log())
		start := time.Now()
		n.Reconfirm("ALIVE")
		n.Reconfirm("DEAD")
		n.Reconfirm("never heard of")
		for range 99 {
			pass(100 * time.Millisecond)
			n.Reconfirm("dead")
		}
		require.Len(t, n.Instances(), 2)
		pass(200 * time.Millisecond)
		require.Equal(t, "found alive, found dead, lost dead", n.log())
		asked := filter(messages(t, link, 1, start), asksFor(dns.TypeSRV))
		require.GreaterOrEqual(t, len(asked), 2)
		require.LessOrEqual(t, len(asked), 6)
		alive := 0
		for _, m := range asked {
			for _, q := range m.Question {
				if q.Name == "alive._sd._udp.local." {
					alive++
				}
			}
		}
		require.Equal(t, 1, alive, "no more questions after an answer")
		pass(time.Hour)
		require.Len(t, n.Instances(), 1)

		// An instance that answered once may be gone the next time.
		link.Drop(func(f dnssdtest.Frame, _ netip.Addr) bool { return f.Src.Addr() == addr4(2) || f.Src.Addr().Is6() })
		n.Reconfirm("alive")
		pass(10100 * time.Millisecond)
		require.Empty(t, n.Instances())
	})
}

// RFC 6763 §12: records that do not come with the PTR are asked for; an
// instance is reported when it is complete, and forgotten if it never is.
func TestResolve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(time.Minute)
		start := time.Now()
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR x._sd._udp.local."))
		pass(150 * time.Millisecond)
		asked := messages(t, link, 1, start)
		require.Len(t, asked, 1)
		require.Len(t, asked[0].Question, 2)
		o.send(reply(t, "x._sd._udp.local. 120 IN SRV 0 0 7 h.local.", "x._sd._udp.local. 4500 IN TXT \"a=b\""))
		pass(3 * time.Second)
		require.NotEmpty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeA)))
		require.NotEmpty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeAAAA)))
		require.Empty(t, n.log())
		o.send(reply(t, "h.local. 120 IN A 10.0.0.2"))
		pass(100 * time.Millisecond)
		require.Equal(t, "found x", n.log())

		start = time.Now()
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR ghost._sd._udp.local."))
		pass(10 * time.Minute)
		asked = filter(messages(t, link, 1, start), func(m message) bool { return len(m.Question) > 0 && m.Question[0].Name == "ghost._sd._udp.local." })
		require.Len(t, asked, 5)
	})
}
