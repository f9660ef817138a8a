package dnssd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dns"
)

// flooded returns an engine that announces an instance and knows another, on
// the network of a test, and a function that hands it a message.
func flooded(t *testing.T, d *deaf) (*Engine, func(src string, m *miekg.Msg)) {
	e, err := New(Config{Service: "_sd._udp", Network: d})
	require.NoError(t, err)
	require.NoError(t, e.Publish(Service{Instance: "a", Port: 1, IPv4: true, IPv6: true}))
	e.now = time.Unix(0, 0)
	require.NoError(t, e.openSockets())
	e.pollInterfaces()
	e.applyWanted()
	e.advance(5 * time.Second)
	send := func(src string, m *miekg.Msg) {
		b, err := m.Pack()
		require.NoError(t, err)
		e.receive(received{Packet{b, netip.MustParseAddrPort(src), Groups[IPv4].Addr(), 1}, IPv4})
	}
	known := &miekg.Msg{MsgHdr: miekg.MsgHdr{Response: true}}
	for _, s := range []string{"_sd._udp.local. 4500 IN PTR b._sd._udp.local.", "b._sd._udp.local. 120 IN SRV 0 0 1 b.local.", "b.local. 120 IN A 10.0.0.2"} {
		rr, err := miekg.NewRR(s)
		require.NoError(t, err)
		known.Answer = append(known.Answer, rr)
	}
	send("10.0.0.2:5353", known)
	require.Len(t, e.links[1].hosts, 1)
	e.advance(time.Second)
	return e, send
}

// source returns the n-th source of a flood.
func source(n, port int) string { return fmt.Sprintf("10.0.0.%d:%d", 3+n%250, port) }

// RFC 6762 §7.2: queries that announce further known answers wait, but only a
// limited number of them, and only those that concern us.
func TestBoundOfTruncated(t *testing.T) {
	e, send := flooded(t, &deaf{})
	q := func(name string) *miekg.Msg {
		m := new(miekg.Msg).SetQuestion(name, miekg.TypePTR)
		m.Truncated = true
		return m
	}
	for i := range 250 {
		send(source(i, Port), q("_other._udp.local."))
	}
	require.Empty(t, e.links[1].held)
	for i := range 250 {
		send(source(i, Port), q("_sd._udp.local."))
	}
	require.Len(t, e.links[1].held, maxHeld)
	e.advance(time.Second)
	require.Empty(t, e.links[1].held)
}

// RFC 6762 §5.4, §6.7: the number of unicast answers that wait, or are sent, is
// limited, since a forged source directs them to another host.
func TestBoundOfUnicast(t *testing.T) {
	for name, test := range map[string]struct {
		port int
		bit  uint16
	}{"QU": {Port, unicastBit}, "legacy": {999, 0}} {
		t.Run(name, func(t *testing.T) {
			d := &deaf{}
			e, send := flooded(t, d)
			for _, question := range []miekg.Question{
				{Name: "_sd._udp.local.", Qtype: miekg.TypePTR, Qclass: miekg.ClassINET | test.bit},
				{Name: "a._sd._udp.local.", Qtype: miekg.TypeSRV, Qclass: miekg.ClassINET | test.bit},
			} {
				before := d.sent
				for i := range 1000 {
					send(source(i, test.port), &miekg.Msg{Question: []miekg.Question{question}})
				}
				require.LessOrEqual(t, e.links[1].waiting, maxDeferred)
				e.advance(time.Second)
				require.Zero(t, e.links[1].waiting)
				require.Greater(t, d.sent-before, maxUnicastRate/2)
				require.LessOrEqual(t, d.sent-before, maxUnicastRate+maxUnicastRate/8+2)
				e.advance(10 * time.Second)
			}
		})
	}
}

