package roster

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// devices are devices of a library, each with a roster of its own.
type devices struct {
	h       *history
	rosters []*Roster
	nodes   map[Hash]*node
}

func newDevices(h *history, n int) *devices {
	d := &devices{h: h, nodes: map[Hash]*node{}}
	for _, n := range h.signed {
		d.nodes[n.hash] = n
	}
	for range n {
		d.rosters = append(d.rosters, h.roster(nil))
	}
	return d
}

// give has a device take those statements that it can take, as Roster.Add does:
// it skips those that it knows, and those whose predecessor it does not have.
func give(to *Roster, nodes []*node) {
	batch, known := []*node{}, map[*node]bool{nil: true}
	for _, n := range nodes {
		if to.known.nodes[n.hash] == nil && (known[n.parent] || to.known.nodes[n.parent.hash] != nil) {
			batch, known[n] = append(batch, n), true
		}
	}
	to.take(batch)
}

// hand gives a device statements in batches.
func (d *devices) hand(to *Roster, nodes []*node) {
	for len(nodes) > 0 {
		n := 1 + d.h.pick(len(nodes))
		give(to, nodes[:n])
		nodes = nodes[n:]
	}
}

// meet has two devices exchange the statements that each lacks.
func (d *devices) meet(a, b *Roster) {
	missing := [2]Statements{a.Missing(b.Ends()), b.Missing(a.Ends())}
	for i, to := range []*Roster{b, a} {
		var nodes []*node
		for _, s := range missing[i] {
			nodes = append(nodes, d.nodes[s.Hash()])
		}
		give(to, nodes)
	}
}

// scatter gives statements to devices, not all of which can meet each other,
// and lets some of them meet. In the end, the first one has been given all
// statements.
func (d *devices) scatter() {
	for _, r := range d.rosters[1:] {
		order := d.h.shuffled()
		d.hand(r, order[:d.h.pick(len(order)+1)])
	}
	for range 4 {
		half := d.rosters[:1+len(d.rosters)/2]
		if d.h.pick(2) == 0 {
			half = d.rosters[len(d.rosters)/2:]
		}
		d.meet(one(d.h, half), one(d.h, half))
	}
	for before := -1; before != d.rosters[0].Len(); {
		before = d.rosters[0].Len()
		d.hand(d.rosters[0], d.h.shuffled())
	}
}

// TestDevices: devices that have met have the same statements and the same
// view, whichever statements each of them had, in whatever order.
func TestDevices(t *testing.T) {
	t.Parallel()
	many(t, 900, 50_000, func(t testing.TB, pick func(int) int) {
		h := random(pick)
		d := newDevices(h, 2+pick(3))
		d.scatter()
		same(t, h, d.rosters[0])
		d.agree(t)
	})
}

// agree has all devices meet, twice in a row, which spreads every statement,
// and requires that they have the same statements and the same view.
func (d *devices) agree(t testing.TB) {
	for range 2 {
		for i := range d.rosters[1:] {
			d.meet(d.rosters[i], d.rosters[i+1])
		}
		slices.Reverse(d.rosters)
	}
	all := d.rosters[0]
	for _, r := range d.rosters {
		require.True(t, maps.Equal(all.known.nodes, r.known.nodes), "statements of devices that met")
		requireSameView(t, all.View(), r.View())
	}
}

func requireSameView(t testing.TB, a, b *View) {
	equal := slices.Equal(a.Members, b.Members) && slices.Equal(a.Removals, b.Removals) &&
		slices.Equal(a.Secrets, b.Secrets) && slices.Equal(a.Forked, b.Forked) &&
		maps.Equal(a.admins, b.admins) && maps.Equal(a.removed, b.removed)
	require.True(t, equal, "views of devices that met: %+v\n%+v", a, b)
}
