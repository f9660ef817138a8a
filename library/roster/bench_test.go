package roster

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// big returns the history of a library with 1,024 members, among them the
// founder and three admins, after 200 others were removed.
var big = sync.OnceValue(func() *history {
	h := newHistory(func(int) int { return 0 })
	h.start(3, 0)
	ids := cast()[:4]
	ends := map[identity.RemoteIdentity]*node{}
	for _, id := range ids {
		ends[id] = h.end(id)
	}
	say := func(id identity.RemoteIdentity, body Body) *node {
		ends[id] = h.sign(h.draft(id, ends[id], body))
		return ends[id]
	}
	for i := range 1024 - 3 + 200 {
		by := ids[0]
		if i < 240 {
			by = ids[1+i%3]
		}
		id := testKey(fmt.Sprint("member ", i)).Remote()
		say(by, Add{Instance: id, Role: RoleMember, Name: fmt.Sprint("member ", i)})
		ends[id] = h.sign(h.draft(id, nil, at(i%24)))
		if i%6 == 0 && i < 1200 {
			say(ids[1+i%3], Remove{id, ends[id].hash})
		}
	}
	say(h.founder, Secret{Number: 1})
	return h
})

func BenchmarkView(b *testing.B) {
	r := big().roster(big().signed)
	require.Len(b, r.View().Members, 1024)
	require.Len(b, r.View().Removals, 200)
	for b.Loop() {
		r.known.evaluate()
	}
}

// BenchmarkAdd adds one statement that has been verified.
func BenchmarkAdd(b *testing.B) {
	h := big()
	r := h.roster(h.signed)
	next := h.draft(h.founder, h.end(h.founder), Secret{Number: 2})
	next.hash = next.Statement.Hash()
	for b.Loop() {
		require.Len(b, r.Clone().take([]*node{next}), 1)
	}
}

// BenchmarkExchange measures both sides of an exchange in which one knows one
// statement more than the other.
func BenchmarkExchange(b *testing.B) {
	h := big()
	a := h.roster(h.signed)
	o := h.roster(h.signed[:len(h.signed)-1])
	for b.Loop() {
		require.Len(b, a.Missing(o.Ends()), 1)
		o.Missing(a.Ends())
	}
	b.ReportMetric(float64(len(o.Missing(a.Ends()))), "again")
}
