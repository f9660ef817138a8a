package nettest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
)

const (
	serviceType = "_" + app + "._udp.local."
	unique      = 1 << 15 // cache-flush bit of a record's class (RFC 6762 §10.2)

	mdnsPort = 5353
)

var (
	group4 = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), mdnsPort)
	group6 = netip.AddrPortFrom(netip.MustParseAddr("ff02::fb"), mdnsPort)
)

// forgedRecords returns the records that announce an instance (RFC 6763 §4).
func forgedRecords(label, host string, addr netip.Addr, ttl uint32) []dns.Record {
	name := label + "." + serviceType
	head := func(name string, typ, class uint16) dns.Header {
		return dns.Header{Name: name, Type: typ, Class: dns.ClassINET | class, TTL: ttl}
	}
	return []dns.Record{
		&dns.PTR{Header: head(serviceType, dns.TypePTR, 0), Ptr: name},
		&dns.SRV{Header: head(name, dns.TypeSRV, unique), Port: 7373, Target: host},
		&dns.TXT{Header: head(name, dns.TypeTXT, unique), Txt: []string{"name=forged", "sdp2p=2"}},
		&dns.A{Header: head(host, dns.TypeA, unique), A: net.IP(addr.AsSlice())},
	}
}

func pack(t testing.TB, m *dns.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

// identities returns valid identities that no node has.
var identities = sync.OnceValue(func() []string {
	all := make([]string, 100_000)
	for i := range all {
		id, err := identity.FromSeed(binary.BigEndian.AppendUint64(make([]byte, identity.SeedSize-8), uint64(i)))
		if err != nil {
			panic(err)
		}
		all[i] = id.Remote().String()
	}
	return all
})

// A flood announces forged instances, each of them once and then all over
// again, until it is stopped.
type flood struct {
	fast atomic.Bool // as fast as possible; otherwise 5,000 a second
	sent atomic.Int64
	once sync.Once
	stop chan struct{}
	done chan struct{}
}

func startFlood(t testing.TB, h *netlab.Host, source func(n int) netip.Addr) *flood {
	ids, wire := identities(), h.Wire(t)
	const label, host = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", "hhhhhhhhhh"
	template := pack(t, &dns.Message{Response: true, Answer: forgedRecords(label, host+".local.", netip.MustParseAddr("10.77.0.66"), 120)})
	f := &flood{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ; n++ {
			if n%50 == 0 {
				select {
				case <-f.stop:
					return
				default:
				}
				if !f.fast.Load() {
					<-pace.C
				}
			}
			b := bytes.ReplaceAll(template, []byte(label), []byte(ids[n%len(ids)]))
			b = bytes.ReplaceAll(b, []byte(host), fmt.Appendf(nil, "h%09d", n%len(ids)))
			src, group := netip.AddrPortFrom(source(n), mdnsPort), group4
			if src.Addr().Is6() {
				group = group6
			}
			if wire.Send(src, group, b) == nil {
				f.sent.Add(1)
			}
		}
	}()
	return f
}

// end ends the flood. It can be called again.
func (f *flood) end() {
	f.once.Do(func() { close(f.stop) })
	<-f.done
}

// A flood announces 100,000 forged instances, from one source, from 200, and
// from so many that no source occurs twice: what a node keeps of them is
// bounded, and it still finds a real peer. The last flood uses up all
// admissions of a second, so that the peer has to be lucky, or to wait for the
// end of the flood.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name   string
		full   int  // peers known before the real one starts
		most   int  // peers known at any one time
		during bool // the real peer is found during the flood
		source func(n int) netip.Addr
	}{
		{"one source", 512, 513, true, func(int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, 66}) }},
		{"200 sources", 1024, 1024, true, func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(50 + n%200)}) }},
		{"any source", 100, 1024, false, func(n int) netip.Addr {
			a := netip.MustParseAddr("fe80::").As16()
			binary.BigEndian.PutUint64(a[8:], uint64(n)<<32)
			return netip.AddrFrom16(a)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := netlab.New(t, 3)
			n := start(t, lab.Hosts[0], onLAN)
			before := ask[vitals](n, "vitals")
			f := startFlood(t, lab.Hosts[1], c.source)
			t.Cleanup(f.end)
			until(t, func() bool { return mostPeers(n) >= c.full })

			f.fast.Store(true)
			began, sent := time.Now(), f.sent.Load()
			real := start(t, lab.Hosts[2], onLAN)
			if c.during {
				found := n.discovers(real, "mdns").Sub(real.Await(time.Time{}, "starting").At)
				t.Log("the real peer was found after", found)
				require.Less(t, found, 5*time.Second)
			}
			until(t, func() bool { return f.sent.Load() > 100_000 })
			t.Logf("%d packets, at the end %.0f/s", f.sent.Load(), float64(f.sent.Load()-sent)/time.Since(began).Seconds())
			stats, after := ask[mdns.Stats](n, "stats"), ask[vitals](n, "vitals")
			f.end()
			if ended := time.Now(); !c.during {
				t.Log("the real peer was found", n.discovers(real, "mdns").Sub(ended), "after the end")
			}
			t.Logf("heap %d KiB, then %d KiB; %d goroutines, then %d; %d lines logged", before.Heap>>10, after.Heap>>10,
				before.Goroutines, after.Goroutines, after.LogLines-before.LogLines)
			t.Logf("received %d packets, refused %d; sent %d packets; %d peers at most", stats.Received.Total().Packets, stats.Refused,
				stats.Sent.Total().Packets, mostPeers(n))
			require.Less(t, int64(after.Heap)-int64(before.Heap), int64(32<<20))
			require.Equal(t, before.Goroutines, after.Goroutines)
			require.Less(t, after.LogLines-before.LogLines, int64(30))
			require.Positive(t, stats.Refused)
			require.LessOrEqual(t, mostPeers(n), c.most)
			require.Less(t, stats.Sent.Total().Packets, uint64(3000))
			n.echoes(real)
			real.echoes(n)
		})
	}
}

