package dnssd_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// RFC 6762 §8.1: after 0 to 250 ms, there are three probes, 250 ms apart, of
// type ANY, which ask for unicast answers and have the proposed records in the
// authority section, without the cache-flush bit. Nothing else is sent until
// 250 ms after them.
func TestProbing(t *testing.T) {
	var first []time.Duration
	for range 30 {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			start := time.Now()
			run(t, hostOn(link, eth4(1)), service("a", "x=1"))
			pass(1500 * time.Millisecond)
			all := messages(t, link, 1, start)
			probes := filter(all, isProbe)
			require.Len(t, probes, 3)
			require.Less(t, probes[0].at, 250*time.Millisecond)
			first = append(first, probes[0].at)
			for i, p := range probes {
				require.Equal(t, probes[0].at+time.Duration(i)*250*time.Millisecond, p.at)
				require.Equal(t, []dns.Question{
					{Name: "a._sd._udp.local.", Qtype: dns.TypeANY, Qclass: dns.ClassINET | 1<<15},
					{Name: "a.local.", Qtype: dns.TypeANY, Qclass: dns.ClassINET | 1<<15},
				}, p.Question)
				require.Equal(t, []string{"A", "SRV", "TXT"}, types(p.Ns))
				for _, rr := range p.Ns {
					require.EqualValues(t, dns.ClassINET, rr.Header().Class)
				}
				require.Empty(t, p.Answer)
				require.Zero(t, p.Id)
			}
			said := filter(all, isResponse)
			require.Equal(t, probes[2].at+250*time.Millisecond, said[0].at)
		})
	}
	require.Less(t, slices.Min(first), 125*time.Millisecond, "the delay is random")
	require.Greater(t, slices.Max(first), 125*time.Millisecond)
}

// RFC 6762 §8.1: while probing, questions are not answered.
func TestSilentWhileProbing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		run(t, hostOn(link, eth4(1)), service("a"))
		o := newOutsider(t, link, 9)
		for range 6 {
			pass(100 * time.Millisecond)
			o.send(query("a._sd._udp.local. SRV", "_sd._udp.local. PTR"))
			o.send(query("a._sd._udp.local. SRV QU"))
			o.sendFrom(5000, query("a._sd._udp.local. SRV"))
		}
		pass(100 * time.Millisecond)
		require.Empty(t, o.take())
		pass(time.Second)
		require.NotEmpty(t, o.take())
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSpace(b.b.String()), "\n")
}

// RFC 6762 §8.1, §9: the second of two nodes with the same label (a key that is
// used twice) is denied. It stays silent, under this or any other name, tells
// the program, logs that once, tries again at a limited rate, and takes over
// when the first one sends its goodbye. Other nodes see the first one all the
// time.
func TestConflict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)), service("twin", "who=a"))
		c := run(t, hostOn(link, eth4(3)))
		pass(10 * time.Second)
		var logged lockedBuffer
		start := time.Now()
		b := runWith(t, hostOn(link, eth4(2)), dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("twin", "who=b"))
		pass(10 * time.Minute)

		other, ok := b.Conflict()
		require.True(t, ok)
		require.Equal(t, netip.MustParseAddr("10.0.0.1"), other)
		require.Equal(t, "conflict twin", b.log())
		require.Len(t, logged.lines(), 1)
		_, ok = a.Conflict()
		require.False(t, ok)
		require.Empty(t, filter(messages(t, link, 2, start), isResponse), "the denied node announces and answers nothing")
		require.Less(t, len(filter(messages(t, link, 2, start), isProbe)), 20)
		require.Equal(t, "found twin", c.log())

		a.stop()
		pass(3 * time.Second)
		_, ok = b.Conflict()
		require.False(t, ok)
		require.Equal(t, "conflict twin, clear twin", b.log())
		require.Equal(t, []string{"who=b"}, c.Instances()[0].TXT)
		require.Len(t, logged.lines(), 2)

		// A node in conflict leaves without a goodbye, which would withdraw the
		// other's records.
		a2 := run(t, hostOn(link, eth4(4)), service("twin", "who=a"))
		pass(10 * time.Second)
		_, ok = a2.Conflict()
		require.True(t, ok)
		since := time.Now()
		a2.stop()
		pass(5 * time.Second)
		require.Empty(t, messages(t, link, 4, since))
		require.Len(t, c.Instances(), 1)
	})
}

