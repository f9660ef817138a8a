package dnssd_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

const serviceType = "_sd._udp"

// A node is an engine in a test, with a record of the events that it reported.
type node struct {
	*dnssd.Engine
	t      testing.TB
	host   *dnssdtest.Host
	start  time.Time
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []event
}

type event struct {
	at    time.Duration // since the node's start
	what  string        // "found", "lost", "conflict", "clear"
	name  string
	found dnssd.Instance
}

// eth returns the n-th host's interface eth0 on the network 10.0.0.0/24 with
// fe80::n.
func eth(n int) dnssd.Interface {
	return dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true,
		Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 16),
			netip.MustParsePrefix(fmt.Sprintf("fe80::%x/64", n)),
		},
	}
}

// eth4 is eth without IPv6.
func eth4(n int) dnssd.Interface {
	ifc := eth(n)
	ifc.Addrs = ifc.Addrs[:1]
	return ifc
}

func hostOn(l *dnssdtest.Link, ifc dnssd.Interface) *dnssdtest.Host {
	h := dnssdtest.NewHost()
	h.Plug(l, ifc)
	return h
}

// service returns a service with a label, which is reachable over both
// families.
func service(label string, txt ...string) dnssd.Service {
	return dnssd.Service{Instance: label, Port: 4242, TXT: txt, IPv4: true, IPv6: true}
}

// run starts an engine on a host; it ends with the test at the latest.
func run(t testing.TB, h *dnssdtest.Host, services ...dnssd.Service) *node {
	return runWith(t, h, dnssd.Config{}, services...)
}

func runWith(t testing.TB, h *dnssdtest.Host, cfg dnssd.Config, services ...dnssd.Service) *node {
	t.Helper()
	n := runOn(t, h, cfg, services...)
	n.host = h
	return n
}

// runOn starts an engine on any network.
func runOn(t testing.TB, h dnssd.Network, cfg dnssd.Config, services ...dnssd.Service) *node {
	t.Helper()
	n := &node{t: t, start: time.Now(), ended: make(chan error, 1)}
	note := func(e event) {
		e.at = time.Since(n.start)
		n.mu.Lock()
		n.events = append(n.events, e)
		n.mu.Unlock()
	}
	cfg.Service, cfg.Network, cfg.Host = serviceType, h, hostLabel
	cfg.Found = func(i dnssd.Instance) { note(event{what: "found", name: i.Name, found: i}) }
	cfg.Lost = func(name string) { note(event{what: "lost", name: name}) }
	cfg.Conflict = func(name string, other netip.Addr) {
		if other.IsValid() {
			note(event{what: "conflict", name: name})
		} else {
			note(event{what: "clear", name: name})
		}
	}
	e, err := dnssd.New(cfg)
	require.NoError(t, err)
	n.Engine = e
	require.NoError(t, e.Publish(services...))
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.ended <- e.Run(ctx) }()
	t.Cleanup(n.stop)
	return n
}

// hostLabel returns readable host names: the instance's on eth0, and both names
// on other interfaces.
func hostLabel(instance, iface string) string {
	if strings.ContainsFunc(instance, func(r rune) bool { return r > 'z' || r < '-' || r == '/' || r == '.' }) {
		instance = hex.EncodeToString([]byte(instance)[:min(8, len(instance))])
	}
	if iface == "eth0" {
		return instance
	}
	return instance + "-" + iface
}

// stop ends the engine and waits for its end. It may be called again.
func (n *node) stop() {
	n.cancel()
	if err, ok := <-n.ended; ok {
		close(n.ended)
		require.NoError(n.t, err)
	}
}

// seen returns the events that the node has reported so far.
func (n *node) seen() []event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

// log returns the events as text, such as "found a, lost a".
func (n *node) log() string {
	var words []string
	for _, e := range n.seen() {
		words = append(words, e.what+" "+e.name)
	}
	return strings.Join(words, ", ")
}

// pass lets time pass, and everything that happens in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// A message is a frame with its decoded content.
type message struct {
	dnssdtest.Frame
	dns.Msg
	at time.Duration // since the start of the observation
}

// messages returns the packets sent on a link since a time, from one host, or
// from all if from is 0; only those over IPv4, so that none occurs twice.
func messages(t testing.TB, l *dnssdtest.Link, from int, since time.Time) []message {
	t.Helper()
	var out []message
	for _, f := range l.Frames() {
		if f.Time.Before(since) || !f.Src.Addr().Is4() || from != 0 && f.Src.Addr() != eth(from).Addrs[0].Addr() {
			continue
		}
		m := message{Frame: f, at: f.Time.Sub(since)}
		require.NoError(t, m.Unpack(f.Data))
		out = append(out, m)
	}
	return out
}

