package dnssd

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
)

// A host that announces more records of an instance than the owner does must
// not crowd out the owner's: neither among the few records of a kind that are
// kept, nor among the few addresses that are reported. Sources have equal
// shares of the records, and SRV records of the reported addresses.

// makeRoom returns the record to drop from a full list for one that src
// announced: of the source that has most of them, the one heard longest ago. It
// returns nil if src itself has most. A record that has proved to lead to the
// instance stays.
func makeRoom(list []*cached, typ uint16, src netip.Addr) *cached {
	own := heldOf(list, typ, src)
	var out *cached
	most := own
	for _, c := range list {
		if c.typ != typ || c.proved || c.src == src {
			continue
		}
		has := most
		if out == nil || c.src != out.src {
			has = heldOf(list, typ, c.src)
		}
		if has > most || out != nil && has == most && c.received.Before(out.received) {
			out, most = c, has
		}
	}
	return out
}

// heldOf returns the number of records of a type that a source has announced.
func heldOf(list []*cached, typ uint16, src netip.Addr) (n int) {
	for _, c := range list {
		if c.typ == typ && c.src == src {
			n++
		}
	}
	return n
}

// heardFrom records that src has also announced a record: it counts toward the
// source that announces least.
func (c *cached) heardFrom(src netip.Addr, list []*cached) {
	if src == c.src {
		return
	}
	if heldOf(list, c.typ, src)+1 < heldOf(list, c.typ, c.src) {
		c.src = src
	}
}

// A way is an address that an SRV record leads to.
type way struct {
	addr   netip.AddrPort
	kind   wayKind
	src    netip.Addr
	proved bool
}

type wayKind int

// The kinds of ways, the most useful first.
const (
	onLink wayKind = iota
	offLink
	linkLocal
)

// targetWays are the ways of one target.
type targetWays struct {
	target Target
	ways   []way
}

// compare orders targets by priority, and then by where they lead.
func (t targetWays) compare(o targetWays) int {
	return cmp.Or(cmp.Compare(t.target.Priority, o.target.Priority), t.ways[0].addr.Compare(o.ways[0].addr), t.target.compare(o.target))
}

// selectWays returns the ways to report, taken from the targets in turn: the
// first of each, then the second of each, and so on.
func selectWays(targets []targetWays) (some []way) {
	nearest(targets)
	most, all := 0, targets
	targets = targets[:0]
	for _, t := range all {
		if len(t.ways) > 0 {
			targets = append(targets, targetWays{t.target, inTurn(t.ways)})
			most = max(most, len(t.ways))
		}
	}
	sort.Slice(targets, func(i, j int) bool { return targets[i].compare(targets[j]) < 0 })
	var ways []way
	for round := range most {
		for _, t := range targets {
			if round < len(t.ways) && !slices.ContainsFunc(ways, func(w way) bool { return w.addr == t.ways[round].addr }) {
				ways = append(ways, t.ways[round])
			}
		}
	}
	room := maxAddrs
	for _, w := range ways {
		if w.proved {
			room--
		}
	}
	for _, w := range ways {
		switch {
		case w.proved:
			some = append(some, w)
		case room > 0:
			some = append(some, w)
			room--
		}
	}
	return some
}

// nearest gives each address the best of its kinds, since a repeater may also
// have brought it to a link where it does not belong.
func nearest(targets []targetWays) {
	kinds := map[netip.AddrPort]wayKind{}
	for _, t := range targets {
		for _, w := range t.ways {
			if kind, ok := kinds[w.addr]; !ok || w.kind < kind {
				kinds[w.addr] = w.kind
			}
		}
	}
	for _, t := range targets {
		for i := range t.ways {
			t.ways[i].kind = kinds[t.ways[i].addr]
		}
	}
}

// inTurn orders the ways of one SRV record: the most useful kinds first, and
// within a kind those of each source in turn.
func inTurn(ways []way) []way {
	sort.Slice(ways, func(i, j int) bool {
		if ways[i].kind != ways[j].kind {
			return ways[i].kind < ways[j].kind
		}
		return ways[i].addr.Compare(ways[j].addr) < 0
	})
	turn := make([]int, len(ways))
	has := map[netip.Addr]int{}
	order := make([]int, len(ways))
	for i, w := range ways {
		turn[i], order[i] = has[w.src], i
		has[w.src]++
	}
	sort.SliceStable(order, func(i, j int) bool { return turn[order[i]] < turn[order[j]] })
	out := make([]way, len(ways))
	for i, o := range order {
		out[i] = ways[o]
	}
	return out
}
