package dnssd

import (
	"errors"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/dns"
)

// A host that uses a name of ours claims it: with a record under the name that
// we would not send, or with a probe that wins the tie-break (RFC 6762 §8.1,
// §8.2, §9). Between hosts that choose their names, one of them has to give
// way, and anybody can make the other one give way. But our names are keys. So
// if [Config.Probe] can determine who holds the key, the claimant has to prove
// that it does: until then, we continue to announce, answer for, and defend the
// name. A claim that arrives while we probe for the name has a moment for its
// proof, once.
const (
	claimTime   = 10 * time.Second        // for how long claims are collected
	claimGap    = 1200 * time.Millisecond // from one challenge to the next
	claimWait   = time.Second             // how long probing waits for the first
	refutedTime = 30 * time.Second        // until an address that did not prove anything is asked again
	rivalTime   = 2 * time.Minute         // for how long a proof counts

	maxClaimed = 4  // sources, SRV records, and addresses of each of their hosts, of the claims to a name
	maxRefuted = 64 // addresses
)

// Errors with which [Config.Probe] answers if it did not ask.
var (
	ErrNoProbe   = errors.New("dnssd: nobody can be probed") // for good: claims count without a proof
	ErrProbeBusy = errors.New("dnssd: probed too often")     // for the moment
)

// claims are those to the names of a publication.
type claims struct {
	sources []netip.Addr
	srvs    []*claimed
	last    time.Time
	denial  bool // they are more than a lost tie-break

	timer    timer     // the next challenge
	running  bool      // a challenge is running
	began    time.Time // the last challenge
	asked    time.Time // when missing addresses were asked for
	waited   bool      // probing waited for a challenge, in this round
	waits    bool      // and still does
	refuted  map[netip.AddrPort]time.Time
	defended time.Time // when the name is next defended
	defenses backoff.Backoff
}

// A claimed SRV record leads to the claimant of a name.
type claimed struct {
	host, key string // the host's name; folded
	port      uint16
	addrs     []netip.Addr
	noted     time.Time
}

func (c *claimed) full() bool { return len(c.addrs) >= 2*maxClaimed } // of two families

// believes reports whether claims to a name of ours count without a proof,
// because none is possible or one was given recently.
func (p *publication) believes() bool {
	e := p.l.e
	return e.cfg.Probe == nil || e.now.Before(p.entry.rival)
}

// claim records that another host has a record under a name of ours.
func (p *publication) claim(t told, src netip.Addr, denial bool) {
	c, now := &p.claims, p.l.e.now
	if now.Sub(c.last) > claimTime {
		p.dropClaims()
	}
	c.last, c.denial = now, c.denial || denial
	if len(c.sources) == 0 || c.sources[0] != src {
		c.sources = remember(c.sources, src)
	}
	if srv, ok := t.rr.(*dns.SRV); ok && t.key == p.entry.key {
		p.claimSRV(srv)
	}
	p.challengeSoon()
}

// challengeSoon challenges once the packet has been processed, but not too
// often.
func (p *publication) challengeSoon() {
	p.l.e.timers.soonest(&p.claims.timer, later(p.l.e.now, p.claims.began.Add(claimGap)))
}

// remember puts an address at the front of a short list.
func remember(list []netip.Addr, addr netip.Addr) []netip.Addr {
	list = slices.DeleteFunc(list, func(o netip.Addr) bool { return o == addr })
	return append([]netip.Addr{addr}, list...)[:min(len(list)+1, maxClaimed)]
}

func (p *publication) claimSRV(srv *dns.SRV) {
	c, key := &p.claims, fold(srv.Target)
	for _, o := range c.srvs {
		if o.port == srv.Port && o.key == key {
			return
		}
	}
	if len(c.srvs) == maxClaimed {
		if c.srvs[0].noted.Equal(c.last) { // of the same packet
			return
		}
		p.l.names.Remove(c.srvs[0].host)
		c.srvs = slices.Delete(c.srvs, 0, 1)
	}
	p.l.names.Add(srv.Target)
	c.srvs = append(c.srvs, &claimed{host: srv.Target, key: key, port: srv.Port, noted: c.last})
}

// dropClaims drops all claims.
func (p *publication) dropClaims() {
	c := &p.claims
	for _, srv := range c.srvs {
		p.l.names.Remove(srv.host)
	}
	c.sources, c.srvs, c.denial = nil, nil, false
}

// noteClaimed records the addresses of hosts that claim names of ours.
func (l *link) noteClaimed(records []told) {
	for _, p := range l.pubs {
		for _, srv := range p.claims.srvs {
			for _, t := range records {
				if t.key != srv.key || t.rr.Head().TTL == 0 || srv.full() {
					continue
				}
				if addr, ok := addrOf(t.rr); ok && !slices.Contains(srv.addrs, addr) {
					srv.addrs = append(srv.addrs, addr)
					p.challengeSoon()
				}
			}
		}
	}
}

