package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

const (
	probeCount    = 3
	probeInterval = 250 * time.Millisecond
	probeDefer    = time.Second // after a lost tie-break (RFC 6762 §8.2)

	// The pause after a denied probe. RFC 6762 §8.1 requires at least 5 s after
	// 15 conflicts within 10 s; since we do not choose another name, one is
	// enough.
	conflictPause    = 5 * time.Second
	conflictPauseMax = time.Minute
)

// startProbing starts over after a delay. Until it succeeds, the publication
// answers nothing. With Config.Private, it succeeds at once.
func (p *publication) startProbing(delay time.Duration) {
	p.state, p.probes, p.due = stateProbing, 0, 0
	if p.l.e.cfg.Private {
		p.probes = probeCount
	}
	p.claims.waited, p.claims.waits = false, false
	for f := range Family(families) {
		for _, r := range p.records {
			p.l.answers[f].drop(r)
		}
	}
	p.l.e.timers.set(&p.timer, p.l.e.now.Add(delay))
}

// probe sends the next of three probes, or announces if all went unanswered
// (RFC 6762 §8.1).
func (p *publication) probe() {
	l := p.l
	p.state = stateProbing
	if p.probes == probeCount {
		p.state, p.due, p.contested = stateAnnounced, 2, false
		p.denied.Reset()
		l.audience.steps = 0
		l.e.conflictOver(p)
		p.announce()
		return
	}
	p.probes++
	for f := range Family(families) {
		if !l.joined[f] {
			continue
		}
		l.multicast(f, appendPacked(nil, p.message(f)), probes)
	}
	l.asked = l.e.now
	l.e.timers.set(&p.timer, l.e.now.Add(probeInterval))
}

// message returns a probe, with our unique records in its authority section. A
// TXT record that is too large for the packet is not proposed (RFC 6762 §17).
func (p *publication) message(f Family) *dns.Message {
	m := &dns.Message{}
	for _, name := range []string{p.entry.name, p.host} {
		m.Question = append(m.Question, dns.Question{Name: name, Type: dns.TypeANY, Class: dns.ClassINET | unicastBit})
	}
	size := sizer{limit: p.l.ifc.payload(f), bound: m.Len()}
	for _, r := range p.records {
		if r.unique && r.typ() != dns.TypeNSEC {
			rr := withTTL(r.rr, r.rr.Head().TTL, true)
			if m.Ns = append(m.Ns, rr); !size.fits(m, rr) {
				m.Ns = m.Ns[:len(m.Ns)-1]
			}
		}
	}
	return m
}

// named returns the records with a name, folded: as many as a name may have.
func named(records []dns.Record, key string, keys folder) (list []dns.Record) {
	for _, rr := range records {
		if len(list) < maxProposed && keys.fold(rr.Head().Name) == key {
			list = append(list, rr)
		}
	}
	return list
}

// tieBreak compares the records that another host proposes in a probe with
// ours, if we are probing for the same name. The lexicographically later set
// wins; the loser waits a second and probes again, by when the winner answers
// (RFC 6762 §8.2). The names of instance and host depend on each other, so the
// host decides only if the instance does not.
func (l *link) tieBreak(m *dns.Message, src netip.Addr, f Family) {
	keys := folder{}
	for _, p := range l.pubs {
		if p.state != stateProbing || p.probes == 0 || l.e.cfg.Private {
			continue
		}
		proposed := p.message(f).Ns
		for _, key := range []string{p.entry.key, p.hostKey} {
			theirs := named(m.Ns, key, keys)
			if !l.e.foreign(theirs) { // or there are none
				continue
			}
			c := compareSets(named(proposed, key, keys), theirs)
			switch {
			case c < 0 && p.believes():
				p.yield()
			case c < 0:
				for _, rr := range m.Ns[:min(len(m.Ns), maxProposed)] {
					p.claim(told{rr, keys.fold(rr.Head().Name)}, src, false)
				}
			}
			if c != 0 {
				break
			}
		}
	}
}

