package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// Anybody on the link can say goodbye for another host, or replace its records
// (RFC 6762 §10.1, §10.2), towards all hosts or towards a single one. With
// [Config.Probe], neither counts by itself. The record stays for most of a
// second, in which its owner is asked; if the owner is present, it answers with
// the record. If the first question, which may be another host's, is in vain, a
// second one asks for a unicast answer, which may be sent even within a second
// after the record was multicast. An instance that is connected, was heard a
// moment ago, or has answered recently is also asked by Config.Probe: then the
// record goes only if that is in vain too, or if there is still no multicast
// answer 10 s later, or once the connection ends, since a node that leaves says
// goodbye before it closes its connections.
const (
	doubtAsk    = 60 * time.Millisecond   // within that time the owner is asked; others may have asked by then
	doubtAgain  = 300 * time.Millisecond  // from the first question to the second
	doubtProbe  = 150 * time.Millisecond  // when it is probed, if it has not answered
	doubtLast   = 850 * time.Millisecond  // when the record goes
	doubtCrowd  = 1300 * time.Millisecond // for the answer to a question for all instances, which may have to wait a second
	doubtGap    = 1200 * time.Millisecond // from one doubt to the next, and from one probe
	doubtProved = 650 * time.Millisecond  // for the answer to a probe
	guardTime   = 2 * time.Minute         // for how long an answer counts
	askedTime   = 2 * time.Second         // for how long a question counts as what a record answers
)

// A doubt is about whether an instance still has the records that were
// withdrawn.
type doubt struct {
	timer timer     // the next question
	began time.Time // when the first one was or is due
	again bool      // the next one is the second
	waits bool      // records were kept for longer, once until it answers
	probe timer     // Config.Probe
}

// takeBack makes a record go that was withdrawn or that another one replaces.
func (p *lesson) takeBack(c *cached) {
	now := p.l.e.now
	c.replaced = true
	if p.l.e.cfg.Probe == nil {
		c.doom(now.Add(graceTime))
		return
	}
	if c.held {
		return // its owner is being asked
	}
	c.held = true
	at := now.Add(doubtLast)
	if c.s != nil {
		at = p.l.doubtRecord(c.s, c, at)
	} else {
		for _, s := range c.h.users {
			at = p.l.doubtRecord(s, c, at)
		}
	}
	c.doom(at)
}

// doubtRecord makes the engine ask the owner of an instance about a record, and
// returns when that is over, which is not before at.
func (l *link) doubtRecord(s *seen, c *cached, at time.Time) time.Time {
	e, d := l.e, &s.doubt
	if !d.timer.pending() {
		d.began, d.again = later(e.now.Add(between(0, doubtAsk)), d.began.Add(doubtGap)), false
		e.timers.set(&d.timer, d.began)
	}
	at = later(at, d.began.Add(doubtLast-doubtAsk))
	if e.now.Sub(s.answered) >= guardTime && e.now.Sub(c.received) > answerGap && !e.connected(s) {
		return at
	}
	if !d.probe.pending() {
		e.timers.set(&d.probe, later(e.now.Add(doubtProbe), d.probe.at.Add(doubtGap)))
	}
	return later(at, d.probe.at.Add(doubtProved))
}