// mostPeers returns the largest number of peers that the node knew at one time.
func mostPeers(n *node) (most int) {
	known := 0
	for _, e := range n.Events() {
		switch e.Name {
		case "available":
			known++
		case "unavailable":
			known--
		}
		most = max(most, known)
	}
	return most
}

// RFC 6762 §11: a packet sent only to this host, from a source that is not on
// the link, is ignored, whatever its content. A packet sent to the group is
// from the link, even if its source could be anywhere.
func TestOffLinkSources(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	n := start(t, lab.Hosts[0], onLAN)
	// The kernel must let the packets pass, like a kernel that is configured
	// so.
	n.host.Run("sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done")
	wire := lab.Hosts[1].Wire(t)
	b := pack(t, &dns.Message{Response: true, Answer: forgedRecords(identities()[0], "forged.local.", n.host.Addr4(), 120)})
	for i, src := range []string{"8.8.8.8", "10.78.0.2", "192.168.1.2", "2001:db8::2", "fd78::2", "::ffff:808:808"} {
		from, to := netip.AddrPortFrom(netip.MustParseAddr(src), mdnsPort), n.host.Addr4()
		if from.Addr().Is6() {
			to = n.host.Addr6()
		}
		require.NoError(t, wire.SendTo(n.host.MAC(), from, netip.AddrPortFrom(to, mdnsPort), b))
		until(t, func() bool { return ask[mdns.Stats](n, "stats").OffLink == uint64(i+1) })
	}
	require.NoError(t, wire.Send(netip.MustParseAddrPort("[::ffff:808:808]:5353"), group6, b))
	until(t, func() bool { return ask[mdns.Stats](n, "stats").OffLink == 7 })
	require.Zero(t, ask[mdns.Stats](n, "stats").Received.Total())
	real := start(t, lab.Hosts[2], onLAN)
	n.discovers(real, "mdns")
	require.Len(t, ask[[]peerInfo](n, "peers"), 1)
}