// RFC 6762 §8.2: of two hosts that probe for one name at the same time, the one
// whose records are lexicographically later wins.
func TestTieBreak(t *testing.T) {
	for range 30 {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			low, high := service("twin"), service("twin")
			low.Port, high.Port = 1000, 2000
			a := run(t, hostOn(link, eth4(1)), low)
			b := run(t, hostOn(link, eth4(2)), high)
			c := run(t, hostOn(link, eth4(3)))
			pass(6 * time.Second)
			_, denied := a.Conflict()
			require.True(t, denied)
			_, denied = b.Conflict()
			require.False(t, denied)
			require.Equal(t, "found twin", c.log())
			require.Equal(t, "[10.0.0.2:2000]", sprint(c.Instances()[0].Addrs))
			// The loser waits for a second, and is denied in the next round.
			require.Empty(t, filter(messages(t, link, 1, a.start), isResponse))
		})
	}
}

// RFC 6762 §8.2, §17: a TXT record that is too large for a probe decides
// nothing; the other records do, and one node wins.
func TestTieBreakLarge(t *testing.T) {
	for range 10 {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			var txt []string
			for range 60 {
				txt = append(txt, strings.Repeat("x", 100))
			}
			low, high := service("twin", txt...), service("twin", append(txt, "y")...)
			low.Port, high.Port = 1000, 2000
			a := run(t, hostOn(link, eth4(1)), low)
			b := run(t, hostOn(link, eth4(2)), high)
			pass(6 * time.Second)
			_, denied := a.Conflict()
			require.True(t, denied)
			_, denied = b.Conflict()
			require.False(t, denied)
		})
	}
}

// RFC 6762 §9: two hosts that have announced one name on links that are joined
// later both probe again; one of them stays.
func TestLaterConflict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		left := eth4(1).Addrs[0].Addr()
		link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return (f.Src.Addr() == left) != (to == left) })
		low, high := service("twin"), service("twin")
		low.Port, high.Port = 1000, 2000
		a := run(t, hostOn(link, eth4(1)), low)
		b := run(t, hostOn(link, eth4(2)), high)
		pass(10 * time.Second)
		require.Empty(t, a.log()+b.log())

		link.Drop(nil)
		start := time.Now()
		low.TXT = []string{"changed=1"}
		require.NoError(t, a.Publish(low))
		pass(10 * time.Second)
		require.NotEmpty(t, filter(messages(t, link, 2, start), isProbe), "the established node probes again")
		_, deniedA := a.Conflict()
		_, deniedB := b.Conflict()
		require.NotEqual(t, deniedA, deniedB)

		pass(10 * time.Minute)
		require.LessOrEqual(t, len(a.seen())+len(b.seen()), 4, "%s; %s: no flapping", a.log(), b.log())
	})
}

// RFC 6762 §9: a host that keeps claiming our name and never defends it makes
// us probe again each time, but neither fills the log nor keeps us from being
// found.
func TestHarassment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		var logged lockedBuffer
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("a"))
		o := newOutsider(t, link, 9)
		pass(5 * time.Second)
		for range 300 {
			o.send(reply(t, "a._sd._udp.local. 120 IN SRV 0 0 1 evil.local."))
			pass(2 * time.Second)
		}
		require.Greater(t, len(n.seen()), 100)
		require.LessOrEqual(t, len(logged.lines()), 30)
		pass(time.Minute)
		_, conflict := n.Conflict()
		require.False(t, conflict)
		start := time.Now()
		o.send(query("a._sd._udp.local. SRV"))
		pass(time.Second)
		require.NotEmpty(t, filter(messages(t, link, 1, start), isResponse))
	})
}