// RFC 6762 §7.3: the number of other hosts' questions that are remembered is
// limited, and only questions that we might ask are.
func TestBoundOfHistory(t *testing.T) {
	e, send := flooded(t, &deaf{})
	for i := range 80 {
		m := &miekg.Msg{MsgHdr: miekg.MsgHdr{Response: true}}
		name := fmt.Sprintf("x%d._sd._udp.local.", i)
		m.Answer = append(m.Answer, &miekg.PTR{Hdr: miekg.RR_Header{Name: "_sd._udp.local.", Rrtype: miekg.TypePTR, Class: 1, Ttl: 4500}, Ptr: name})
		for j := range maxServices {
			m.Answer = append(m.Answer, &miekg.SRV{
				Hdr: miekg.RR_Header{Name: name, Rrtype: miekg.TypeSRV, Class: 1, Ttl: 4500}, Port: 1, Target: fmt.Sprintf("x%d.%d.local.", i, j),
			})
		}
		send(source(i, Port), m)
		e.advance(40 * time.Millisecond)
	}
	l := e.links[1]
	require.Greater(t, 2*len(l.hosts), maxHistory)
	asks := []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypeSRV, miekg.TypeTXT, miekg.TypePTR, miekg.TypeANY}
	for _, typ := range asks {
		for name := range l.hosts {
			send(source(1, Port), new(miekg.Msg).SetQuestion(name, typ))
			send(source(1, Port), new(miekg.Msg).SetQuestion("x"+name, typ))
		}
		for _, s := range l.seen {
			send(source(1, Port), new(miekg.Msg).SetQuestion(s.name, typ))
		}
	}
	seen := l.history.seen[IPv4]
	require.Len(t, seen, maxHistory)
	for k := range seen {
		require.NotNil(t, l.hosts[k.name])
		require.Contains(t, asks[:2], k.typ)
	}
	e.advance(2 * time.Second)
	send(source(1, Port), new(miekg.Msg).SetQuestion("b.local.", miekg.TypeA))
	require.Len(t, e.links[1].history.seen[IPv4], 1)
}

// The numbers of questions that wait for a packet, and of own packets that are
// expected to come back, are limited.
func TestBoundOfWaiting(t *testing.T) {
	e, _ := flooded(t, &deaf{})
	l := e.links[1]
	for i := range 1000 {
		l.ask(0, dns.Question{Name: fmt.Sprint(i%500, ".local."), Type: dns.TypeA})
		l.ask(0, dns.Question{Name: "0.local.", Type: dns.TypeA})
		l.echoes.expect(fmt.Append(nil, i), e.now)
	}
	for f := range families {
		require.Len(t, l.batch.questions[f], maxResolveBatch)
		for i, q := range l.batch.questions[f] {
			require.Equal(t, fmt.Sprint(i, ".local."), q.Name, "none twice")
		}
	}
	require.LessOrEqual(t, l.echoes.n, maxEchoes)
	require.LessOrEqual(t, len(l.echoes.sent), maxEchoes)
	require.LessOrEqual(t, len(l.echoes.last), maxEchoes)
}

// Whatever is announced, the number of addresses of hosts is limited, both for
// each host and in all.
func TestBoundOfAddresses(t *testing.T) {
	e, err := New(Config{Service: "_sd._udp", Network: &deaf{}, MaxPerSource: 1000, MaxNewPerSecond: 1000})
	require.NoError(t, err)
	e.now = time.Unix(0, 0)
	require.NoError(t, e.openSockets())
	e.pollInterfaces()
	l := e.links[1]
	for i := range 300 {
		p := newHostile(true)
		name := wire(fmt.Sprint("x", i), "_sd", "_udp", "local")
		p.add(1, record(wire("_sd", "_udp", "local"), 12, 1, 4500, name))
		for j := range maxServices {
			host := wire(fmt.Sprintf("h%d-%d", i, j), "local")
			p.add(1, record(name, 33, 1, 4500, srv(1, host)))
			for k := range maxAddrs {
				p.add(1, record(host, 1, 1, 4500, []byte{10, 0, byte(j), byte(k)}))
				p.add(1, record(host, 28, 1, 4500, []byte{0: 0xfd, 14: byte(j), 15: byte(k)}))
			}
		}
		e.hear("10.0.0.2", p.bytes())
		e.advance(2 * time.Millisecond)
	}
	require.Len(t, l.hosts, 300*maxServices)
	n := 0
	for _, h := range l.hosts {
		require.GreaterOrEqual(t, len(h.addrs), fewAddrs)
		n += len(h.addrs)
	}
	require.Equal(t, n, l.addrs)
	require.Greater(t, n, maxLinkAddrs)
	require.LessOrEqual(t, n, maxLinkAddrs+fewAddrs*len(l.hosts)+2*maxAddrs)
	l.forgetAll()
	require.Zero(t, l.addrs)
}

