package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// An ear listens on one interface over one family. The mutex of its family's
// ears guards it, except the facts about sending and joining.
type ear struct {
	earFacts
	query   []byte // a unique query that asks for answers to the group
	private []byte // the same for answers to this host
	asked   time.Time

	wanted  bool // the second query was sent
	senders map[netip.Addr]int
	answers map[netip.Addr]bool // senders of unicast answers: whether only to the second query, or to any
}

// maxSources bounds the number of devices that are told apart on one interface.
const maxSources = 256

// ears are the ears of one family, which share a socket as in discovery.
type ears struct {
	family dnssd.Family
	own    func(netip.Addr) bool

	mu  sync.Mutex
	all []*ear
	err error // of the socket: it could not be opened, or has failed
}

// listen sends queries on every interface in use, listens until ctx is done,
// and returns what came back and what others sent.
func (d *doctor) listen(ctx context.Context, f *facts) (heard []earFacts) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	families := []*ears{{family: dnssd.IPv4, own: f.owns}, {family: dnssd.IPv6, own: f.owns}}
	used := f.used()
	var listening sync.WaitGroup
	for _, e := range families {
		for _, l := range used {
			if slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == (e.family == dnssd.IPv4) }) {
				e.all = append(e.all, newEar(l.Interface, e.family, d.app))
			}
		}
		if len(e.all) > 0 {
			listening.Go(func() { e.listen(ctx, d.network) })
		}
	}
	listening.Wait()
	for _, l := range used {
		for _, e := range families {
			for _, x := range e.all {
				if x.link.Index == l.Index {
					heard = append(heard, x.facts(e.err))
				}
			}
		}
	}
	return heard
}

func newEar(link dnssd.Interface, family dnssd.Family, app string) *ear {
	name := rand.Text()
	return &ear{
		earFacts: earFacts{link: link, family: family}, query: probe(app, name, 0), private: probe(app, name, unicastAnswer),
		senders: map[netip.Addr]int{}, answers: map[netip.Addr]bool{},
	}
}

// unicastAnswer is the bit of a question's class that asks for an answer by
// unicast (RFC 6762 §5.4).
const unicastAnswer = 1 << 15

// probe returns a query for all services (RFC 6763 §9) and for the app's nodes,
// so that others have something to answer, and for a unique name, by which the
// query is recognized when it comes back.
func probe(app, name string, bits uint16) []byte {
	ask := func(name string, kind uint16) dns.Question {
		return dns.Question{Name: name, Type: kind, Class: dns.ClassINET | bits}
	}
	b, err := (&dns.Message{Question: []dns.Question{
		ask("_services._dns-sd._udp.local.", dns.TypePTR), ask("_"+app+"._udp.local.", dns.TypePTR),
		ask("doctor-"+name+"._"+app+"._udp.local.", dns.TypeTXT),
	}}).Pack()
	if err != nil {
		panic(err) // all names are valid
	}
	return b
}

// facts returns the facts of all ears, with the error of the socket if it has
// failed.
func (x *ear) facts(err error) earFacts {
	if err != nil {
		x.err, x.doing = err, opening
	}
	for addr, n := range x.senders {
		x.earFacts.sources = append(x.earFacts.sources, source{x.link.Name, x.family.String(), addr, n})
	}
	slices.SortFunc(x.earFacts.sources, func(a, b source) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Source.Compare(b.Source))
	})
	for addr, asked := range x.answers {
		if asked {
			x.earFacts.direct = append(x.earFacts.direct, addr)
		}
	}
	slices.SortFunc(x.earFacts.direct, netip.Addr.Compare)
	return x.earFacts
}

// listen sends queries and listens until ctx is done. It sends with another
// socket than it listens with, which on some systems gets the unicast answers.
func (e *ears) listen(ctx context.Context, network dnssd.Network) {
	open := func(deliver func(dnssd.Packet)) dnssd.Conn {
		c, err := network.Open(e.family, deliver, e.fail)
		if err != nil {
			e.fail(err)
		}
		return c
	}
	in := open(e.hear)
	if in == nil {
		return
	}
	defer in.Close()
	out := open(func(p dnssd.Packet) {
		if isUnicast(p) {
			e.hear(p)
		}
	})
	if out == nil {
		return
	}
	defer out.Close()
	e.join(in)
	for pause := time.Second; ; pause *= 2 { // RFC 6762 §5.2
		e.ask(out, false)
		if !sleep(ctx, pause/2) {
			return
		}
		e.ask(out, true)
		if !sleep(ctx, pause/2) {
			return
		}
	}
}

// join joins the group on all interfaces, as one socket of a discovery does.
func (e *ears) join(in dnssd.Conn) {
	joined := 0
	for _, x := range e.all {
		x.joined = joined
		if err := in.Join(x.link); err != nil {
			x.err, x.doing = err, joining
			continue
		}
		joined++
	}
}

// ask sends a query on each interface.
func (e *ears) ask(out dnssd.Conn, direct bool) {
	for _, x := range e.all {
		if x.doing == joining {
			continue
		}
		query := x.query
		e.mu.Lock()
		if direct {
			query, x.wanted = x.private, true
		} else {
			x.asked = time.Now()
		}
		e.mu.Unlock()
		x.err, x.doing = out.Send(query, x.link, dnssd.Groups[e.family]), sending // the last try counts
	}
}

func (e *ears) fail(err error) {
	if errors.Is(err, net.ErrClosed) {
		return // by listen
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = cmp.Or(e.err, err)
}

// isUnicast reports whether a packet was sent to this host alone, as far as
// known.
func isUnicast(p dnssd.Packet) bool { return p.Dst.IsValid() && !p.Dst.IsMulticast() }

func (e *ears) hear(p dnssd.Packet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from := p.Src.Addr().WithZone("")
	if e.own(from) && e.returned(p) {
		return
	}
	i := slices.IndexFunc(e.all, func(x *ear) bool {
		if p.Index != 0 {
			return x.link.Index == p.Index
		}
		return slices.ContainsFunc(x.link.Addrs, func(prefix netip.Prefix) bool { return prefix.Contains(from) })
	})
	if i < 0 {
		return
	}
	x := e.all[i]
	switch {
	case isUnicast(p):
		x.answered(from, e.own(from))
	case e.own(from):
		x.local++
	default:
		x.packets++
		if _, known := x.senders[from]; known || len(x.senders) < maxSources {
			x.senders[from]++
		}
	}
}

// returned reports whether a packet is one of the queries, and records that it
// came back.
func (e *ears) returned(p dnssd.Packet) bool {
	for _, x := range e.all {
		if bytes.Equal(p.Data, x.private) {
			return true
		}
		if bytes.Equal(p.Data, x.query) {
			if x.back == 0 && (p.Index == x.link.Index || p.Index == 0) { // not from another interface on the same network
				x.back = max(time.Since(x.asked), 1)
			}
			return true
		}
	}
	return false
}

// answered records a unicast packet. A device that sends these without being
// asked to always does, and proves nothing.
func (x *ear) answered(from netip.Addr, own bool) {
	if _, known := x.answers[from]; !own && !known && len(x.answers) < maxSources {
		x.answers[from] = x.wanted
	}
}

// sleep waits, and reports whether ctx is not done.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