// challenge asks the hosts that claim a name of ours to prove that they hold
// its key, without waiting for it.
func (p *publication) challenge() {
	c, e := &p.claims, p.l.e
	if c.running || e.now.Sub(c.last) > claimTime || p.state == stateConflict {
		return
	}
	p.defend()
	at := p.challengers()
	if len(at) == 0 {
		return
	}
	c.running, c.began = true, e.now
	if p.state == stateProbing && !c.waited {
		c.waited, c.waits = true, true
		e.timers.set(&p.timer, later(p.timer.at, e.now.Add(claimWait)))
	}
	e.cfg.Probe(p.entry.service.Instance, at, func(from netip.AddrPort, err error) {
		e.post(func() { p.challenged(at, from, err) })
	})
}

// challengers returns the addresses of hosts that might hold the key of the
// name, and asks for missing ones. They are on the link, and have not failed to
// prove it recently.
func (p *publication) challengers() (at []netip.AddrPort) {
	c, l := &p.claims, p.l
	add := func(addr netip.Addr, port uint16) {
		if addr = addr.WithZone(""); addr.Is6() && addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(l.ifc.Name)
		}
		a := netip.AddrPortFrom(addr, port)
		ourselves := port == p.entry.service.Port && l.e.owns(addr)
		if l.mayChallenge(addr) && !ourselves && !slices.Contains(at, a) && l.e.now.Sub(c.refuted[a]) > refutedTime {
			at = append(at, a)
		}
	}
	var questions []dns.Question
	for _, srv := range slices.Backward(c.srvs) {
		for _, addr := range slices.Concat(srv.addrs, c.sources) {
			add(addr, srv.port)
		}
		if len(srv.addrs) == 0 {
			questions = append(questions, dns.Question{Name: srv.host, Type: dns.TypeA}, dns.Question{Name: srv.host, Type: dns.TypeAAAA})
		}
	}
	if len(c.srvs) == 0 {
		questions = append(questions, dns.Question{Name: p.entry.name, Type: dns.TypeSRV})
		for _, addr := range c.sources {
			add(addr, p.entry.service.Port)
		}
	}
	sort.SliceStable(at, func(i, j int) bool { return plain(at[i].Addr()) < plain(at[j].Addr()) })
	if len(questions) > 0 && l.e.now.Sub(c.asked) > claimGap {
		c.asked = l.e.now
		l.ask(0, questions...)
	}
	return at
}

// plain ranks addresses: those that are easiest to read come first, since the
// one that answers is shown.
func plain(addr netip.Addr) int {
	switch {
	case addr.Is4():
		return 0
	case !addr.IsLinkLocalUnicast():
		return 1
	}
	return 2
}

// mayChallenge reports whether an address is on the link, so that nobody can
// make us send anything elsewhere.
func (l *link) mayChallenge(addr netip.Addr) bool {
	return addr.IsValid() && !addr.IsMulticast() && (addr.IsLinkLocalUnicast() || l.ifc.onLink(addr))
}

// owns reports whether an address is one of this host's.
func (e *Engine) owns(addr netip.Addr) bool {
	for _, l := range e.links {
		if l.ifc.owns(addr) {
			return true
		}
	}
	return false
}

// challenged handles the outcome of a challenge.
func (p *publication) challenged(at []netip.AddrPort, from netip.AddrPort, err error) {
	c, e := &p.claims, p.l.e
	c.running = false
	if e.links[p.l.ifc.Index] != p.l || !slices.Contains(p.l.pubs, p) {
		return
	}
	switch {
	case err == nil:
		e.log.Debug("a claim to our service instance was proved", "instance", p.entry.service.Instance, "address", from)
		p.entry.rival = e.now.Add(rivalTime)
		p.concede(from.Addr())
		return
	case errors.Is(err, ErrNoProbe) && len(c.sources) > 0:
		p.entry.rival = e.now.Add(claimTime)
		p.concede(c.sources[0])
		return
	}
	e.log.Debug("a claim to our service instance was not proved", "instance", p.entry.service.Instance, "addresses", at, "cause", err)
	if errors.Is(err, ErrProbeBusy) {
		p.challengeSoon()
	} else {
		if c.refuted == nil || len(c.refuted)+len(at) > maxRefuted {
			c.refuted = map[netip.AddrPort]time.Time{}
		}
		for _, a := range at {
			c.refuted[a] = e.now
		}
	}
	if c.waits {
		c.waits = false
		e.timers.set(&p.timer, e.now)
	}
}

// concede accepts a claim.
func (p *publication) concede(rival netip.Addr) {
	denial := p.claims.denial
	p.dropClaims()
	p.claims.waits = false
	switch {
	case p.state == stateProbing && p.probes > 0 && denial:
		p.deny(rival)
	case p.state == stateProbing && p.probes > 0:
		p.yield()
	case p.state == stateAnnounced:
		p.contest(rival)
	}
}

// defend announces a claimed name for hosts that have believed the claim: after
// a second, and less and less often while that goes on.
func (p *publication) defend() {
	c, now := &p.claims, p.l.e.now
	if p.state != stateAnnounced || now.Before(c.defended) {
		return
	}
	if now.Sub(c.defended) > time.Minute {
		c.defenses = backoff.Backoff{Min: time.Second, Max: time.Minute}
	}
	c.defended = now.Add(c.defenses.Next())
	p.due = max(p.due, 1)
	p.l.e.timers.soonest(&p.timer, later(now.Add(gatherTime), p.announced.Add(time.Second)))
}