// Another host sends a goodbye for a node that is still there (RFC 6762 §10.1):
// the node hears it and announces itself again within the remaining second, so
// that no other node loses it. The same holds for a storm of goodbyes, not each
// of which the node answers.
func TestSpoofedGoodbye(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	n := start(t, lab.Hosts[0], onLAN)
	victim := start(t, lab.Hosts[2], onLAN)
	n.discovers(victim, "mdns")
	victim.discovers(n, "mdns")
	attacker := lab.Hosts[1]
	wire, from := attacker.Wire(t), netip.AddrPortFrom(attacker.Addr4(), mdnsPort)

	// A shared record with the cache-flush bit, which it must not have (§10.2),
	// removes nothing that belongs to others.
	flush := forgedRecords(identities()[0], "forged.local.", attacker.Addr4(), 120)
	flush[0].Head().Class |= unique
	require.NoError(t, wire.Send(from, group4, pack(t, &dns.Message{Response: true, Answer: flush})))
	n.Await(time.Time{}, "available", identities()[0])

	goodbye := pack(t, &dns.Message{Response: true, Answer: forgedRecords(victim.id, "forged.local.", attacker.Addr4(), 0)})
	time.Sleep(1100 * time.Millisecond) // the victim may announce again at once (§6)
	answers := ask[mdns.Stats](victim, "stats").Sent.Responses.Packets
	require.NoError(t, wire.Send(from, group4, goodbye))
	until(t, func() bool { return ask[mdns.Stats](victim, "stats").Sent.Responses.Packets > answers })
	time.Sleep(1500 * time.Millisecond) // until the second is over
	require.Zero(t, n.count("unavailable", victim))

	began, before := time.Now(), ask[mdns.Stats](victim, "stats").Sent.Total().Packets
	for range 500 {
		require.NoError(t, wire.Send(from, group4, goodbye))
		time.Sleep(10 * time.Millisecond)
	}
	lasted := time.Since(began)
	sent := ask[mdns.Stats](victim, "stats").Sent.Total().Packets - before
	t.Logf("in %v of goodbyes the victim sent %d packets and was lost %d times", lasted, sent, n.count("unavailable", victim))
	require.LessOrEqual(t, n.count("unavailable", victim), 5) // the answer may be just too late
	require.Less(t, float64(sent), 8*lasted.Seconds())
	until(t, func() bool { return len(n.candidates(victim)) > 0 })
	n.echoes(victim)
}

// Another host announces a node's name with other data, once or all the time:
// its data is shown beside the node's own. The node keeps announcing itself,
// and reports no conflict, since the other host does not hold its key. It is
// never lost, and always reachable.
func TestSpoofedName(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "for a while": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 3)
			n := start(t, lab.Hosts[0], onLAN)
			victim := start(t, lab.Hosts[2], onLAN)
			n.discovers(victim, "mdns")
			attacker := lab.Hosts[1]
			wire, from := attacker.Wire(t), netip.AddrPortFrom(attacker.Addr4(), mdnsPort)
			forged := pack(t, &dns.Message{Response: true, Answer: forgedRecords(victim.id, "forged.local.", attacker.Addr4(), 120)[1:]})
			began, before := time.Now(), ask[mdns.Stats](victim, "stats").Sent.Total().Packets
			for i := range times {
				require.NoError(t, wire.Send(from, group4, forged))
				time.Sleep(20 * time.Millisecond)
				if i%50 == 49 {
					require.Empty(t, ask[string](victim, "conflict"))
					require.True(t, mentions(n.candidates(victim), victim.host.Addr4()))
					n.echoes(victim)
				}
			}
			ended := time.Now()
			n.Await(began, "discovered", victim.id)
			require.Empty(t, ask[string](victim, "conflict"))
			if times > 1 { // a node that starts now finds it as well
				later := start(t, attacker, onLAN)
				later.discovers(victim, "mdns")
				until(t, func() bool { return mentions(later.candidates(victim), victim.host.Addr4()) })
				later.echoes(victim)
			}
			c := n.candidates(victim)
			require.True(t, mentions(c, victim.host.Addr4()) && mentions(c, victim.host.Addr6()))
			t.Logf("sent %d packets; %d changes were seen", ask[mdns.Stats](victim, "stats").Sent.Total().Packets-before,
				n.count("discovered", victim))
			require.Zero(t, n.count("unavailable", victim))
			require.LessOrEqual(t, n.count("discovered", victim), 10)
			require.LessOrEqual(t, ask[vitals](victim, "vitals").LogLines, int64(10))
			n.echoes(victim)
			victim.Stop()
			n.Await(ended, "unavailable", victim.id)
		})
	}
}

// candidates returns the candidates of a peer, or none if the peer is not
// known.
func (n *node) candidates(of *node) []string {
	n.t.Helper()
	for _, p := range ask[[]peerInfo](n, "peers") {
		if p.Identity == of.id {
			return p.Candidates
		}
	}
	return nil
}

// count returns the number of events with a name that n reported about other.
func (n *node) count(name string, other *node) (c int) {
	for _, e := range n.Events() {
		if e.Name == name && e.About[0] == other.id {
			c++
		}
	}
	return c
}