func filter(list []message, keep func(m message) bool) []message {
	return slices.DeleteFunc(slices.Clone(list), func(m message) bool { return !keep(m) })
}

func isProbe(m message) bool    { return !m.Response && len(m.Ns) > 0 }
func isQuery(m message) bool    { return !m.Response && len(m.Ns) == 0 }
func isResponse(m message) bool { return m.Response }

// An outsider is a Multicast DNS host that does only what a test makes it do.
type outsider struct {
	t    testing.TB
	link *dnssdtest.Link
	host *dnssdtest.Host
	addr netip.Addr
	conn dnssd.Conn
	ifc  dnssd.Interface

	mu  sync.Mutex
	got []message
}

func newOutsider(t testing.TB, l *dnssdtest.Link, n int) *outsider {
	o := &outsider{t: t, link: l, ifc: eth4(n), addr: eth4(n).Addrs[0].Addr()}
	o.host = hostOn(l, o.ifc)
	var err error
	o.conn, err = o.host.Open(dnssd.IPv4, func(p dnssd.Packet) {
		var m message
		if m.Unpack(p.Data) == nil {
			m.Src, m.Frame.Time = p.Src, time.Now()
			m.Dst = netip.AddrPortFrom(p.Dst, dnssd.Port)
			m.Data = p.Data
			o.mu.Lock()
			o.got = append(o.got, m)
			o.mu.Unlock()
		}
	}, func(error) {})
	require.NoError(t, err)
	require.NoError(t, o.conn.Join(o.ifc))
	t.Cleanup(func() { o.conn.Close() })
	return o
}

// take returns the responses of others that arrived since the last call.
func (o *outsider) take() []message {
	o.mu.Lock()
	defer o.mu.Unlock()
	got := o.got
	o.got = nil
	return filter(got, func(m message) bool { return isResponse(m) && m.Src.Addr() != o.addr })
}

// send multicasts a message.
func (o *outsider) send(m *dns.Msg) {
	o.t.Helper()
	b, err := m.Pack()
	require.NoError(o.t, err)
	require.NoError(o.t, o.conn.Send(b, o.ifc, dnssd.Groups[dnssd.IPv4]))
}

// sendFrom multicasts a message from another port.
func (o *outsider) sendFrom(port uint16, m *dns.Msg) {
	o.t.Helper()
	b, err := m.Pack()
	require.NoError(o.t, err)
	o.link.Inject(b, netip.AddrPortFrom(o.addr, port), dnssd.Groups[dnssd.IPv4])
}

// query returns a query with questions of the form "name type", or "name type
// QU".
func query(questions ...string) *dns.Msg {
	m := &dns.Msg{}
	for _, q := range questions {
		f := strings.Fields(q)
		question := dns.Question{Name: f[0], Qtype: dns.StringToType[f[1]], Qclass: dns.ClassINET}
		if len(f) > 2 {
			question.Qclass |= 1 << 15
		}
		m.Question = append(m.Question, question)
	}
	return m
}

// reply returns a response with records in zone file form, those of unique
// types with the cache-flush bit.
func reply(t testing.TB, records ...string) *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	m.Answer = parse(t, records...)
	for _, rr := range m.Answer {
		if rr.Header().Rrtype != dns.TypePTR {
			rr.Header().Class |= 1 << 15
		}
	}
	return m
}

func parse(t testing.TB, records ...string) []dns.RR {
	var out []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		require.NoError(t, err)
		out = append(out, rr)
	}
	return out
}

// instance returns a reply that announces an instance at an address.
func instance(t testing.TB, label, addr string, txt string) *dns.Msg {
	return reply(t,
		"_sd._udp.local. 4500 IN PTR "+label+"._sd._udp.local.",
		label+"._sd._udp.local. 120 IN SRV 0 0 4242 "+label+".local.",
		label+"._sd._udp.local. 4500 IN TXT \""+txt+"\"",
		label+".local. 120 IN A "+addr)
}

// records counts the records of a type in the answers of messages.
func records(list []message, typ uint16) int {
	n := 0
	for _, m := range list {
		for _, rr := range m.Answer {
			if rr.Header().Rrtype == typ {
				n++
			}
		}
	}
	return n
}

// types returns the types of records, in order.
func types(list []dns.RR) []string {
	out := make([]string, len(list))
	for i, rr := range list {
		out[i] = dns.TypeToString[rr.Header().Rrtype]
	}
	slices.Sort(out)
	return out
}

func sprint(v any) string { return fmt.Sprint(v) }