// A flood of goodbyes for instances that are still there makes a node ask and
// probe a limited number of times. A single question covers all instances that
// are not asked for by name.
func TestBoundOfDoubts(t *testing.T) {
	const many = 300
	d := &deaf{}
	probes := 0
	e, err := New(Config{Service: "_sd._udp", Network: d, MaxPerSource: 1000, MaxNewPerSecond: 1000,
		Probe: func(_ string, _ []netip.AddrPort, answered func(netip.AddrPort, error)) { probes++ }})
	require.NoError(t, err)
	e.now = time.Unix(0, 0)
	require.NoError(t, e.openSockets())
	e.pollInterfaces()
	e.advance(2 * time.Hour)
	svc := wire("_sd", "_udp", "local")
	for i := range many {
		p := newHostile(true)
		name := wire(fmt.Sprint("x", i), "_sd", "_udp", "local")
		p.add(1, record(svc, 12, 1, 4500, name))
		p.add(1, record(name, 33, 1, 4500, srv(1, wire("h", "local"))))
		e.hear("10.0.0.2", p.bytes())
		e.advance(2 * time.Millisecond)
	}
	l := e.links[1]
	require.Len(t, l.seen, many)
	e.advance(time.Minute / 4)
	for range 10 {
		before := d.sent
		for i := range many {
			p := newHostile(true)
			p.add(1, record(svc, 12, 1, 0, wire(fmt.Sprint("x", i), "_sd", "_udp", "local")))
			e.hear("10.0.0.2", p.bytes())
		}
		for _, s := range l.seen {
			s.ptr.stay() // as if all had answered
		}
		e.advance(time.Second)
		require.LessOrEqual(t, d.sent-before, 2*(maxDoubts+20)) // over both families
	}
	require.Zero(t, probes, "instances that never answered must not be probed")
}

// RFC 6762 §11: unicast, and multicast of both families, leaves with an IP TTL
// of 255.
func TestSocketTTL(t *testing.T) {
	for f := range Family(families) {
		u, err := openUDP(f, func(Packet) {}, func(error) {})
		if err != nil && f == IPv6 {
			t.Skip("no IPv6")
		}
		require.NoError(t, err)
		ttl, multicast := 0, 0
		if f == IPv4 {
			ttl, err = u.p4.TTL()
			require.NoError(t, err)
			multicast, err = u.p4.MulticastTTL()
		} else {
			ttl, err = u.p6.HopLimit()
			require.NoError(t, err)
			multicast, err = u.p6.MulticastHopLimit()
		}
		require.NoError(t, err)
		require.Equal(t, []int{255, 255}, []int{ttl, multicast}, f)
		require.NoError(t, u.close())
		select {
		case <-u.done:
		default:
			t.Error("Close left the receiver running")
		}
	}
}

// On a host with any number of interfaces, 64 are used.
func TestBoundOfLinks(t *testing.T) {
	d := &deaf{interfaces: 100}
	e, _ := flooded(t, d)
	require.Len(t, e.links, maxLinks)
}