// These are the fates of a packet at a node.
const (
	malformed = "malformed" // it is counted as malformed
	read      = "read"      // it is processed, even if there is nothing to do
	dropped   = "dropped"   // it is dropped before that
)

type hostilePacket struct {
	name, fate string
	data       []byte
}

// hostilePackets returns packets that no host should send. label is an instance
// of the node that receives them.
func hostilePackets(t testing.TB, label string) []hostilePacket {
	header := func(bits uint16, counts ...uint16) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0, 0}, bits)
		for i := range 4 {
			var n uint16
			if i < len(counts) {
				n = counts[i]
			}
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	const response, truncated = 1 << 15, 1 << 9
	question := func(name ...byte) []byte { return append(append(header(0, 1), name...), 0, 12, 0, 1) }
	owner := []byte("\x04evil\x05local\x00")
	record := func(typ byte, size uint16, data ...byte) []byte { // with one answer
		b := append(append(header(response, 0, 1), owner...), 0, typ, 0, 1, 0, 0, 0, 120)
		return append(binary.BigEndian.AppendUint16(b, size), data...)
	}
	good := forgedRecords(identities()[1], "evil.local.", netip.MustParseAddr("10.77.0.66"), 120)
	valid := pack(t, &dns.Message{Response: true, Answer: good})
	with := func(at int, value byte) []byte {
		b := bytes.Clone(valid)
		b[at] = value
		return b
	}
	chain := question(0xC0, 18)
	for i := range 40 {
		chain = append(chain, 0xC0, byte(20+2*i))
	}
	junk := make([]byte, 8900)
	rand.NewChaCha8([32]byte{}).Read(junk)
	many := &dns.Message{Response: true}
	for i := range 50 {
		many.Answer = append(many.Answer, forgedRecords("no identity", fmt.Sprintf("many-%d.local.", i), netip.MustParseAddr("10.77.0.66"), 120)...)
	}
	asking := &dns.Message{}
	for range 1000 {
		asking.Question = append(asking.Question, dns.Question{Name: label + "." + serviceType, Type: dns.TypeANY, Class: dns.ClassINET})
	}
	return []hostilePacket{
		{"no bytes", malformed, nil},
		{"one byte", malformed, []byte{0}},
		{"eleven bytes", malformed, header(response)[:11]},
		{"only a header", read, header(0)},
		{"a response of nothing", read, header(response)},
		{"all zero", read, make([]byte, 500)},
		{"9,000 bytes, all zero", read, make([]byte, 9000)},
		{"9,001 bytes", dropped, make([]byte, 9001)},
		{"30,000 bytes", dropped, make([]byte, 30_000)},
		{"all ones", malformed, bytes.Repeat([]byte{0xff}, 500)},
		{"junk", malformed, append(header(response, 3, 3, 3, 3), junk...)},
		{"many records", read, pack(t, many)},
		{"65,535 questions", malformed, header(0, 0xffff)},
		{"65,535 answers", malformed, header(response, 0, 0xffff)},
		{"65,535 of everything", malformed, append(header(response, 0xffff, 0xffff, 0xffff, 0xffff), junk[:400]...)},
		{"a name that points to itself", malformed, question(0xC0, 12)},
		{"two that point to each other", malformed, question(0xC0, 14, 0xC0, 12)},
		{"a label and then itself again", malformed, question(1, 'a', 0xC0, 12)},
		{"a pointer into the header", read, question(0xC0, 4)},
		{"a pointer forward", read, append(question(0xC0, 18), 0)},
		{"a pointer beyond the end", malformed, question(0xC0, 200)},
		{"forty pointers", malformed, append(chain, 0)},
		{"a label of a reserved kind", malformed, question(0x41, 0)},
		{"a label beyond the end", malformed, question(63)},
		{"a name of 300 bytes", malformed, question(append(bytes.Repeat([]byte("\x09123456789"), 30), 0)...)},
		{"cut in a name", malformed, valid[:30]},
		{"cut in the data", malformed, valid[:len(valid)-2]},
		{"data beyond the end", malformed, record(16, 1000, 0)},
		{"A of three bytes", read, record(1, 3, 10, 77, 0)},
		{"SRV of six bytes", read, record(33, 6, 0, 0, 0, 0, 0, 1)},
		{"SRV whose target loops", read, record(33, 8, 0, 0, 0, 0, 0, 1, 0xC0, byte(12+len(owner)+16))},
		{"TXT beyond its end", read, record(16, 2, 200, 'a')},
		{"NSEC of rubbish", read, record(47, 5, 0xC0, 12, 9, 255, 1)},
		{"A of a group", read, record(1, 4, 224, 0, 0, 251)},
		{"an opcode", malformed, with(2, 0x80|5<<3)},
		{"a response code", malformed, with(3, 3)},
		{"a query with an announcement in it", read, with(2, 0)},
		{"a response of questions", read, append(header(response, 1), question(0)[12:]...)},
		{"a truncated query of nothing", read, header(truncated)},
		{"a label with a dot and a zero", read, pack(t, &dns.Message{Response: true, Answer: forgedRecords(dns.EscapeLabel("a.b\x00c"), "evil.local.", netip.MustParseAddr("10.77.0.66"), 120)})},
		{"1,000 times the same question", read, pack(t, asking)},
	}
}