// later returns the latest of some times.
func later(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func (e *Engine) connected(s *seen) bool {
	return s.in.any(e.cfg.Connected)
}

// taken returns the records of an instance that are about to go because they
// were withdrawn.
func (s *seen) taken() []*cached {
	return slices.DeleteFunc(s.records(), func(c *cached) bool { return !c.held })
}

// records returns the records of an instance, with the addresses of its hosts.
func (s *seen) records() (all []*cached) {
	all = append([]*cached{s.ptr}, s.srvs...)
	if s.txt != nil {
		all = append(all, s.txt)
	}
	for _, srv := range s.srvs {
		if h := s.l.hosts[srv.host]; h != nil {
			for _, a := range h.addrs {
				if !slices.Contains(all, a) {
					all = append(all, a)
				}
			}
		}
	}
	return all
}

// askOwner asks for the withdrawn records of an instance, twice if necessary.
// It asks for the SRV in any case, since a host that has it is present.
func (s *seen) askOwner() {
	e, l, taken := s.l.e, s.l, s.taken()
	if len(taken) == 0 {
		return // it has answered
	}
	if !e.doubts.take(e.now) {
		l.askAllOwners(s)
		return
	}
	questions := []dns.Question{{Name: s.name, Type: dns.TypeSRV}}
	for _, c := range taken {
		q := dns.Question{Name: s.name, Type: c.typ}
		if c.h != nil {
			q.Name = c.h.name
		}
		if c.typ != dns.TypePTR && !slices.Contains(questions, q) {
			questions = append(questions, q)
		}
	}
	if !s.doubt.again {
		s.doubt.again = true
		e.timers.set(&s.doubt.timer, e.now.Add(doubtAgain))
		l.ask(0, questions...)
		return
	}
	for i := range questions {
		questions[i].Class = unicastBit
	}
	l.asked = e.now
	l.insist(questions...)
}

// askAllOwners asks for all instances since too many are in doubt. The records
// of the instance wait for the answer.
func (l *link) askAllOwners(s *seen) {
	l.browse.firm = true
	wait := max(0, time.Second-l.e.now.Sub(l.browse.asked))
	l.browseSoon(wait)
	if s.doubt.waits {
		return
	}
	s.doubt.waits = true
	for _, c := range s.taken() {
		if at := l.e.now.Add(wait + doubtCrowd); c.doomed.Before(at) {
			c.doomed = at
			c.schedule()
		}
	}
}

// probeOwner asks by other means, if the owner has not answered yet.
func (s *seen) probeOwner() {
	if len(s.taken()) > 0 {
		s.l.e.probe(s.in)
	}
}

// probe asks an instance by Config.Probe, only at addresses on the link or
// where it has answered before, since anybody can announce it elsewhere.
func (e *Engine) probe(in *instance) {
	if !in.shown {
		return
	}
	proved := slices.DeleteFunc(slices.Clone(in.last.OffLink), func(a netip.AddrPort) bool { return !in.provedAt(a) })
	at := slices.Concat(in.last.Addrs, proved, in.last.LinkLocal)
	for _, label := range in.told {
		e.cfg.Probe(label, at, func(from netip.AddrPort, err error) {
			if err == nil {
				e.post(func() { e.answered(label, from) })
			}
		})
	}
}

// Met tells the engine that a connection with an instance began, at an address,
// or ended, if the address is invalid.
func (e *Engine) Met(instance string, at netip.AddrPort) {
	e.post(func() {
		e.answered(instance, at)
		if in := e.table[fold(instance)]; in != nil && !at.IsValid() {
			for _, s := range in.on {
				s.parted()
			}
		}
	})
}

// parted removes an instance that has said goodbye and was kept only because of
// its connection: it was asked since, and would have been heard by now.
func (s *seen) parted() {
	if !s.retained {
		return
	}
	for _, c := range s.srvs {
		c.replaced, c.held = true, true
		c.doom(later(s.l.e.now, s.doubt.began.Add(doubtLast-doubtAsk)))
	}
}

// answered records that the holder of the key that an instance is named after
// has answered. The records that led there stay.
func (e *Engine) answered(label string, from netip.AddrPort) {
	in := e.table[fold(label)]
	if in == nil {
		return
	}
	if from.IsValid() {
		e.proved(in, label)
	}
	for _, s := range in.on {
		s.answered = e.now
		stays := false
		for _, c := range s.records() {
			leads := c.leadsTo(s, from)
			c.proved = c.proved || leads
			if leads && c.held {
				c.stay()
				stays = true
			}
		}
		if stays { // but it may have withdrawn from here
			s.retained = true
			s.l.suspect(s)
		}
	}
}

// provedAt reports whether an instance has answered at an address.
func (in *instance) provedAt(at netip.AddrPort) bool {
	return slices.ContainsFunc(in.on, func(s *seen) bool {
		return slices.ContainsFunc(s.records(), func(c *cached) bool { return c.typ == dns.TypeSRV && c.proved && c.leadsTo(s, at) }) &&
			slices.ContainsFunc(s.records(), func(c *cached) bool { return c.h != nil && c.proved && c.leadsTo(s, at) })
	})
}

// leadsTo reports whether a record is consistent with the instance answering at
// an address.
func (c *cached) leadsTo(s *seen, from netip.AddrPort) bool {
	addr := from.Addr().Unmap().WithZone("")
	switch c.typ {
	case dns.TypeSRV:
		h := s.l.hosts[c.host]
		return c.port == from.Port() && h != nil && slices.ContainsFunc(h.addrs, func(a *cached) bool { return a.addr == addr })
	case dns.TypeA, dns.TypeAAAA:
		return c.addr == addr
	}
	return from.IsValid()
}

// stay keeps a record that was withdrawn.
func (c *cached) stay() {
	c.doomed, c.replaced, c.held = time.Time{}, false, false
	c.schedule()
}

// noteAsked records that the records of an instance were asked for.
func (l *link) noteAsked(q dns.Question) {
	if s := l.seenByName(q.Name); s != nil {
		s.asked = l.e.now
	}
}

// noteAnswer records that an SRV record of an instance was heard: its PTR is
// valid, and if it was asked for, the instance has answered.
func (s *seen) noteAnswer() {
	s.retained, s.doubt.waits = false, false
	if s.ptr.held {
		s.ptr.stay()
	}
	if now := s.l.e.now; now.Sub(s.asked) <= askedTime || now.Sub(s.l.browse.asked) <= askedTime {
		s.answered = now
	}
}

// post makes the engine's goroutine call f.
func (e *Engine) post(f func()) {
	e.mu.Lock()
	e.posted = append(e.posted, f)
	e.mu.Unlock()
	e.poke()
}

// runPosted calls the posted functions.
func (e *Engine) runPosted() {
	e.mu.Lock()
	posted := e.posted
	e.posted = nil
	e.mu.Unlock()
	for _, f := range posted {
		f()
	}
}