// checkConflict checks a record that another host multicast. While we probe for
// a name, any record with that name denies it (RFC 6762 §8.1). Once it is
// announced, a record that replaces one of ours with other data makes us probe
// again (§9).
func (l *link) checkConflict(t told, src netip.Addr) {
	h, key := t.rr.Head(), t.key
	if h.Type == dns.TypeNSEC || h.Class&^cacheFlush != dns.ClassINET {
		return
	}
	for _, p := range l.pubs {
		if key != p.entry.key && key != p.hostKey {
			continue
		}
		if h.TTL == 0 {
			// The other host is leaving: no need to wait for the end of the
			// pause.
			if p.state == stateConflict {
				l.e.timers.soonest(&p.timer, l.e.now.Add(probeDefer))
			}
			continue
		}
		if p.find(t.rr, key) != nil {
			continue
		}
		p.disputed(t, src)
	}
}

// disputed handles a record of another host under a name of this publication.
func (p *publication) disputed(t told, src netip.Addr) {
	same := func(r *ownRecord) bool { return r.key == t.key && r.typ() == t.rr.Head().Type }
	probing := p.state == stateProbing && p.probes > 0
	announced := p.state == stateAnnounced && slices.ContainsFunc(p.records, same)
	switch {
	case p.l.e.ours(t): // our own record came back
	case p.l.e.cfg.Private:
		p.defend()
	case !probing && !announced:
	case !p.believes():
		p.claim(t, src, true)
	case probing:
		p.deny(src)
	default:
		p.contest(src)
	}
}

// yield leaves the name to another host that also probes for it, unless the
// name is free a second later.
func (p *publication) yield() {
	p.announced = time.Time{} // so that nothing is withdrawn under the name
	p.startProbing(probeDefer)
}

// contest probes again for a name that another host also uses (RFC 6762 §9).
func (p *publication) contest(src netip.Addr) {
	p.contested = true
	p.l.e.setConflict(p.entry, src)
	p.startProbing(between(0, probeInterval))
}

// deny ends probing: the name is in use. It is tried again after a pause.
func (p *publication) deny(src netip.Addr) {
	p.state, p.probes, p.contested = stateConflict, 0, true
	p.claims.waited, p.claims.waits = false, false
	p.l.e.timers.set(&p.timer, p.l.e.now.Add(p.denied.Next()))
	p.l.e.setConflict(p.entry, src)
}

// A conflict is a result of [Engine.Conflict].
type conflict struct {
	instance string
	other    netip.Addr
}

// setConflict records the address of another host that announces an entry; an
// invalid address means that none does. It reports and logs the beginning and
// the end; it logs at a bounded rate, since anybody on the link can cause a
// conflict.
func (e *Engine) setConflict(en *entry, other netip.Addr) {
	before := en.conflict
	if before.IsValid() == other.IsValid() {
		return
	}
	en.conflict = other
	instance := en.service.Instance
	e.mu.Lock()
	e.conflicts = slices.DeleteFunc(e.conflicts, func(c conflict) bool { return c.instance == instance })
	if other.IsValid() {
		e.conflicts = append(e.conflicts, conflict{instance, other})
	}
	e.mu.Unlock()
	switch {
	case !e.logging.take(e.now):
	case other.IsValid():
		e.log.Warn("our service instance is announced by somebody else", "instance", instance, "address", other)
	default:
		e.log.Info("our service instance is no longer announced by anybody else", "instance", instance)
	}
	if e.cfg.Conflict != nil {
		e.events = append(e.events, func() { e.cfg.Conflict(instance, other) })
	}
}

// conflictOver records that p is no longer in conflict or has ended. The
// entry's conflict is over if no other link has one.
func (e *Engine) conflictOver(p *publication) {
	for _, l := range e.links {
		if o := l.publication(p.entry); o != nil && o != p && o.contested {
			return
		}
	}
	e.setConflict(p.entry, netip.Addr{})
}
