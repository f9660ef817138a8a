package dnssd

import (
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A repeater forwards multicast packets of one link to another, from its own
// address, at once or from a cache: routers do so between virtual networks.
// Packets that this node sends on one of its links may then come back on
// another, or on the same one, as if another host had sent them.

const (
	// formerTime is how long a record counts as ours after it has changed or
	// was withdrawn: as long as a host that missed the change has the addresses
	// and the port in its cache.
	formerTime = hostTTL * time.Second
	maxFormer  = 64 // such records, the newest ones
)

// A former record was ours until a moment ago.
type former struct {
	rr    dns.Record
	typ   uint16
	key   string // its name, folded
	until time.Time
}

// retire records that records were ours.
func (e *Engine) retire(records ...*ownRecord) {
	for _, r := range records {
		if r.unique {
			e.former = append(e.former, former{r.rr, r.typ(), r.key, e.now.Add(formerTime)})
		}
	}
	e.former = e.former[max(0, len(e.former)-maxFormer):]
}

// ours reports whether a record is one that this node announces on any of its
// links, or did recently. Such a record says nothing about other hosts.
func (e *Engine) ours(t told) bool {
	typ := t.rr.Head().Type
	for _, l := range e.links {
		if slices.ContainsFunc(l.pubs, func(p *publication) bool { return p.find(t.rr, t.key) != nil }) {
			return true
		}
	}
	return slices.ContainsFunc(e.former, func(f former) bool {
		return f.typ == typ && f.key == t.key && e.now.Before(f.until) && sameData(f.rr, t.rr)
	})
}

// foreign reports whether one of the records is not ours.
func (e *Engine) foreign(records []dns.Record) bool {
	keys := folder{}
	return slices.ContainsFunc(records, func(rr dns.Record) bool { return !e.ours(told{rr, keys.fold(rr.Head().Name)}) })
}

// repeatedProbe reports whether a query is a probe of this node that came back.
// It needs no answer.
func (e *Engine) repeatedProbe(m *dns.Message) bool {
	return len(m.Ns) > 0 && len(e.entries) > 0 && !e.foreign(m.Ns)
}

// news returns the records of a response, without those of this node's
// instances if the response only repeats them. If they were cached, the engine
// would ask for them again.
func (e *Engine) news(records []told) []told {
	own := func(t told) bool {
		if ptr, ok := t.rr.(*dns.PTR); ok {
			return e.ownName(ptr.Ptr)
		}
		return e.ownName(t.rr.Head().Name)
	}
	said := func(t told) bool { // of an instance of ours, by somebody else
		typ := t.rr.Head().Type
		return typ != dns.TypePTR && typ != dns.TypeNSEC && own(t) && !e.ours(t)
	}
	if slices.ContainsFunc(records, said) {
		return records
	}
	return slices.DeleteFunc(records, own)
}

// ownName reports whether a domain name is that of an instance of ours.
func (e *Engine) ownName(name string) bool {
	return slices.ContainsFunc(e.entries, func(en *entry) bool { return sameName(en.name, name) })
}

// sameName reports whether two domain names in presentation form are the same
// name in DNS, without a copy of either.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
