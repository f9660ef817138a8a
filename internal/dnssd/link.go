package dnssd

import (
	"errors"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A link is an interface in use, with everything that was learned and is
// announced on it. When the interface vanishes, or is attached to another
// network, the link is dropped with all of that.
type link struct {
	e      *Engine
	ifc    Interface
	joined [families]bool
	deaf   error     // why a group that should be joined is not
	away   time.Time // since when the interface is down; nothing is sent then

	rejoined time.Time // when the groups were joined again because questions were in vain

	pubs    []*publication
	answers [families]answerQueue
	held    map[netip.AddrPort]*heldQuery
	waiting int // deferred unicast answers

	seen    map[string]*seen // by folded label
	hosts   map[string]*host // by folded name
	addrs   int              // of hosts
	names   *dns.Set         // names that packets are inspected for: the service's, ours, and those of hosts
	browse  browser
	rush    rush
	batch   batch
	history history
	echoes  echoes
	asked   time.Time       // when unicast answers were last asked for
	timers  map[*timer]bool // one-shot timers, to stop when the link is dropped

	missed    missed
	withheld  timer    // an entry is not announced (Config.Private)
	reported  []*entry // entries that were reported as withheld
	audience  audience
	strangers strangers
	tenants   map[netip.Addr]*seen // by the address from which one was last heard
}

// openLink starts announcing and browsing on an interface.
func (e *Engine) openLink(ifc Interface) {
	l := &link{
		e:      e,
		ifc:    ifc,
		held:   make(map[netip.AddrPort]*heldQuery),
		seen:   make(map[string]*seen),
		hosts:  make(map[string]*host),
		names:  dns.NewSet(e.service),
		timers: make(map[*timer]bool),

		missed:    newMissed(),
		strangers: strangers{addrs: make(map[netip.Addr]*stranger)},
		tenants:   make(map[netip.Addr]*seen),
	}
	for f := range Family(families) {
		q := &l.answers[f]
		q.due = make(map[*ownRecord]pendingAnswer)
		q.timer.fn = func() { l.flushAnswers(f) }
	}
	l.names.Add(enumeration)
	l.browse.timer.fn = l.browseNow
	l.browse.early.fn = l.browseEarly
	l.missed.timer.fn = l.askMissing
	l.withheld.fn = l.reportWithheld
	l.audience.timer.fn = l.sound
	l.strangers.timer.fn = l.visitStrangers
	l.batch.timer.fn = l.flushBatch
	e.links[ifc.Index] = l
	l.join()
	l.publishMissing()
	l.startBrowsing()
}

// close drops the link without a goodbye, since nobody is left to hear it.
func (l *link) close() {
	e := l.e
	delete(e.links, l.ifc.Index)
	for _, p := range l.pubs {
		e.timers.stop(&p.timer)
		e.retire(p.records...)
		e.timers.stop(&p.claims.timer)
		e.conflictOver(p)
		if p.public {
			p.entry.leave(&l.ifc)
		}
	}
	for f := range Family(families) {
		e.timers.stop(&l.answers[f].timer)
		if l.joined[f] && e.sockets[f].conn != nil {
			e.sockets[f].conn.Leave(l.ifc)
		}
	}
	for t := range l.timers {
		e.timers.stop(t)
	}
	for _, t := range []*timer{&l.browse.timer, &l.browse.early, &l.batch.timer, &l.missed.timer, &l.withheld, &l.audience.timer, &l.strangers.timer} {
		e.timers.stop(t)
	}
	l.forgetAll()
	e.unqueue(func(a *announcement) bool { return a.l == l })
}

// forgetAll drops the cache of the link.
func (l *link) forgetAll() {
	for _, s := range l.seen {
		l.forget(s)
	}
}

// after calls fn in the engine's goroutine after a while, unless the link is
// dropped before.
func (l *link) after(d time.Duration, fn func()) *timer {
	t := &timer{}
	t.fn = func() {
		delete(l.timers, t)
		fn()
	}
	l.timers[t] = true
	l.e.timers.set(t, l.e.now.Add(d))
	return t
}

func (l *link) stopTimer(t *timer) {
	l.e.timers.stop(t)
	delete(l.timers, t)
}

// multicast sends packets to the group of a family and counts them as one kind.
func (l *link) multicast(f Family, packets [][]byte, kind func(*Traffic) *Count) {
	if !l.joined[f] {
		return
	}
	for _, b := range packets {
		l.echoes.expect(b, l.e.now)
		l.send(f, b, Groups[f], kind)
	}
}

func (l *link) send(f Family, b []byte, to netip.AddrPort, kind func(*Traffic) *Count) {
	conn := l.e.sockets[f].conn
	if conn == nil || !l.away.IsZero() {
		return
	}
	err := conn.Send(b, l.ifc, to)
	l.e.count(func(s *Stats) {
		if err != nil {
			s.Unsent++
			return
		}
		kind(&s.Sent).add(len(b))
	})
}

func probes(t *Traffic) *Count        { return &t.Probes }
func announcements(t *Traffic) *Count { return &t.Announcements }
func queries(t *Traffic) *Count       { return &t.Queries }
func responses(t *Traffic) *Count     { return &t.Responses }
func goodbyes(t *Traffic) *Count      { return &t.Goodbyes }
func legacy(t *Traffic) *Count        { return &t.Legacy }

var (
	errOffLink   = errors.New("source is not on the link")
	errMalformed = errors.New("malformed")
	errOwn       = errors.New("own packet")
)

// receive processes a packet.
func (e *Engine) receive(p received) {
	l := e.linkOf(p)
	err := errOffLink
	if l != nil {
		err = l.receive(p)
	}
	if err == nil {
		return
	}
	e.count(func(s *Stats) {
		switch err {
		case errOwn:
			s.Own++
		case errMalformed:
			s.Malformed++
		default:
			s.OffLink++
		}
	})
}

// linkOf returns the link on which a packet arrived. If the platform does not
// report the interface, the packet's source decides.
func (e *Engine) linkOf(p received) *link {
	if p.Index != 0 {
		return e.links[p.Index]
	}
	src := p.Src.Addr()
	for _, l := range e.links {
		if src.Zone() == l.ifc.Name || src.Zone() == "" && l.ifc.onLink(src) {
			return l
		}
	}
	return nil
}

func (l *link) receive(p received) error {
	src := p.Src.Addr()
	if !l.admits(p) {
		return errOffLink
	}
	if l.own(src, p.Data) {
		return errOwn
	}
	look, err := l.e.reader.Look(p.Data, l.names)
	if err != nil {
		return errMalformed
	}
	unicast := p.Dst.IsValid() && !p.Dst.IsMulticast()
	isLegacy := p.Src.Port() != Port
	// RFC 6762 §6 and §11: from port 5353; by unicast only in answer to a
	// question of the last 2 s.
	if look.Response && (isLegacy || unicast && l.e.now.Sub(l.asked) > 2*time.Second) {
		return errMalformed
	}
	if !look.Concerns && l.held[p.Src] == nil { // most packets on a network are about other services
		l.countReceived(look, len(p.Data), isLegacy)
		l.heardFrom(src)
		return nil
	}
	m, err := l.e.reader.Unpack(p.Data)
	if err != nil {
		return errMalformed
	}
	l.countReceived(lookOf(m), len(p.Data), isLegacy)
	switch {
	case look.Response:
		l.handleResponse(p, m)
	case isLegacy:
		l.answerLegacy(p, m)
	default:
		l.handleQuery(p, m, unicast)
	}
	l.heardFrom(src)
	return nil
}

// own reports whether a packet is one of ours. A packet that we send on one
// interface may also come back on another one that is attached to the same
// network. There, a source address of ours proves nothing, since another host
// may have the same address in another network; only the record of sent packets
// does.
func (l *link) own(src netip.Addr, data []byte) bool {
	if l.ifc.owns(src) {
		return l.echoes.own(data, l.e.now)
	}
	for _, other := range l.e.links {
		if other != l && other.ifc.owns(src) && other.echoes.lately(data, l.e.now) {
			return true
		}
	}
	return false
}

// lookOf returns the kind of packet of a message.
func lookOf(m *dns.Message) dns.Look {
	stays := func(rr dns.Record) bool { return rr.Head().TTL > 0 }
	return dns.Look{
		Response: m.Response,
		Probe:    !m.Response && len(m.Ns) > 0,
		Goodbye:  m.Response && len(m.Answer) > 0 && !slices.ContainsFunc(m.Answer, stays),
	}
}

func (l *link) countReceived(p dns.Look, size int, isLegacy bool) {
	kind := queries
	switch {
	case isLegacy:
		kind = legacy
	case p.Goodbye:
		kind = goodbyes
	case p.Response:
		kind = responses
	case p.Probe:
		kind = probes
	}
	l.e.count(func(s *Stats) { kind(&s.Received).add(size) })
}

// echoes recognizes our own multicast packets when they come back. Comparing
// source addresses is not enough, since other processes of this host have the
// same address and port. So each packet sent is expected to come back once.
type echoes struct {
	seed maphash.Seed
	sent map[uint64][]time.Time // packets that have not come back
	n    int                    // number of these
	last map[uint64]time.Time   // when a packet was last sent
}

const echoTime = 5 * time.Second // longer than a packet stays in a receive buffer

func (s *echoes) expect(b []byte, now time.Time) {
	if s.sent == nil {
		s.seed = maphash.MakeSeed()
		s.sent, s.last = make(map[uint64][]time.Time), make(map[uint64]time.Time)
	}
	if s.n >= maxEchoes || len(s.last) >= maxEchoes {
		s.expire(now)
	}
	if s.n >= maxEchoes { // nothing comes back, it seems
		clear(s.sent)
		s.n = 0
	}
	if len(s.last) >= maxEchoes {
		clear(s.last)
	}
	h := maphash.Bytes(s.seed, b)
	s.last[h] = now
	s.sent[h] = append(s.sent[h], now)
	s.n++
}

// own reports whether b is one of the expected packets, and if so no longer
// expects it.
func (s *echoes) own(b []byte, now time.Time) bool {
	if s.n == 0 {
		return false
	}
	s.expire(now)
	h := maphash.Bytes(s.seed, b)
	times := s.sent[h]
	if len(times) == 0 {
		return false
	}
	s.n--
	if s.sent[h] = times[1:]; len(times) == 1 {
		delete(s.sent, h)
	}
	return true
}

// lately reports whether b was sent recently, whether it has come back or not.
func (s *echoes) lately(b []byte, now time.Time) bool {
	if s.last == nil {
		return false
	}
	at, ok := s.last[maphash.Bytes(s.seed, b)]
	return ok && now.Sub(at) <= echoTime
}

func (s *echoes) expire(now time.Time) {
	maps.DeleteFunc(s.last, func(_ uint64, at time.Time) bool { return now.Sub(at) > echoTime })
	for h, times := range s.sent {
		for len(times) > 0 && now.Sub(times[0]) > echoTime {
			times = times[1:]
			s.n--
		}
		if s.sent[h] = times; len(times) == 0 {
			delete(s.sent, h)
		}
	}
}