// Hostile packets of all kinds do no harm: each of them is counted as what it
// is, and the node goes on.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	n := start(t, lab.Hosts[0], onLAN)
	before := ask[vitals](n, "vitals")
	attacker := lab.Hosts[1]
	wire := attacker.Wire(t)
	marker := pack(t, &dns.Message{Question: []dns.Question{{Name: "marker.local.", Type: dns.TypeA, Class: dns.ClassINET}}})
	// fate sends a packet, and then a question from another port, which is
	// counted as such (§6.7).
	fate := func(src, dst netip.AddrPort, b []byte) string {
		t.Helper()
		send := wire.Send
		if !dst.Addr().IsMulticast() {
			send = func(src, dst netip.AddrPort, b []byte) error {
				return wire.SendTo(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src, dst, b)
			}
		}
		before := ask[mdns.Stats](n, "stats")
		require.NoError(t, send(src, dst, b))
		require.NoError(t, send(netip.AddrPortFrom(src.Addr(), 5354), dst, marker))
		var after mdns.Stats
		until(t, func() bool {
			after = ask[mdns.Stats](n, "stats")
			return after.Received.Legacy.Packets > before.Received.Legacy.Packets
		})
		switch bad, good := after.Malformed-before.Malformed, after.Received.Total().Packets-before.Received.Total().Packets; {
		case bad == 1 && good == 1:
			return malformed
		case bad == 0 && good == 2:
			return read
		case bad == 0 && good == 1:
			return dropped
		default:
			return fmt.Sprint(bad, " and ", good)
		}
	}
	packets := hostilePackets(t, n.id)
	for _, p := range packets {
		from := netip.AddrPortFrom(attacker.Addr4(), mdnsPort)
		require.Equal(t, p.fate, fate(from, group4, p.data), p.name)
		if len(p.data) < 1400 {
			from = netip.AddrPortFrom(attacker.LinkLocal(), mdnsPort)
			require.Equal(t, p.fate, fate(from, group6, p.data), "%s over IPv6", p.name)
		}
	}

	// RFC 6762 §6 and §11: a response from another port, and a response to this
	// host alone that it has not asked for.
	until(t, func() bool { return ask[mdns.Stats](n, "stats").Sent.Announcements.Packets == 4 })
	forged := pack(t, &dns.Message{Response: true, Answer: forgedRecords(identities()[1], "evil.local.", attacker.Addr4(), 120)})
	require.Equal(t, malformed, fate(netip.AddrPortFrom(attacker.Addr4(), 5355), group4, forged))
	time.Sleep(2 * time.Second) // after a probe, answers are accepted for so long
	require.Equal(t, malformed, fate(netip.AddrPortFrom(attacker.Addr4(), mdnsPort), netip.AddrPortFrom(n.host.Addr4(), mdnsPort), forged))

	require.Empty(t, ask[[]peerInfo](n, "peers"))
	after := ask[vitals](n, "vitals")
	require.Equal(t, before.Goroutines, after.Goroutines)
	require.Equal(t, before.LogLines, after.LogLines)
	require.Less(t, ask[mdns.Stats](n, "stats").Sent.Total().Packets, uint64(200))
	t.Logf("%d packets; %+v", len(packets), ask[mdns.Stats](n, "stats"))
	real := start(t, lab.Hosts[2], onLAN)
	n.discovers(real, "mdns")
	n.echoes(real)
}
