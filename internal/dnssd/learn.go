package dnssd

import (
	"math/rand/v2"

	"github.com/sdp2p/p2p/internal/dns"
)

// learn caches the records that concern instances of the service type, and no
// others.
func (l *link) learn(from received, records []told) {
	p := &lesson{
		l: l, size: len(from.Data), records: records, src: from.Src.Addr(), family: from.family, jitter: 0.02 * rand.Float64(),
		touched: map[*cached]bool{}, seen: map[*seen]bool{}, hosts: map[*host]bool{}, full: map[*cached]uint16{},
	}
	flush := map[historyKey]bool{}
	for pass := range 4 {
		for _, t := range records {
			if t.rr.Head().Class&^cacheFlush != dns.ClassINET || passOf(t.rr) != pass {
				continue
			}
			c := p.learnOne(t)
			if c == nil {
				continue
			}
			p.touched[c] = true
			if t.rr.Head().Class&cacheFlush != 0 && t.rr.Head().TTL > 0 {
				flush[historyKey{t.key, t.rr.Head().Type}] = true
			}
		}
	}
	for k := range flush {
		p.flush(k)
	}
	p.end()
}

// passOf returns the pass in which a record is learned, which comes after those
// that name it. It is -1 for records that are not learned.
func passOf(rr dns.Record) int {
	switch rr.(type) {
	case *dns.PTR:
		return 0
	case *dns.SRV:
		return 1
	case *dns.TXT:
		return 2
	case *dns.A, *dns.AAAA:
		return 3
	}
	return -1
}

// learnOne caches a record. It returns the cached form of a unique record, or
// nil.
func (p *lesson) learnOne(t told) *cached {
	switch rr := t.rr.(type) {
	case *dns.PTR:
		if t.key == p.l.e.serviceKey {
			p.learnPTR(rr)
		}
	case *dns.SRV:
		return p.learnSRV(t.key, rr)
	case *dns.TXT:
		p.learnTXT(t.key, rr)
	default:
		return p.learnAddr(t.key, rr)
	}
	return nil
}
